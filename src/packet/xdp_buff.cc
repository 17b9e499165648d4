// SPDX-License-Identifier: Apache-2.0
//
// Between XdpBuff and XdpFrame. Tested by packet_test.cc.
#include "packet/xdp_buff.h"

#include <new>

#include "base/assert.h"

namespace lmn {

XdpBuff make_xdp_buff(FramePool& pool, std::uint8_t* hard_start, const RxQueueInfo& rxq) noexcept {
  XdpBuff buff;
  buff.hard_start = hard_start;
  buff.data = buff.data_meta = buff.data_end = hard_start + limits::kHeadroomBytes;
  buff.frame_bytes = limits::kFrameBytes;
  buff.rxq = &rxq;
  buff.pool = &pool;
  return buff;
}

XdpFrame* to_frame(const XdpBuff& buff) noexcept {
  LMN_DCHECK(buff.pool != nullptr);
  LMN_DCHECK(buff.data_meta - buff.hard_start >= static_cast<std::ptrdiff_t>(sizeof(XdpFrame)));
  auto* frame = new (buff.hard_start) XdpFrame;
  frame->pool = buff.pool;
  frame->rx_time_ns = buff.rx_time_ns;
  frame->data_offset = static_cast<std::uint16_t>(buff.data - buff.hard_start);
  frame->length = static_cast<std::uint16_t>(buff.length());
  frame->metadata_length = static_cast<std::uint16_t>(buff.metadata_length());
  frame->reserved = 0;
  frame->frame_bytes = buff.frame_bytes;
  frame->ingress_ifindex = buff.rxq != nullptr ? buff.rxq->ifindex : 0;
  frame->port_private = 0;
  return frame;
}

XdpBuff to_buff(XdpFrame& frame, const RxQueueInfo& rxq) noexcept {
  XdpBuff buff;
  buff.hard_start = frame.hard_start();
  buff.data = frame.data();
  buff.data_meta = buff.data - frame.metadata_length;
  buff.data_end = buff.data + frame.length;
  buff.frame_bytes = frame.frame_bytes;
  buff.rxq = &rxq;
  buff.pool = frame.pool;
  buff.rx_time_ns = frame.rx_time_ns;
  return buff;
}

}  // namespace lmn
