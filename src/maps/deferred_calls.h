// SPDX-License-Identifier: Apache-2.0
//
// DeferredCalls: the timers (bpf_timer) and works (bpf_wq) in map values: what is to be called, and
// when.
//
// A program makes a timer in a field of a map's value, says which of its functions to call, and
// starts it; a work is the same without a time. The field's bytes hold only a number that is looked
// up here and compared with the field's address, never followed: so forged bytes lead nowhere, as
// with the heads of object_heap.h. Whoever runs programs asks between batches for what is due:
//
//   while (auto call = deferred.take_due(clock.monotonic_ns())) {
//     call->function.program->run_deferred(*call, context);
//     deferred.finish(call->number);
//   }
//
// Times are of CLOCK_MONOTONIC; a timer on another clock is converted when it is started. Of calls
// due at the same time the one started first is called first, so that a replay sees one order.
//
// Invariants: (1) a call is free, idle or armed; armed ones are the heap `order_`; (2) a call that
// is running keeps its number until finish(), forgotten or not; (3) nothing here is called under
// its lock: maps take it under theirs. Threads: any. cancel() of a call that another worker is
// running waits for its end, as the kernel's does; two callbacks that cancel each other get
// -EDEADLK. Not done yet: a CPU to be pinned to (BPF_F_TIMER_CPU_PIN is taken and means nothing):
// whichever worker comes first runs a call. Tested by deferred_calls_test.cc and
// tests/differential/value_programs_test.cc. Source: Linux 6.18, kernel/bpf/helpers.c (bpf_timer_*,
// bpf_wq_*, __bpf_async_*).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/result.h"
#include "btf/map_fields.h"
#include "maps/map_memory.h"
#include "packet/run_context.h"

namespace lmn {

class DeferredCalls {
 public:
  static constexpr std::uint32_t kCallsMax = 1u << 16;
  enum class Kind : std::uint8_t { kTimer, kWork };

  // A field of a map's value.
  struct Place {
    std::uint64_t address = 0;  // of the field: the number is kept in its first word
    Map* map = nullptr;
    void* value = nullptr;
  };

  // Errors: kLimitExceeded (ENOMEM).
  static Result<std::unique_ptr<DeferredCalls>> create();

  // bpf_timer_init, bpf_wq_init: 0, -EBUSY when there is one in this field, -ENOMEM. `clock_id` is
  // a CLOCK_* that the caller has judged.
  int init(Kind kind, const Place& place, int clock_id) noexcept LMN_EXCLUDES(lock_);
  // 0, or -EINVAL when there is none.
  int set_function(Kind kind, std::uint64_t address, const DeferredFunction& function) noexcept
      LMN_EXCLUDES(lock_);
  // 0, or -EINVAL when there is none or it has no function. `is_absolute` counts `nanoseconds` on
  // the timer's own clock.
  int start_timer(std::uint64_t address, std::uint64_t nanoseconds, bool is_absolute,
                  const Clock& clock) noexcept LMN_EXCLUDES(lock_);
  int start_work(std::uint64_t address, const Clock& clock) noexcept LMN_EXCLUDES(lock_);
  // 1 when it was armed, 0 when not, -EINVAL when there is none, -EDEADLK when it would wait for
  // itself. `running`: the number of the call that asks, 0 when it is a program. The function is
  // forgotten.
  int cancel(std::uint64_t address, std::uint32_t running) noexcept LMN_EXCLUDES(lock_);

  // The same without waiting, and the function stays: 1 when it was armed, 0 when not, -EINVAL when
  // there is none; -1 while the function runs, which then goes on as it would.
  int try_cancel(std::uint64_t address) noexcept LMN_EXCLUDES(lock_);

  // The field is given up; or all fields of a map, whose memory may be gone already.
  void forget(std::uint64_t address) noexcept LMN_EXCLUDES(lock_);
  void forget_map(const Map& map) noexcept LMN_EXCLUDES(lock_);

  // The map and value of the call with this number in a field, for its own checks; null: none.
  Map* map_of(std::uint64_t address) const noexcept LMN_EXCLUDES(lock_);

  std::optional<DeferredCall> take_due(std::uint64_t now_ns) noexcept LMN_EXCLUDES(lock_);
  void finish(std::uint32_t number) noexcept LMN_EXCLUDES(lock_);
  // When the next one is due; UINT64_MAX: nothing is armed. Cheap: asked once per batch.
  std::uint64_t next_due_ns() const noexcept {
    return next_due_ns_.load(std::memory_order_relaxed);
  }
  // Timers and works that are there; for tests.
  std::uint32_t count() const noexcept LMN_EXCLUDES(lock_);

 private:
  struct Call;

  DeferredCalls() = default;
  Call& call_of(std::uint32_t number) const noexcept LMN_REQUIRES(lock_);
  // The call in a field, or null.
  Call* find(std::uint64_t address) const noexcept LMN_REQUIRES(lock_);
  Call* find(Kind kind, std::uint64_t address) const noexcept LMN_REQUIRES(lock_);
  std::uint32_t number_of(const Call& call) const noexcept LMN_REQUIRES(lock_);
  void arm(Call& call, std::uint64_t due_ns) noexcept LMN_REQUIRES(lock_);
  bool disarm(Call& call) noexcept LMN_REQUIRES(lock_);
  void give_back(Call& call) noexcept LMN_REQUIRES(lock_);
  // The heap of armed calls: numbers, the first due at 0.
  bool is_before(std::uint32_t left, std::uint32_t right) const noexcept LMN_REQUIRES(lock_);
  void place(std::uint32_t at, std::uint32_t number) noexcept LMN_REQUIRES(lock_);
  void sift_up(std::uint32_t at) noexcept LMN_REQUIRES(lock_);
  void sift_down(std::uint32_t at) noexcept LMN_REQUIRES(lock_);
  std::uint32_t& order(std::uint32_t at) const noexcept LMN_REQUIRES(lock_);
  void note_next() noexcept LMN_REQUIRES(lock_);

  mutable SpinLock lock_;
  MapMemory calls_;
  MapMemory order_;
  std::uint32_t armed_count_ LMN_GUARDED_BY(lock_) = 0;
  std::uint32_t used_ LMN_GUARDED_BY(lock_) = 0;  // calls below have been used once
  std::uint32_t free_ LMN_GUARDED_BY(lock_) = 0;  // number of the first free one, 0: none
  std::uint32_t count_ LMN_GUARDED_BY(lock_) = 0;
  std::uint64_t last_turn_ LMN_GUARDED_BY(lock_) = 0;
  std::atomic<std::uint64_t> next_due_ns_{UINT64_MAX};
};

// The field of `kind` that lies at `address`, if that is where an element of the map has it; else a
// place without a map.
DeferredCalls::Place place_of_field(Map& map, MapFieldKind kind, std::uint64_t address) noexcept;

}  // namespace lmn
