// SPDX-License-Identifier: Apache-2.0
//
// bpf_timer_init, _set_callback, _start, _cancel: a function of the program, called later with the
// map, key and value that the timer lies in.
//
// What a timer is and when it fires: maps/deferred_calls.h. Here are the arguments' checks and
// errnos. The field must lie in an element of the map it is given with, where the types of the
// value have a timer: the checked interpreter runs programs that no verifier has seen.
// A map that no handle or pin of user space holds has no timers: they would keep alive the program
// that keeps alive the map.
// Threads: any worker. Tested by tests/differential/value_programs_test.cc and timers_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_timer_init, __bpf_async_init, bpf_timer_start ...).
#include <linux/bpf.h>

#include <cerrno>
#include <ctime>

#include "helpers/bodies.h"
#include "maps/deferred_calls.h"
#include "maps/map.h"

namespace lmn {
namespace {

using Kind = DeferredCalls::Kind;

// Programs name a clock in the low four bits; the kernel has no others.
bool is_clock(std::uint64_t flags) {
  return flags == CLOCK_MONOTONIC || flags == CLOCK_REALTIME || flags == CLOCK_BOOTTIME;
}

}  // namespace

LMN_HELPER_BODY(timer_init) {
  if (!is_clock(r3)) return helper::failure(EINVAL);
  Map& map = *helper::as_pointer<Map>(r2);
  const DeferredCalls::Place place = place_of_field(map, MapFieldKind::kTimer, r1);
  if (place.map == nullptr || context->deferred == nullptr) return helper::failure(EINVAL);
  const int error = context->deferred->init(Kind::kTimer, place, static_cast<int>(r3));
  if (error != 0) return helper::result(error);
  if (map.has_user_references()) return 0;
  context->deferred->forget(r1);
  return helper::failure(EPERM);
}

LMN_HELPER_BODY(timer_set_callback) {
  if (context->deferred == nullptr) return helper::failure(EINVAL);
  const Map* map = context->deferred->map_of(r1);
  if (map == nullptr) return helper::failure(EINVAL);
  if (!map->has_user_references()) return helper::failure(EPERM);
  const DeferredFunction function = context->defer(context->engine_state, r2);
  return helper::result(context->deferred->set_function(Kind::kTimer, r1, function));
}

LMN_HELPER_BODY(timer_start) {
  constexpr std::uint64_t kFlags = BPF_F_TIMER_ABS | BPF_F_TIMER_CPU_PIN;
  if ((r3 & ~kFlags) != 0 || context->deferred == nullptr) return helper::failure(EINVAL);
  const bool is_absolute = (r3 & BPF_F_TIMER_ABS) != 0;
  return helper::result(context->deferred->start_timer(r1, r2, is_absolute, *context->clock));
}

LMN_HELPER_BODY(timer_cancel) {
  if (context->deferred == nullptr) return helper::failure(EINVAL);
  return helper::result(context->deferred->cancel(r1, context->deferred_running));
}

}  // namespace lmn
