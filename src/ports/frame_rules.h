// SPDX-License-Identifier: Apache-2.0
//
// What all drivers do alike with a frame: where it starts, how long it may be, how it is counted
// when it is sent or lost. Internal to src/ports.
//
// Source of the length rule: Linux 6.18, include/linux/netdevice.h (__xdp_ok_fwd_dev): MTU, link
// header and one VLAN tag. Threads: the owner of the queue. Tested by ports_contract_test.cc.
#pragma once

#include <cerrno>
#include <cstdint>

#include "packet/frame_batch.h"
#include "telemetry/counters.h"

namespace lmn {

inline constexpr std::uint32_t kEthernetHeaderBytes = 14;
inline constexpr std::uint32_t kVlanTagBytes = 4;

constexpr std::uint32_t frame_length_max(std::uint32_t mtu) {
  return mtu + kEthernetHeaderBytes + kVlanTagBytes;
}

// The answer of FrameSink::check for a port that is up or down.
constexpr int check_frame_length(bool is_up, std::uint32_t mtu, std::uint32_t length) {
  if (!is_up) return ENETDOWN;
  return length > frame_length_max(mtu) ? EMSGSIZE : 0;
}

// Which loss counter a frame of this length belongs to, or kRxPackets when it may pass.
constexpr Counter judge_rx_length(std::uint64_t length, std::uint64_t length_max) {
  if (length < limits::kPacketBytesMin) return Counter::kRxUndersize;
  if (length > length_max) return Counter::kRxOversize;
  return Counter::kRxPackets;
}

// Appends an empty packet in the frame `hard_start`; the caller sets data_end and rx_time_ns. The
// same as make_xdp_buff(), but written in place: returning the buff and copying it into the batch
// halves the rate of the pcap port (51 against 109 million packets/s). REQUIRES: batch.room() > 0.
inline XdpBuff& append_buff(FrameBatch& batch, FramePool& pool, std::uint8_t* hard_start,
                            const RxQueueInfo& rxq) noexcept {
  XdpBuff& buff = batch.buffs[batch.count++];
  buff.hard_start = hard_start;
  buff.data = buff.data_meta = buff.data_end = hard_start + limits::kHeadroomBytes;
  buff.frame_bytes = limits::kFrameBytes;
  buff.egress_ifindex = 0;
  buff.rxq = &rxq;
  buff.pool = &pool;
  buff.rx_time_ns = 0;
  buff.meta.known = 0;
  return buff;
}

// Appends a frame that came by ownership from another port of the engine.
inline void append_frame(FrameBatch& batch, XdpFrame& frame, const RxQueueInfo& rxq) noexcept {
  batch.buffs[batch.count++] = to_buff(frame, rxq);
}

inline void drop_tx_frame(XdpFrame* frame, Counters& counters) noexcept {
  counters.add(Counter::kTxDropped);
  free_frame(frame);
}

}  // namespace lmn
