// SPDX-License-Identifier: Apache-2.0
//
// PacketRx: the receive side of the packet driver: an AF_PACKET socket with a memory-mapped ring.
//
// Frames as the wire showed them: what the kernel keeps beside the packet is put back. A VLAN tag
// that was taken out goes in again, a partial checksum is completed, a super-frame (TSO, UDP GSO)
// is cut into frames. Own transmissions and those of the host's stack are not received.
//
// TPACKET_V2, not V3: V3 hands frames over in blocks, when a block is full or after a timer of at
// least a millisecond, so that a ping waits for the timer; V2 hands over each frame at once
// (figures: docs/decisions/0003-who-sees-what-on-a-netdev.md). Slots are sized for the MTU. What
// does not fit into a slot - super-frames of up to 64 KB, or 512 KB with BIG TCP - the kernel
// queues whole on the socket beside the ring (PACKET_COPY_THRESH) and marks the slot; one recv(2)
// for such a frame costs little against what is in it, and the ring stays small.
//
// When the pool is empty, frames stay in the ring; when the ring is full, the kernel drops and
// counts (rx_kernel_dropped). Invariants: (1) slots are given back in order, each once; (2) a frame
// queued beside the ring is read when its slot is, so order is kept. Not done yet: fanout over
// several queues; hardware timestamps. Threads: the worker. Tested by ports_contract_test.cc,
// tests/system/ports_packet_test.cc. Source: Linux 6.18, net/packet/af_packet.c (tpacket_rcv,
// packet_recvmsg); packet(7).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ports/netdev/netdev.h"
#include "ports/offload/super_frame.h"
#include "ports/port.h"

struct tpacket2_hdr;

namespace lmn {

class PacketRx final : public RxQueue {
 public:
  PacketRx(const NetdevFacts& netdev, FramePool& pool);
  PacketRx(const PacketRx&) = delete;
  PacketRx& operator=(const PacketRx&) = delete;
  ~PacketRx() override;

  // Errors: kPermission naming CAP_NET_RAW, kIo for what the kernel refuses.
  Result<void> open();

  std::size_t receive(FrameBatch& batch) noexcept override;
  bool is_exhausted() const noexcept override { return state_ == NetdevState::kGone; }
  int poll_fd() const noexcept override { return fd_.get(); }
  std::string input_error() const override;

  NetdevState state() const noexcept { return state_; }
  // False when the kernel granted only its default buffer for super-frames beside the ring (it
  // needs CAP_NET_ADMIN in the first user namespace): a burst of them is then cut off, and counted
  // as rx_truncated.
  bool has_full_buffer() const noexcept { return has_full_buffer_; }
  // Adds what the kernel dropped since the last call to the counters.
  void read_statistics() noexcept;

 private:
  // A VLAN tag as the kernel keeps it beside the packet.
  struct VlanTag {
    bool is_present = false;
    std::uint16_t protocol = 0;
    std::uint16_t control = 0;
  };

  Result<void> set_option(int option, int value, const char* name);
  Result<void> map_ring();
  Result<void> bind_netdev();
  tpacket2_hdr* slot(std::size_t index) const noexcept;
  void take_slot(const tpacket2_hdr& header, FrameBatch& batch) noexcept;
  void take_packet(ByteSpan packet, ByteSpan offload_header, FrameBatch& batch) noexcept;
  void take_oversized(FrameBatch& batch) noexcept;
  void start_super_frame(ByteSpan packet, const OffloadRequest& request) noexcept;
  void give_piece(FrameBatch& batch) noexcept;
  void note_metadata(XdpBuff& buff, bool is_sum_ours) const noexcept;
  void insert_tag(std::uint8_t* frame) const noexcept;
  void watch_netdev() noexcept;

  FramePool& pool_;
  NetdevFacts netdev_;
  UniqueFd fd_;
  std::uint8_t* ring_ = nullptr;
  std::size_t ring_bytes_ = 0;
  std::size_t slot_bytes_ = 0;
  std::size_t slot_count_ = 0;
  std::size_t next_slot_ = 0;

  VlanTag tag_;                  // of the packet in hand
  bool is_sum_checked_ = false;  // of the slot in hand, by the kernel or the NIC
  std::uint64_t time_ns_ = 0;    // of the packet in hand
  SuperFrame super_frame_;       // being cut; lies in super_buffer_
  std::vector<std::uint8_t> super_buffer_;
  std::uint32_t idle_count_ = 0;
  NetdevState state_ = NetdevState::kUp;
  bool has_full_buffer_ = true;
};

}  // namespace lmn
