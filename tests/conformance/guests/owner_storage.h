// SPDX-License-Identifier: Apache-2.0
//
// OwnerStorage: maps whose values belong to something outside them: a cgroup, a socket.
//
// The kernel keeps such a value with its owner; a program gets it by the owner and not by a key.
// XDP programs cannot use these types, so the product has none of them; selftest programs of other
// types can, and find them here. User space's side is not there: no selftest that is run needs it.
// Threads: one. Tested by lmn_selftest_retval.
// Source: Linux 6.18, kernel/bpf/local_storage.c, net/core/bpf_sk_storage.c.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "abi/map_type_info.h"
#include "maps/map.h"

namespace lmn::guests {

class OwnerStorage final : public Map {
 public:
  // Errors: kInvalidArgument with EINVAL for shapes that the kernel refuses.
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);
  static bool is_type(std::uint32_t map_type);

  // The owner's value, or null.
  void* find(const void* owner, std::uint32_t cpu);
  // The same, made with the bytes at `initial` (null: zeros) when there is none.
  void* find_or_create(const void* owner, const void* initial, std::uint32_t cpu);
  bool remove(const void* owner) { return values_.erase(owner) > 0; }

  void* lookup(const void*, std::uint32_t) noexcept override { return nullptr; }
  int update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept override;
  int erase(const void*) noexcept override;
  int copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept override;
  int next_key(const void*, void*) noexcept override;

 private:
  OwnerStorage(MapSpec spec, MapOptions options) : Map(std::move(spec), options) {}
  std::size_t stride_bytes() const { return (spec().value_size + 7) / 8 * std::size_t{8}; }
  bool is_per_cpu() const;

  std::unordered_map<const void*, std::vector<std::uint64_t>> values_;
};

// The product's map types and these, sorted by type.
std::span<const MapTypeInfo> map_type_infos();

}  // namespace lmn::guests
