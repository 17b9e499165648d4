// SPDX-License-Identifier: Apache-2.0
//
// CPUMAP: slots named by CPU number, each a queue to another worker: targets of bpf_redirect_map.
//
// User space writes a queue size, or a queue size and a program handle; size 0 empties the slot.
// Reading gives the size and the program's id. The queue itself is the host's: when the update
// returns it is served, and a host that has none refuses by -EOPNOTSUPP, so that no packet is ever
// sent into a queue nobody serves. The program goes with the queue, which runs it and outlives the
// slot until it is empty.
// Invariant: a slot with a sink holds one reference to its queue, which holds the program's.
// Threads: Map's; slots are read and written under one short lock.
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/cpumap.c.
#pragma once

#include "base/mutex.h"
#include "maps/map.h"
#include "maps/map_memory.h"
#include "maps/program_owner.h"

namespace lmn {

class Cpumap final : public Map {
 public:
  static constexpr std::uint32_t kQueueSizeMax = 16384;

  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~Cpumap() override;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept override
      LMN_EXCLUDES(lock_);
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override;
  bool accept_program(const ProgramEntry& entry) noexcept override {
    return owner_.accept(entry, false);
  }

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int erase_from_user(const void* key) noexcept override LMN_EXCLUDES(lock_);

 private:
  // In map memory: zero is an empty slot.
  struct Slot {
    FrameSink* sink;
    std::uint64_t value;  // struct bpf_cpumap_val: queue size, then program id
  };
  Cpumap(const MapSpec& spec, const MapOptions& options, MapHost& host, MapMemory memory)
      : Map(spec, options), host_(host), memory_(std::move(memory)) {}
  Slot& slot(std::uint32_t cpu) LMN_REQUIRES(lock_) {
    return reinterpret_cast<Slot*>(memory_.data())[cpu];
  }
  int make_slot(std::uint32_t cpu, std::uint32_t queue_size, std::int32_t program_handle,
                Slot& fresh) noexcept;
  void replace(std::uint32_t cpu, const Slot& fresh) noexcept LMN_EXCLUDES(lock_);

  MapHost& host_;
  MapMemory memory_;
  ProgramOwner owner_;
  SpinLock lock_;
};

}  // namespace lmn
