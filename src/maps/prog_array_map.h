// SPDX-License-Identifier: Apache-2.0
//
// PROG_ARRAY: numbered slots for programs, the targets of bpf_tail_call.
//
// User space writes program handles and reads program ids; programs can only jump. All programs
// that a map holds or that jump through it must agree in type, expected attach type and frags: the
// first one decides, for the life of the map. A slot is one pointer, exchanged atomically.
// Invariant: every non-null slot holds one reference from MapHost::acquire_program.
// Threads: Map's. find_program() is an acquire load; the entry's life ends with a grace period of
// the host after release_program. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c (fd_array, prog_array), kernel/bpf/core.c
// (__bpf_prog_map_compatible).
#pragma once

#include "maps/map.h"
#include "maps/program_owner.h"
#include "maps/slot_array.h"

namespace lmn {

class ProgArrayMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~ProgArrayMap() override { drop_user_references(); }

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  const ProgramEntry* find_program(std::uint32_t index) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  bool accept_program(const ProgramEntry& entry) noexcept override {
    return owner_.accept(entry, true);
  }
  void drop_user_references() noexcept override;

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override;
  int erase_from_user(const void* key) noexcept override;

 private:
  ProgArrayMap(const MapSpec& spec, const MapOptions& options, MapHost& host,
               SlotArray<const ProgramEntry> slots)
      : Map(spec, options), host_(host), slots_(std::move(slots)) {}

  MapHost& host_;
  SlotArray<const ProgramEntry> slots_;
  ProgramOwner owner_;
};

}  // namespace lmn
