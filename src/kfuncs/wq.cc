// SPDX-License-Identifier: Apache-2.0
//
// bpf_wq_init, _set_callback, _start: work to be done after the program, with the map, key and
// value that the field lies in.
//
// As a timer (helpers/timer.cc) without a time: it is due at once, and runs when the worker has
// finished its batch. The kernel's runs in a thread that may sleep; nothing here sleeps.
// Threads: any worker. Tested by tests/differential/value_programs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_wq_init, bpf_wq_start, bpf_wq_set_callback_impl).
#include <cerrno>

#include "kfuncs/bodies.h"
#include "maps/deferred_calls.h"
#include "maps/map.h"

namespace lmn {
namespace {
using Kind = DeferredCalls::Kind;
}

LMN_KFUNC_BODY(bpf_wq_init) {
  if (kfunc::as_u32(r3) != 0 || context->deferred == nullptr) return kfunc::failure(EINVAL);
  Map& map = *kfunc::as_pointer<Map>(r2);
  const DeferredCalls::Place place = place_of_field(map, MapFieldKind::kWorkqueue, r1);
  if (place.map == nullptr) return kfunc::failure(EINVAL);
  const int error = context->deferred->init(Kind::kWork, place, 0);
  if (error != 0) return kfunc::result(error);
  if (map.has_user_references()) return 0;
  context->deferred->forget(r1);
  return kfunc::failure(EPERM);
}

LMN_KFUNC_BODY(bpf_wq_set_callback_impl) {
  if (kfunc::as_u32(r3) != 0 || context->deferred == nullptr) return kfunc::failure(EINVAL);
  const Map* map = context->deferred->map_of(r1);
  if (map == nullptr) return kfunc::failure(EINVAL);
  if (!map->has_user_references()) return kfunc::failure(EPERM);
  const DeferredFunction function = context->defer(context->engine_state, r2);
  return kfunc::result(context->deferred->set_function(Kind::kWork, r1, function));
}
LMN_KFUNC_BODY(bpf_wq_set_callback) {
  return kfunc_bpf_wq_set_callback_impl(r1, r2, r3, r4, r5, context);
}

LMN_KFUNC_BODY(bpf_wq_start) {
  if (kfunc::as_u32(r2) != 0 || context->deferred == nullptr) return kfunc::failure(EINVAL);
  return kfunc::result(context->deferred->start_work(r1, *context->clock));
}

}  // namespace lmn
