// SPDX-License-Identifier: Apache-2.0
//
// ObjectSpec: everything an object file says; a value. The same bytes give the same ObjectSpec on
// any machine.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.h"
#include "spec/map_spec.h"
#include "spec/program_spec.h"

namespace lmn {

// A variable of section .kconfig: a fact about the kernel's configuration that the loader fills in.
struct KconfigExtern {
  std::string name;          // "CONFIG_HZ", "LINUX_KERNEL_VERSION"
  std::uint32_t offset = 0;  // in the .kconfig map's value
  std::uint32_t size = 0;
  bool is_weak = false;
  bool is_set = false;  // the value was known when the object was read
};

struct ObjectSpec {
  std::string license;
  std::uint32_t kernel_version = 0;   // SEC("version"), if any
  std::vector<ProgramSpec> programs;  // in the order of their sections and offsets
  // In libbpf's order: legacy maps, .maps by offset, global data, .kconfig, struct_ops.
  std::vector<MapSpec> maps;
  std::vector<KconfigExtern> kconfig;  // in the order of their offsets
  // Null when the object has none; shared by everything made from it.
  std::shared_ptr<const Btf> btf;
  // What its programs were relocated for (CO-RE); null when nobody said.
  std::shared_ptr<const Btf> kernel_types;
  // Things a reader should know: layouts recognised, sections passed over.
  std::vector<std::string> notes;

  const ProgramSpec* find_program(std::string_view name) const;
  const MapSpec* find_map(std::string_view name) const;
};

}  // namespace lmn
