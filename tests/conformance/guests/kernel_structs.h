// SPDX-License-Identifier: Apache-2.0
//
// Structs of the kernel as some programs see them: by the layout of the running kernel's types.
//
// A program may read what a map pointer points to (struct bpf_map), and a netfilter program gets
// struct sk_buff and nf_hook_state. No such struct is here; what can be told of one is written
// where the kernel's types have it, and the rest is zero. The object's own CO-RE relocations look
// into the same types.
// Threads: values; kernel_types() from any. Tested by lmn_selftest_retval.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "btf/btf.h"
#include "maps/map.h"

namespace lmn::guests {

// The types of the running kernel, read once; null where it does not show them.
std::shared_ptr<const Btf> kernel_types();

// The bytes of one struct.
class KernelImage {
 public:
  // Nothing when the kernel's types are not there or have no such struct.
  static std::optional<KernelImage> of(std::string_view name);

  // Writes an integer member; nothing happens where the kernel has none of that name.
  void set(std::string_view member, std::uint64_t value);
  std::span<const std::uint8_t> bytes() const { return bytes_; }

 private:
  KernelImage(std::shared_ptr<const Btf> types, const BtfType& type)
      : types_(std::move(types)), type_(&type), bytes_(type.size) {}

  std::shared_ptr<const Btf> types_;
  const BtfType* type_;
  std::vector<std::uint8_t> bytes_;
};

// What may be read of this map: struct bpf_map, with which the struct of every type begins.
std::optional<KernelImage> map_image(const Map& map);

}  // namespace lmn::guests
