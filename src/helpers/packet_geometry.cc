// SPDX-License-Identifier: Apache-2.0
//
// Helpers that move the edges of a packet: adjust_head, adjust_tail, adjust_meta, get_buff_len.
//
//   hard_start | frame header 40 | ... | metadata | packet ......... | ... | hard_end | tail-room
//                                       ^ data_meta ^ data            ^ data_end
//
// adjust_head moves data and takes the metadata along; adjust_tail moves data_end and zeroes what
// it gains, because a frame holds an older packet's bytes there; adjust_meta moves data_meta.
// Nobody may come nearer to hard_start than the frame header (a redirected frame is described
// there), nor past hard_end (the kernel's shared info lies behind it).
//
// All sums are done on 64-bit distances from hard_start, not on pointers, so that a delta of
// INT_MIN is a small number and not a pointer before the frame.
// A metadata pointer behind data is the kernel's mark for a driver that has no metadata.
// Tested by helpers_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, net/core/filter.c; include/net/xdp.h (xdp_metalen_invalid).
#include <cerrno>
#include <cstring>

#include "abi/limits.h"
#include "helpers/bodies.h"

namespace lmn {
namespace {

constexpr std::int64_t kFrameHeader = limits::kFrameHeaderBytes;
constexpr std::int64_t kPacketMin = limits::kPacketBytesMin;
constexpr std::int64_t kMetadataMax = limits::kMetadataBytesMax;

// A buffer's edges as distances from hard_start.
struct Edges {
  std::int64_t meta;
  std::int64_t data;
  std::int64_t end;
  std::int64_t hard_end;

  explicit Edges(const XdpBuff& buff)
      : meta(buff.data_meta - buff.hard_start),
        data(buff.data - buff.hard_start),
        end(buff.data_end - buff.hard_start),
        hard_end(buff.hard_end() - buff.hard_start) {}

  bool has_metadata_support() const { return meta <= data; }
};

}  // namespace

LMN_HELPER_BODY(xdp_adjust_head) {
  XdpBuff& buff = *context->buff;
  const Edges edges(buff);
  const std::int64_t delta = helper::as_s32(r2);
  const std::int64_t metadata = edges.has_metadata_support() ? edges.data - edges.meta : 0;
  const std::int64_t data = edges.data + delta;
  if (data < kFrameHeader + metadata) return helper::failure(EINVAL);
  if (data > edges.end - kPacketMin) return helper::failure(EINVAL);
  if (metadata != 0) {
    std::memmove(buff.data_meta + delta, buff.data_meta, static_cast<std::size_t>(metadata));
  }
  buff.data_meta += delta;
  buff.data += delta;
  ++context->packet_generation;
  return 0;
}

LMN_HELPER_BODY(xdp_adjust_tail) {
  XdpBuff& buff = *context->buff;
  const Edges edges(buff);
  const std::int64_t delta = helper::as_s32(r2);
  const std::int64_t end = edges.end + delta;
  if (end > edges.hard_end) return helper::failure(EINVAL);
  if (end < edges.data + kPacketMin) return helper::failure(EINVAL);
  if (delta > 0) std::memset(buff.data_end, 0, static_cast<std::size_t>(delta));
  buff.data_end += delta;
  ++context->packet_generation;
  return 0;
}

LMN_HELPER_BODY(xdp_adjust_meta) {
  XdpBuff& buff = *context->buff;
  const Edges edges(buff);
  if (!edges.has_metadata_support()) return helper::failure(helper::kEnotsupp);
  const std::int64_t meta = edges.meta + helper::as_s32(r2);
  if (meta < kFrameHeader || meta > edges.data) return helper::failure(EINVAL);
  const std::int64_t length = edges.data - meta;
  if (length % 4 != 0 || length > kMetadataMax) return helper::failure(EACCES);
  buff.data_meta = buff.hard_start + meta;
  ++context->packet_generation;
  return 0;
}

LMN_HELPER_BODY(xdp_get_buff_len) { return context->buff->length(); }

}  // namespace lmn
