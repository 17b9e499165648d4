// SPDX-License-Identifier: Apache-2.0
//
// DeferredCalls: numbered calls and a binary heap of those that are armed. Tested by
// deferred_calls_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c.
#include "maps/deferred_calls.h"

#include <sched.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "maps/map.h"

namespace lmn {
namespace {

std::uint64_t now_of(int clock_id, const Clock& clock) noexcept {
  switch (clock_id) {
    case CLOCK_REALTIME:
      return clock.real_ns();
    case CLOCK_BOOTTIME:
      return clock.boot_ns();
    default:
      return clock.monotonic_ns();
  }
}

std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) noexcept {
  return a + b < a ? UINT64_MAX - 1 : a + b;
}

std::uint64_t& word_at(std::uint64_t address) noexcept {
  return *reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(address));
}

}  // namespace

struct DeferredCalls::Call {
  std::uint64_t address = 0;  // of its field; 0: free, or forgotten while it runs
  Map* map = nullptr;
  void* value = nullptr;
  DeferredFunction function;
  std::uint64_t due_ns = 0;
  std::uint64_t turn = 0;              // when it was armed, of all
  std::uint32_t heap_at = 0;           // place in the heap + 1; 0: not armed
  std::uint32_t next_free = 0;         // while it is free
  std::uint32_t cancelling = 0;        // callers that wait for its end
  std::uint32_t cancelling_calls = 0;  // of these, callbacks of others
  int clock_id = 0;
  Kind kind = Kind::kTimer;
  bool is_running = false;
};

Result<std::unique_ptr<DeferredCalls>> DeferredCalls::create() {
  std::unique_ptr<DeferredCalls> made(new DeferredCalls);
  LMN_TRY(made->calls_, MapMemory::create(std::uint64_t{kCallsMax} * sizeof(Call)));
  LMN_TRY(made->order_, MapMemory::create(std::uint64_t{kCallsMax} * sizeof(std::uint32_t)));
  return made;
}

DeferredCalls::Call& DeferredCalls::call_of(std::uint32_t number) const noexcept {
  return reinterpret_cast<Call*>(calls_.data())[number - 1];
}

std::uint32_t DeferredCalls::number_of(const Call& call) const noexcept {
  return static_cast<std::uint32_t>(&call - reinterpret_cast<Call*>(calls_.data())) + 1;
}

DeferredCalls::Call* DeferredCalls::find(std::uint64_t address) const noexcept {
  const std::uint64_t number = word_at(address);
  if (number == 0 || number > used_) return nullptr;
  Call& call = call_of(static_cast<std::uint32_t>(number));
  return call.address == address ? &call : nullptr;
}

DeferredCalls::Call* DeferredCalls::find(Kind kind, std::uint64_t address) const noexcept {
  Call* call = find(address);
  return call != nullptr && call->kind == kind ? call : nullptr;
}

int DeferredCalls::init(Kind kind, const Place& place, int clock_id) noexcept {
  const SpinGuard guard(lock_);
  if (find(place.address) != nullptr) return -EBUSY;
  std::uint32_t number = free_;
  if (number != 0) {
    free_ = call_of(number).next_free;
  } else if (used_ < kCallsMax) {
    number = ++used_;
  } else {
    return -ENOMEM;
  }
  Call& call = call_of(number);
  call = Call{};
  call.address = place.address;
  call.map = place.map;
  call.value = place.value;
  call.clock_id = clock_id;
  call.kind = kind;
  word_at(place.address) = number;
  ++count_;
  return 0;
}

int DeferredCalls::set_function(Kind kind, std::uint64_t address,
                                const DeferredFunction& function) noexcept {
  const SpinGuard guard(lock_);
  Call* call = find(kind, address);
  if (call == nullptr) return -EINVAL;
  call->function = function;
  return 0;
}

int DeferredCalls::start_timer(std::uint64_t address, std::uint64_t nanoseconds, bool is_absolute,
                               const Clock& clock) noexcept {
  const SpinGuard guard(lock_);
  Call* call = find(Kind::kTimer, address);
  if (call == nullptr || call->function.program == nullptr) return -EINVAL;
  std::uint64_t wait_ns = nanoseconds;
  if (is_absolute) {
    const std::uint64_t now_ns = now_of(call->clock_id, clock);
    wait_ns = nanoseconds > now_ns ? nanoseconds - now_ns : 0;
  }
  arm(*call, saturating_sum(clock.monotonic_ns(), wait_ns));
  return 0;
}

int DeferredCalls::start_work(std::uint64_t address, const Clock& clock) noexcept {
  const SpinGuard guard(lock_);
  Call* call = find(Kind::kWork, address);
  if (call == nullptr || call->function.program == nullptr) return -EINVAL;
  if (call->heap_at == 0) arm(*call, clock.monotonic_ns());
  return 0;
}

int DeferredCalls::try_cancel(std::uint64_t address) noexcept {
  constexpr int kIsRunning = -1;
  const SpinGuard guard(lock_);
  Call* call = find(Kind::kTimer, address);
  if (call == nullptr) return -EINVAL;
  if (call->is_running) return kIsRunning;
  return disarm(*call) ? 1 : 0;
}

int DeferredCalls::cancel(std::uint64_t address, std::uint32_t running) noexcept {
  Call* call = nullptr;
  bool was_armed = false;
  {
    const SpinGuard guard(lock_);
    call = find(Kind::kTimer, address);
    if (call == nullptr) return -EINVAL;
    if (number_of(*call) == running) return -EDEADLK;
    // Two callbacks that cancel each other would wait for ever: whoever sees that somebody waits
    // for it gives up. A program that waits is nobody's to wait for.
    if (running != 0 && call_of(running).cancelling_calls != 0) return -EDEADLK;
    call->function = {};
    was_armed = disarm(*call);
    if (!call->is_running) return was_armed ? 1 : 0;
    ++call->cancelling;
    call->cancelling_calls += running != 0;
  }
  while (true) {
    {
      const SpinGuard guard(lock_);
      if (!call->is_running) {
        --call->cancelling;
        call->cancelling_calls -= running != 0;
        if (call->address == 0 && call->cancelling == 0) give_back(*call);
        return was_armed ? 1 : 0;
      }
    }
    ::sched_yield();
  }
}

void DeferredCalls::give_back(Call& call) noexcept {
  const std::uint32_t number = number_of(call);
  disarm(call);
  call = Call{};
  call.next_free = free_;
  free_ = number;
  --count_;
}

void DeferredCalls::forget(std::uint64_t address) noexcept {
  const SpinGuard guard(lock_);
  Call* call = find(address);
  if (call == nullptr) return;
  word_at(address) = 0;
  disarm(*call);
  call->address = 0;
  if (!call->is_running && call->cancelling == 0) give_back(*call);
}

void DeferredCalls::forget_map(const Map& map) noexcept {
  const SpinGuard guard(lock_);
  for (std::uint32_t number = 1; number <= used_; ++number) {
    Call& call = call_of(number);
    if (call.address == 0 || call.map != &map) continue;
    disarm(call);
    call.address = 0;
    if (!call.is_running && call.cancelling == 0) give_back(call);
  }
}

Map* DeferredCalls::map_of(std::uint64_t address) const noexcept {
  const SpinGuard guard(lock_);
  const Call* call = find(address);
  return call != nullptr ? call->map : nullptr;
}

std::optional<DeferredCall> DeferredCalls::take_due(std::uint64_t now_ns) noexcept {
  if (next_due_ns() > now_ns) return std::nullopt;
  const SpinGuard guard(lock_);
  if (armed_count_ == 0) return std::nullopt;
  Call& call = call_of(order(0));
  // One that runs on another worker comes again when that one has ended.
  if (call.due_ns > now_ns || call.is_running) return std::nullopt;
  disarm(call);
  call.is_running = true;
  return DeferredCall{number_of(call), call.function, call.map, call.value};
}

void DeferredCalls::finish(std::uint32_t number) noexcept {
  const SpinGuard guard(lock_);
  Call& call = call_of(number);
  call.is_running = false;
  if (call.address == 0 && call.cancelling == 0) give_back(call);
}

std::uint32_t DeferredCalls::count() const noexcept {
  const SpinGuard guard(lock_);
  return count_;
}

DeferredCalls::Place place_of_field(Map& map, MapFieldKind kind, std::uint64_t address) noexcept {
  const MapField* field = map.fields() == nullptr ? nullptr : map.fields()->fields().find(kind);
  if (field == nullptr || address < field->offset) return {};
  auto* value = reinterpret_cast<void*>(static_cast<std::uintptr_t>(address - field->offset));
  std::uint32_t index = 0;
  if (map.key_of(value, index) == nullptr) return {};
  return {address, &map, value};
}

// --- the heap

std::uint32_t& DeferredCalls::order(std::uint32_t at) const noexcept {
  return reinterpret_cast<std::uint32_t*>(order_.data())[at];
}

bool DeferredCalls::is_before(std::uint32_t left, std::uint32_t right) const noexcept {
  const Call& a = call_of(left);
  const Call& b = call_of(right);
  return std::pair(a.due_ns, a.turn) < std::pair(b.due_ns, b.turn);
}

void DeferredCalls::place(std::uint32_t at, std::uint32_t number) noexcept {
  order(at) = number;
  call_of(number).heap_at = at + 1;
}

void DeferredCalls::sift_up(std::uint32_t at) noexcept {
  const std::uint32_t number = order(at);
  while (at > 0 && is_before(number, order((at - 1) / 2))) {
    place(at, order((at - 1) / 2));
    at = (at - 1) / 2;
  }
  place(at, number);
}

void DeferredCalls::sift_down(std::uint32_t at) noexcept {
  const std::uint32_t number = order(at);
  while (true) {
    std::uint32_t child = 2 * at + 1;
    if (child >= armed_count_) break;
    if (child + 1 < armed_count_ && is_before(order(child + 1), order(child))) ++child;
    if (!is_before(order(child), number)) break;
    place(at, order(child));
    at = child;
  }
  place(at, number);
}

void DeferredCalls::note_next() noexcept {
  next_due_ns_.store(armed_count_ == 0 ? UINT64_MAX : call_of(order(0)).due_ns,
                     std::memory_order_relaxed);
}

void DeferredCalls::arm(Call& call, std::uint64_t due_ns) noexcept {
  disarm(call);
  call.due_ns = due_ns;
  call.turn = ++last_turn_;
  place(armed_count_, number_of(call));
  sift_up(armed_count_++);
  note_next();
}

bool DeferredCalls::disarm(Call& call) noexcept {
  if (call.heap_at == 0) return false;
  const std::uint32_t at = call.heap_at - 1;
  call.heap_at = 0;
  const std::uint32_t last = order(--armed_count_);
  if (at != armed_count_) {
    place(at, last);
    sift_up(at);
    sift_down(call_of(last).heap_at - 1);
  }
  note_next();
  return true;
}

}  // namespace lmn
