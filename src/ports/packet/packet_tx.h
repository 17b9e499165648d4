// SPDX-License-Identifier: Apache-2.0
//
// PacketTx: the transmit side of the packet driver: frames to a netdev by sendmmsg(2).
//
// A socket of its own (it receives nothing), without the queueing discipline: XDP_TX and redirect
// pass it by in the kernel too. One call takes 64 frames, and a frame is free again when the call
// returns; a transmit ring would save the copy in theory, but on virtual links the kernel must copy
// then too (figures: docs/decisions/0003-who-sees-what-on-a-netdev.md).
//
// When the socket's buffer is full, frames wait here, at most limits::kTxPendingFrames, and flush()
// tries again; what the device refused (ENOBUFS, ENETDOWN, EMSGSIZE) is dropped and counted.
// Threads: the worker. Tested by ports_contract_test.cc.
// Source: Linux 6.18, net/packet/af_packet.c (packet_snd, packet_direct_xmit).
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"
#include "ports/frame_ring.h"
#include "ports/netdev/netdev.h"
#include "ports/port.h"

namespace lmn {

class PacketTx final : public TxQueue {
 public:
  // Asks `watcher` whether the netdev is up: the receive side hears of it.
  class Watcher {
   public:
    virtual ~Watcher() = default;
    virtual bool is_up() const noexcept = 0;
  };

  PacketTx(const NetdevFacts& netdev, const Watcher& watcher);
  // Errors: kPermission naming CAP_NET_RAW, kIo.
  Result<void> open();

  int check(std::uint32_t length_bytes) const noexcept override;
  void enqueue(XdpFrame* frame) noexcept override;
  void flush() noexcept override;
  std::uint64_t pending() const noexcept override { return waiting_.size(); }
  // Drops and counts what still waits.
  void drop_pending() noexcept;

 private:
  // Hands the oldest frames to the kernel; true when it took some or refused one for good.
  bool send_some() noexcept;

  const Watcher& watcher_;
  NetdevFacts netdev_;
  UniqueFd fd_;
  FrameRing waiting_;
  std::array<iovec, limits::kBatchSize> parts_{};
  std::array<mmsghdr, limits::kBatchSize> messages_{};
};

}  // namespace lmn
