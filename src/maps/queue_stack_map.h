// SPDX-License-Identifier: Apache-2.0
//
// QUEUE and STACK: values without keys, first in first out or last in first out.
//
// One ring of max_entries + 1 places, so that full and empty differ; the stack pops where the queue
// pushes. Pushing onto a full one is -E2BIG, or with BPF_EXIST drops the oldest value. Programs
// push, pop and peek; what finds nothing gives a zeroed value and -ENOENT. User space's update is a
// push, its lookup a peek, its lookup_and_delete a pop. Threads: Map's, by one lock. Tested by
// maps_test.cc and tests/contract/maps_contract_test.cc. Source: Linux 6.18,
// kernel/bpf/queue_stack_maps.c.
#pragma once

#include "base/mutex.h"
#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {

class QueueStackMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int push(const void* value, std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int pop(void* value) noexcept override LMN_EXCLUDES(lock_);
  int peek(void* value) noexcept override LMN_EXCLUDES(lock_);
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override;

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int lookup_and_erase_from_user(const void* key, std::span<std::uint8_t> out,
                                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);

 private:
  QueueStackMap(const MapSpec& spec, const MapOptions& options, MapMemory memory);
  std::uint64_t after(std::uint64_t place) const {
    return place + 1 == place_count_ ? 0 : place + 1;
  }
  std::uint64_t before(std::uint64_t place) const {
    return place == 0 ? place_count_ - 1 : place - 1;
  }
  std::uint8_t* value_at(std::uint64_t place) const { return memory_.data() + place * stride_; }
  // The value that comes out next: 0, or -ENOENT with `value` untouched.
  int get(void* value, bool removes) noexcept LMN_EXCLUDES(lock_);

  MapMemory memory_;
  std::size_t stride_;
  std::uint64_t place_count_;
  bool is_stack_;
  SpinLock lock_;
  std::uint64_t head_ LMN_GUARDED_BY(lock_) = 0;  // where the next value goes
  std::uint64_t tail_ LMN_GUARDED_BY(lock_) = 0;  // the oldest value
};

}  // namespace lmn
