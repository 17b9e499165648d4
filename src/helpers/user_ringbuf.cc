// SPDX-License-Identifier: Apache-2.0
//
// bpf_user_ringbuf_drain: shows a function of the program every record that user space has put into
// a USER_RINGBUF, as a dynptr, until the function gives something other than 0.
//
// The result is the number of records shown; records that the writer discarded are passed over and
// not counted. A record that makes no sense ends the drain with its error, and stays where it is:
// the writer broke the ring, and only the writer can mend it. One drain of a ring at a time, also
// from within the function.
// Not done yet: waking a writer that waits for room; it has to look at the consumer position.
// Tested by tests/differential/user_ringbuf_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c (bpf_user_ringbuf_drain).
#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <span>

#include "helpers/bodies.h"
#include "maps/user_ringbuf_map.h"
#include "packet/dynptr.h"

namespace lmn {
namespace {

// What the program's function gave for one record.
std::uint64_t show(RunContext& context, std::uint64_t function, std::span<std::uint8_t> sample,
                   std::uint64_t user_context) {
  const Dynptr dynptr = Dynptr::make(reinterpret_cast<std::uintptr_t>(sample.data()),
                                     static_cast<std::uint32_t>(sample.size()), Dynptr::kTypeLocal);
  const std::array<std::uint64_t, 2> arguments = {reinterpret_cast<std::uintptr_t>(&dynptr),
                                                  user_context};
  return context.call_back(context.engine_state, function, arguments);
}

// REQUIRES: a drain of `ring` has begun.
std::int64_t drain(UserRingbufMap& ring, RunContext& context, std::uint64_t function,
                   std::uint64_t user_context) {
  std::int64_t shown = 0;
  for (std::uint32_t i = 0; i < UserRingbufMap::kSamplesPerDrainMax; ++i) {
    std::span<std::uint8_t> sample;
    const int error = ring.next_sample(sample);
    if (error == -ENODATA) break;
    if (error == -EAGAIN) continue;  // discarded
    if (error != 0) return error;
    const std::uint64_t result = show(context, function, sample, user_context);
    ring.finish_sample(sample);
    ++shown;
    if (result != 0) break;
  }
  return shown;
}

}  // namespace

LMN_HELPER_BODY(user_ringbuf_drain) {
  constexpr std::uint64_t kFlags = BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP;
  Map* map = helper::as_pointer<Map>(r1);
  if (map->spec().type != BPF_MAP_TYPE_USER_RINGBUF) return helper::failure(EINVAL);
  if ((r4 & ~kFlags) != 0) return helper::failure(EINVAL);
  auto& ring = *static_cast<UserRingbufMap*>(map);
  if (!ring.begin_drain()) return helper::failure(EBUSY);
  const std::int64_t result = drain(ring, *context, r2, r3);
  ring.end_drain();
  return helper::result(result);
}

}  // namespace lmn
