// SPDX-License-Identifier: Apache-2.0
//
// MemoryPort: a port whose other end is the program that embeds LMN: tests, `lmn test`, products.
//
// The caller pushes packets into the receive side and takes what was sent from the transmit side.
//
//   MemoryPort* port = as_memory_port(*ports[0]);
//   port->push({.bytes = packet});          // copied into a frame of the pool, at once
//   worker.poll_once();
//   while (XdpFrame* sent = port->take()) { ...; free_frame(sent); }
//
// A packet that cannot be taken is told to the caller and counted, as a NIC counts it: nothing is
// lost in silence. The MTU is the largest a frame holds unless mtu= says less, so that whatever a
// test run of the kernel takes can be pushed.
// Invariant: both sides are bounded (limits::kMemoryQueueFrames).
// Threads: push(), end_input() and take() from the worker's thread or while the worker stands
// still; after a push from a stop, wake the worker. Tested by ports_contract_test.cc,
// own_ports_test.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/byte_reader.h"
#include "ports/frame_ring.h"
#include "ports/port.h"

namespace lmn {

class MemoryRx final : public RxQueue {
 public:
  explicit MemoryRx(std::uint32_t ifindex);
  std::size_t receive(FrameBatch& batch) noexcept override;
  bool is_exhausted() const noexcept override { return input_ended_ && waiting_.is_empty(); }

 private:
  friend class MemoryPort;
  FrameRing waiting_;
  bool input_ended_ = false;
};

class MemoryTx final : public TxQueue {
 public:
  explicit MemoryTx(std::uint32_t mtu);
  int check(std::uint32_t length_bytes) const noexcept override;
  void enqueue(XdpFrame* frame) noexcept override;
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }

 private:
  friend class MemoryPort;
  FrameRing sent_;
  std::uint32_t mtu_;
};

class MemoryPort final : public Port {
 public:
  // One packet as it arrives.
  struct Arrival {
    ByteSpan bytes;                // from the Ethernet header on
    ByteSpan metadata = {};        // what lies before it: a multiple of 4, at most 252 bytes
    std::uint64_t rx_time_ns = 0;  // CLOCK_REALTIME, 0 when unknown
    FrameMeta meta = {};           // what a NIC would have told
  };

  MemoryPort(PortInfo info, FramePool& pool);
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }
  std::size_t frames_held() override { return rx_.waiting_.size() + tx_.sent_.size(); }

  // 0, or why not: EMSGSIZE longer than the MTU allows (rx_oversize), EINVAL shorter than an
  // Ethernet header (rx_undersize) or metadata that is none, ENOBUFS no frame free or queue full
  // (rx_no_frame).
  int push(const Arrival& arrival) noexcept;
  // No packet will be pushed any more: the receive side is exhausted when it is empty.
  void end_input() noexcept { rx_.input_ended_ = true; }
  // The oldest sent frame, now the caller's (free_frame), or null.
  XdpFrame* take() noexcept { return tx_.sent_.pop(); }
  std::size_t sent_count() const noexcept { return tx_.sent_.size(); }

 private:
  FramePool& pool_;
  MemoryRx rx_;
  MemoryTx tx_;
};

// The port as a MemoryPort, or null when it is of another driver.
MemoryPort* as_memory_port(Port& port);

}  // namespace lmn
