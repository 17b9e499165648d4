// SPDX-License-Identifier: Apache-2.0
//
// DEVMAP: numbered slots for transmit ports, the targets of bpf_redirect_map.
//
// User space writes an ifindex, or an ifindex and a program handle; the map turns them into a sink
// and a program, once, so that a redirect finds both without asking anybody. Reading gives the
// ifindex and the program's id. Programs may look up (the same bytes, read-only) and redirect.
//
// A slot is {sink, program, value}; a slot without a sink is empty. The value of an emptied slot
// keeps its last bytes: a program that looked it up before reads what it was given.
// Invariant: a slot's program holds one reference from MapHost::acquire_program.
// Threads: Map's; slots are read and written under one short lock, the value as one 8-byte word.
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c.
#pragma once

#include "base/mutex.h"
#include "maps/map.h"
#include "maps/map_memory.h"
#include "maps/program_owner.h"

namespace lmn {

// One target with the bytes user space sees. In map memory: zero is an empty slot.
struct DevmapSlot {
  FrameSink* sink;
  const ProgramEntry* program;
  std::uint64_t value;  // struct bpf_devmap_val: ifindex, then program id
};

// Turns what user space wrote into a slot: 0, or -EINVAL for an unknown port, an unfit program or a
// program without a port. `value` has 4 or 8 bytes. An ifindex of 0 gives an empty slot.
int make_devmap_slot(MapHost& host, ProgramOwner& owner, std::span<const std::uint8_t> value,
                     DevmapSlot& slot) noexcept;
RedirectTarget devmap_target(const DevmapSlot& slot) noexcept;
// The spec with BPF_F_RDONLY_PROG, which the kernel adds and tools show.
MapSpec with_readonly_programs(MapSpec spec);

class Devmap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~Devmap() override;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept override;
  bool next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  void forget_sink(const FrameSink& sink) noexcept override LMN_EXCLUDES(lock_);
  bool accept_program(const ProgramEntry& entry) noexcept override {
    return owner_.accept(entry, false);
  }

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override;
  int erase_from_user(const void* key) noexcept override;

 private:
  Devmap(const MapSpec& spec, const MapOptions& options, MapHost& host, MapMemory memory);
  DevmapSlot& slot(std::uint32_t index) LMN_REQUIRES(lock_) {
    return reinterpret_cast<DevmapSlot*>(memory_.data())[index];
  }
  void replace(std::uint32_t index, const DevmapSlot& fresh) noexcept LMN_EXCLUDES(lock_);
  // Empties the slot if it holds `sink` now.
  void remove_sink(std::uint32_t index, const FrameSink& sink) noexcept LMN_EXCLUDES(lock_);
  // Gives the program that was there, which the caller releases.
  const ProgramEntry* put(std::uint32_t index, const DevmapSlot& fresh) noexcept
      LMN_REQUIRES(lock_);
  std::uint32_t occupied() noexcept LMN_EXCLUDES(lock_) {
    const SpinGuard guard(lock_);
    return occupied_;
  }

  MapHost& host_;
  MapMemory memory_;
  ProgramOwner owner_;
  SpinLock lock_;
  std::uint32_t occupied_ LMN_GUARDED_BY(lock_) = 0;  // so that an empty map is not walked
};

}  // namespace lmn
