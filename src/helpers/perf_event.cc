// SPDX-License-Identifier: Apache-2.0
//
// bpf_perf_event_output: a sample of the program's bytes, with the packet's first bytes behind them
// if it asks for that, into the ring of a slot of a PERF_EVENT_ARRAY.
//
// The flags say which slot (the CPU's own, or a number) and, in their upper half, how many bytes of
// the packet to add. A map of another type is refused here too, although the verifier does.
// Tested by perf_event_test.cc and tests/differential/perf_event_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_xdp_event_output), kernel/trace/bpf_trace.c
// (__bpf_perf_event_output).
#include <linux/bpf.h>

#include <cerrno>

#include "helpers/bodies.h"
#include "maps/perf_event_array_map.h"

namespace lmn {

LMN_HELPER_BODY(perf_event_output) {
  constexpr std::uint64_t kFlags = BPF_F_CTXLEN_MASK | BPF_F_INDEX_MASK;
  constexpr int kPacketBytesShift = 32;
  const std::uint64_t flags = r3;
  Map* map = helper::as_pointer<Map>(r2);
  if (map->spec().type != BPF_MAP_TYPE_PERF_EVENT_ARRAY) return helper::failure(EINVAL);
  if ((flags & ~kFlags) != 0) return helper::failure(EINVAL);
  const std::uint64_t packet_bytes = (flags & BPF_F_CTXLEN_MASK) >> kPacketBytesShift;
  if (packet_bytes > context->buff->length()) return helper::failure(EFAULT);
  const std::span sample(helper::as_pointer<const std::uint8_t>(r4), r5);
  const std::span<const std::uint8_t> packet(context->buff->data, packet_bytes);
  return helper::result(static_cast<PerfEventArrayMap*>(map)->output(flags & BPF_F_INDEX_MASK,
                                                                     context->cpu, sample, packet));
}

}  // namespace lmn
