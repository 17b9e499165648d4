// SPDX-License-Identifier: Apache-2.0
//
// Helpers of ring buffers: output, reserve, submit, discard, query, and the first three through
// dynptrs.
//
// The ring itself is maps/ringbuf_map.h. submit and discard name no map: the kernel finds it from
// the record's header, which lies in memory that a reader may write; we remember instead which ring
// each record came from, for as long as the run holds it (RunContext::held_records). So a pointer
// that was never reserved does nothing, and what a stopped program held can be given back.
// A map of another type is refused here too, although the verifier does: a ring's memory is not
// something to be reached by mistake (Linux CVE-2021-34866).
// Tested by ringbuf_helpers_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c.
#include <linux/bpf.h>

#include <cerrno>

#include "helpers/bodies.h"
#include "maps/ringbuf_map.h"
#include "packet/dynptr.h"

namespace lmn {
namespace {

// The ring behind a map argument, or null.
RingbufMap* ring_of(std::uint64_t address) {
  Map* map = helper::as_pointer<Map>(address);
  return map->spec().type == BPF_MAP_TYPE_RINGBUF ? static_cast<RingbufMap*>(map) : nullptr;
}

void discard_quietly(Map& ring, void* sample) noexcept {
  static_cast<RingbufMap&>(ring).discard(sample, BPF_RB_NO_WAKEUP);
}

// A record of `ring` that the run now holds, or null.
void* reserve(RunContext& context, RingbufMap* ring, std::uint64_t size) {
  if (ring == nullptr || context.held_records.is_full()) return nullptr;
  void* sample = ring->reserve(size);
  if (sample != nullptr) context.held_records.add({sample, ring, discard_quietly});
  return sample;
}

void submit(RunContext& context, std::uint64_t sample, std::uint64_t flags) {
  void* record = helper::as_pointer<void>(sample);
  Map* ring = context.held_records.take(record);
  if (ring != nullptr) static_cast<RingbufMap*>(ring)->submit(record, flags);
}

void discard(RunContext& context, std::uint64_t sample, std::uint64_t flags) {
  void* record = helper::as_pointer<void>(sample);
  Map* ring = context.held_records.take(record);
  if (ring != nullptr) static_cast<RingbufMap*>(ring)->discard(record, flags);
}

}  // namespace

LMN_HELPER_BODY(ringbuf_output) {
  RingbufMap* ring = ring_of(r1);
  if (ring == nullptr) return helper::failure(EINVAL);
  const std::span record(helper::as_pointer<const std::uint8_t>(r2), r3);
  return helper::result(ring->output(record, r4));
}

LMN_HELPER_BODY(ringbuf_reserve) {
  if (r3 != 0) return 0;
  return reinterpret_cast<std::uintptr_t>(reserve(*context, ring_of(r1), r2));
}

LMN_HELPER_BODY(ringbuf_submit) {
  submit(*context, r1, r2);
  return 0;
}

LMN_HELPER_BODY(ringbuf_discard) {
  discard(*context, r1, r2);
  return 0;
}

LMN_HELPER_BODY(ringbuf_query) {
  const RingbufMap* ring = ring_of(r1);
  return ring != nullptr ? ring->query(r2) : 0;
}

// On failure the dynptr is null; it is to be submitted or discarded in any case.
LMN_HELPER_BODY(ringbuf_reserve_dynptr) {
  Dynptr& dynptr = *helper::as_pointer<Dynptr>(r4);
  const std::uint32_t size = helper::as_u32(r2);
  dynptr = {};
  if (r3 != 0) return helper::failure(EINVAL);
  if (size > Dynptr::kSizeMask) return helper::failure(E2BIG);
  const void* sample = reserve(*context, ring_of(r1), size);
  if (sample == nullptr) return helper::failure(EINVAL);
  dynptr = Dynptr::make(reinterpret_cast<std::uintptr_t>(sample), size, Dynptr::kTypeRingbuf);
  return 0;
}

LMN_HELPER_BODY(ringbuf_submit_dynptr) {
  Dynptr& dynptr = *helper::as_pointer<Dynptr>(r1);
  if (!dynptr.is_null()) submit(*context, dynptr.address, r2);
  dynptr = {};
  return 0;
}

LMN_HELPER_BODY(ringbuf_discard_dynptr) {
  Dynptr& dynptr = *helper::as_pointer<Dynptr>(r1);
  if (!dynptr.is_null()) discard(*context, dynptr.address, r2);
  dynptr = {};
  return 0;
}

}  // namespace lmn
