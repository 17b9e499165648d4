// SPDX-License-Identifier: Apache-2.0
//
// HASH_OF_MAPS: maps of one shape under keys of any bytes.
//
// As ARRAY_OF_MAPS (array_of_maps.h): handles are written, ids read, a program's lookup gives the
// inner Map. The element's payload is one pointer, replaced in place. A removed element waits until
// no program reads it (limbo.h), or a program that has just found it could read another key's map.
// Threads: Map's, by one lock (keyed_map.h), which a program's lookup does not take; inner maps are
// released outside of it.
// Tested by maps_test.cc, redirect_readers_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#pragma once

#include "maps/inner_maps.h"
#include "maps/keyed_map.h"

namespace lmn {

class HashOfMaps final : public KeyedMap {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~HashOfMaps() override;

  // The inner Map, or null.
  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  const MapSpec* inner_shape() const noexcept override { return &inner_.shape(); }

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int erase_from_user(const void* key) noexcept override LMN_EXCLUDES(lock_);
  int lookup_batch_from_user(MapBatch& batch, bool erases) noexcept override LMN_EXCLUDES(lock_);
  int copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                   std::uint64_t flags) noexcept override LMN_REQUIRES(lock_);

 private:
  HashOfMaps(const MapSpec& spec, const MapOptions& options, InnerMaps inner, HashTable table)
      : KeyedMap(spec, options, std::move(table)), inner_(std::move(inner)) {}
  Map*& map_of(std::uint32_t element) LMN_REQUIRES(lock_) {
    return *reinterpret_cast<Map**>(table_.payload_at(element));
  }
  // Takes the key's map out; with `wanted_id` only the map of that id. 0 or -ENOENT.
  int erase_map(const void* key, const std::uint32_t* wanted_id) noexcept LMN_EXCLUDES(lock_);
  int place(const void* key, Map* map, std::uint64_t flags, Map*& old) noexcept LMN_EXCLUDES(lock_);

  InnerMaps inner_;
};

}  // namespace lmn
