// SPDX-License-Identifier: Apache-2.0
//
// Specs of programs and maps for the engine's tests, made from a few words.
//
// Internal to those tests. Threads: any. Tested by engine_test.cc, which uses it.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <string>
#include <string_view>
#include <utility>

#include "insn/assemble.h"
#include "spec/map_spec.h"
#include "spec/program_spec.h"

namespace lmn {

inline ProgramSpec program_from(std::string_view text, std::string name = "prog") {
  ProgramSpec program;
  program.name = std::move(name);
  program.section = "xdp";
  program.type = BPF_PROG_TYPE_XDP;
  program.expected_attach_type = BPF_XDP;
  program.license = "GPL";
  auto insns = assemble(text);
  EXPECT_TRUE(insns.has_value()) << insns.error().to_string();
  program.insns = *insns;
  return program;
}

inline MapSpec map_spec(std::string name, std::uint32_t type, std::uint32_t value_size,
                        std::uint32_t max_entries) {
  MapSpec map;
  map.name = std::move(name);
  map.type = type;
  map.key_size = 4;
  map.value_size = value_size;
  map.max_entries = max_entries;
  return map;
}

}  // namespace lmn
