// SPDX-License-Identifier: Apache-2.0
//
// ARRAY_OF_MAPS: numbered slots for maps of one shape.
//
// User space writes map handles and reads map ids. A program's lookup gives the inner Map itself,
// not the address of a value: what it may do with it, the template says (inner_maps.h). Threads:
// Map's; a slot is one atomic pointer. An inner map must outlive the batches that may have looked
// it up (CVE-2023-52447): the host frees it after a grace period. Tested by maps_test.cc and
// tests/contract/maps_contract_test.cc. Source: Linux 6.18, kernel/bpf/arraymap.c.
#pragma once

#include "maps/inner_maps.h"
#include "maps/slot_array.h"

namespace lmn {

class ArrayOfMaps final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~ArrayOfMaps() override;

  // The inner Map, or null.
  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  const MapSpec* inner_shape() const noexcept override { return &inner_.shape(); }

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override;
  int erase_from_user(const void* key) noexcept override;

 private:
  ArrayOfMaps(const MapSpec& spec, const MapOptions& options, InnerMaps inner, SlotArray<Map> slots)
      : Map(spec, options), inner_(std::move(inner)), slots_(std::move(slots)) {}

  InnerMaps inner_;
  SlotArray<Map> slots_;
};

}  // namespace lmn
