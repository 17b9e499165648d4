// SPDX-License-Identifier: Apache-2.0
//
// XdpBuff: a frame being processed; XdpFrame: the same frame at rest.
//
// A port's receive queue fills XdpBuffs, a program looks at them, and whoever keeps a frame beyond
// the batch (a transmit queue, a pass sink) turns it into an XdpFrame, whose header lies in the
// frame's own head-room, as in the kernel (struct xdp_buff and xdp_frame of Linux 6.18,
// include/net/xdp.h). Those 40 bytes are what a program can never take as head-room.
//
// Invariants of an XdpBuff given to a program: hard_start + 40 <= data_meta <= data <= data_end <=
// hard_end(); data_end - data >= 14 is a port's duty, a program may be run on less only by lmn
// test. The ways between the two are inline: they run once per packet, between other stores to the
// same lines. Threads: one owner at a time. Tested by packet_test.cc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "abi/limits.h"
#include "base/assert.h"
#include "packet/frame_meta.h"
#include "packet/frame_pool.h"

namespace lmn {

// Where a frame came in. Lives as long as its port's queue.
struct RxQueueInfo {
  std::uint32_t ifindex = 0;
  std::uint32_t queue_index = 0;
  std::uint16_t metadata = 0;  // what the port can know of a frame: kMeta*
};

struct XdpBuff {
  std::uint8_t* hard_start = nullptr;
  std::uint8_t* data_meta = nullptr;  // == data when there is no metadata
  std::uint8_t* data = nullptr;
  std::uint8_t* data_end = nullptr;
  std::uint32_t frame_bytes = 0;     // the room from hard_start on, tail-room included
  std::uint32_t egress_ifindex = 0;  // devmap programs only
  const RxQueueInfo* rxq = nullptr;
  FramePool* pool = nullptr;     // owner of the memory; null for memory of a caller (lmn test)
  std::uint64_t rx_time_ns = 0;  // CLOCK_REALTIME of arrival where the port knows it, else 0
  FrameMeta meta;                // what else the port knows

  std::uint8_t* hard_end() const { return hard_start + frame_bytes - limits::kTailroomBytes; }
  std::uint32_t length() const { return static_cast<std::uint32_t>(data_end - data); }
  std::uint32_t metadata_length() const { return static_cast<std::uint32_t>(data - data_meta); }
};

// An empty packet at the usual head-room of a frame fresh from `pool`.
inline XdpBuff make_xdp_buff(FramePool& pool, std::uint8_t* hard_start,
                             const RxQueueInfo& rxq) noexcept {
  XdpBuff buff;
  buff.hard_start = hard_start;
  buff.data = buff.data_meta = buff.data_end = hard_start + limits::kHeadroomBytes;
  buff.frame_bytes = limits::kFrameBytes;
  buff.rxq = &rxq;
  buff.pool = &pool;
  return buff;
}

struct XdpFrame {
  FramePool* pool;
  std::uint64_t rx_time_ns;
  std::uint16_t data_offset;      // from hard_start
  std::uint16_t length;           // bytes
  std::uint16_t metadata_length;  // bytes before data
  std::uint16_t meta_known;       // FrameMeta::known; the rest of it is at meta_place()
  std::uint32_t frame_bytes;
  std::uint32_t ingress_ifindex;
  std::uint64_t port_private;  // the holder's own (a ring slot)

  std::uint8_t* hard_start() { return reinterpret_cast<std::uint8_t*>(this); }
  std::uint8_t* data() { return hard_start() + data_offset; }
  const std::uint8_t* data() const {
    return reinterpret_cast<const std::uint8_t*>(this) + data_offset;
  }
};
// Where the FrameMeta of a frame at rest lies: the end of the tail-room, which is out of any
// program's reach.
inline std::uint8_t* meta_place(std::uint8_t* hard_start, std::uint32_t frame_bytes) noexcept {
  return hard_start + frame_bytes - sizeof(FrameMeta);
}
static_assert(sizeof(FrameMeta) <= limits::kTailroomBytes);
static_assert(sizeof(XdpFrame) == limits::kFrameHeaderBytes,
              "the frame header is what adjust_head must leave free, as in the kernel");

// Puts a processed frame to rest. The XdpBuff must not be used afterwards.
// REQUIRES: buff.pool != nullptr and the header's 40 bytes are free.
inline XdpFrame* to_frame(const XdpBuff& buff) noexcept {
  LMN_DCHECK(buff.pool != nullptr);
  LMN_DCHECK(buff.data_meta - buff.hard_start >= static_cast<std::ptrdiff_t>(sizeof(XdpFrame)));
  auto* frame = new (buff.hard_start) XdpFrame;
  frame->pool = buff.pool;
  frame->rx_time_ns = buff.rx_time_ns;
  frame->data_offset = static_cast<std::uint16_t>(buff.data - buff.hard_start);
  frame->length = static_cast<std::uint16_t>(buff.length());
  frame->metadata_length = static_cast<std::uint16_t>(buff.metadata_length());
  frame->meta_known = buff.meta.known;
  if (buff.meta.known != 0) [[unlikely]] {
    std::memcpy(meta_place(buff.hard_start, buff.frame_bytes), &buff.meta, sizeof buff.meta);
  }
  frame->frame_bytes = buff.frame_bytes;
  frame->ingress_ifindex = buff.rxq != nullptr ? buff.rxq->ifindex : 0;
  frame->port_private = 0;
  return frame;
}

// The reverse, for a second program on the frame's way.
inline XdpBuff to_buff(XdpFrame& frame, const RxQueueInfo& rxq) noexcept {
  XdpBuff buff;
  buff.hard_start = frame.hard_start();
  buff.data = frame.data();
  buff.data_meta = buff.data - frame.metadata_length;
  buff.data_end = buff.data + frame.length;
  buff.frame_bytes = frame.frame_bytes;
  buff.rxq = &rxq;
  buff.pool = frame.pool;
  buff.rx_time_ns = frame.rx_time_ns;
  if (frame.meta_known != 0) [[unlikely]] {
    std::memcpy(&buff.meta, meta_place(frame.hard_start(), frame.frame_bytes), sizeof buff.meta);
  }
  return buff;
}

// Gives the frame back to its pool.
inline void free_frame(XdpFrame* frame) noexcept { frame->pool->free(frame->hard_start()); }

}  // namespace lmn
