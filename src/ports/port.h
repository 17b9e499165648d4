// SPDX-License-Identifier: Apache-2.0
//
// Port: where frames come from and go to: the driver's side of the engine.
//
// A port has a control side (Port: name, ifindex, MTU; slow, may fail with an Error) and a data
// side (RxQueue, TxQueue; noexcept, one owner, no allocation, log or lock). A port knows no
// programs and no maps: it gives batches and takes frames. Every driver has the same counters,
// limits and errors; what it cannot do it says in its notices.
//
//   LMN_TRY(PortSpec spec, parse_port_spec("pcap:in=a.pcap,out=b.pcap"));
//   LMN_TRY(OpenedPorts ports, open_port(spec, resources));
//
// A specification is DRIVER:key=value,word,... or a bare netdev name, which stands for the best
// driver for netdevs (now `packet`). A comma or backslash inside a value is written with a
// backslash before it.
// Adding a driver: a folder ports/<driver>/ and one row of port_drivers.def;
// ports_contract_test.cc then runs over it.
// Invariants: (1) every frame that a queue takes from the pool it gives to a batch, keeps (and
// frees at its end), or frees and counts; (2) a frame in a batch is at least 14 bytes long and
// starts at the usual head-room, except where it came by ownership from another engine port. Tested
// by port_spec_test.cc and ports_contract_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "packet/frame_batch.h"
#include "packet/frame_pool.h"
#include "packet/frame_sink.h"
#include "telemetry/counters.h"

namespace lmn {

// Ports without a kernel netdev get an ifindex from here up.
inline constexpr std::uint32_t kFirstOwnIfindex = 1u << 20;

struct PortInfo {
  std::string name;    // the netdev's, or the one given
  std::string driver;  // row of port_drivers.def
  std::uint32_t ifindex = 0;
  std::uint32_t mtu = 1500;  // bytes of L3; frames may be mtu + 14 + 4 (a VLAN tag)
  std::array<std::uint8_t, 6> mac{};
};

class RxQueue {
 public:
  virtual ~RxQueue() = default;
  const RxQueueInfo& info() const { return info_; }
  Counters& counters() { return counters_; }

  // Appends up to batch.room() frames, each with rxq = &info(). Never blocks. Counts only frames it
  // lost (rx_oversize ...): what it gives is counted by whoever runs it. When the pool is empty, a
  // queue leaves its input where it is (file, socket) and gives less. Returns the number appended.
  virtual std::size_t receive(FrameBatch& batch) noexcept = 0;
  // True when nothing waits and nothing more can come from outside the engine (end of a capture;
  // always so for an empty in-engine pair). The run ends when all queues say so at the same time.
  virtual bool is_exhausted() const noexcept = 0;
  // A descriptor that polls readable when frames wait, or -1: then the worker must not sleep unless
  // another wakes it.
  virtual int poll_fd() const noexcept { return -1; }
  // Why the input ended early ("truncated capture: ..."), empty when all is well. Slow; for the end
  // of a run.
  virtual std::string input_error() const { return {}; }

 protected:
  RxQueueInfo info_;
  Counters counters_;
};

// Counts tx_packets, tx_bytes and tx_dropped in its own counters. While pending() is not 0,
// somebody must call flush() now and then.
class TxQueue : public FrameSink {
 public:
  Counters& counters() { return counters_; }

 protected:
  Counters counters_;
};

class Port {
 public:
  virtual ~Port() = default;
  const PortInfo& info() const { return info_; }
  virtual RxQueue& rx_queue() = 0;  // one queue per port for now; becomes a span with multi-queue
  virtual TxQueue& tx_queue() = 0;
  // Frames of the pool that rest in the port, in either direction: its part of "in flight".
  virtual std::size_t frames_held() { return tx_queue().pending(); }
  // Things an operator must know, once, after opening ("netdev has an address: the kernel answers
  // too").
  virtual std::vector<std::string> notices() const { return {}; }
  // Ends the port's output in good order (files are flushed and closed); errors are real (disk
  // full). Frames that are still pending afterwards are dropped and counted.
  virtual Result<void> finish() { return {}; }

 protected:
  PortInfo info_;
};

// What drivers take from the engine.
struct PortResources {
  FramePool* pool = nullptr;
  const Clock* clock = nullptr;
  Log* log = nullptr;
  // Gives the next ifindex for a port without a netdev.
  std::uint32_t next_own_ifindex = kFirstOwnIfindex;
};

struct PortOption {
  std::string key;
  std::string value;
};

// A parsed port specification: DRIVER:key=value,... or a bare netdev name.
struct PortSpec {
  std::string text;                 // as given, for messages
  std::string driver;               // "pcap"
  std::vector<std::string> names;   // words without '=': "eth1", "a"
  std::vector<PortOption> options;  // key=value in the order given
};

using OpenedPorts = std::vector<std::unique_ptr<Port>>;

// One row of port_drivers.def.
struct PortDriver {
  std::string_view name;
  std::string_view syntax;  // "packet:NETDEV"
  std::string_view summary;
  // Opens one port, or two for drivers that make pairs. Refuses unknown options by name.
  Result<OpenedPorts> (*open)(const PortSpec& spec, PortResources& resources);
};

std::span<const PortDriver> port_drivers();
// The row of that name, or null.
const PortDriver* find_port_driver(std::string_view name);
// Errors: kInvalidArgument naming the part that is wrong and the driver's syntax.
Result<PortSpec> parse_port_spec(std::string_view text);
// REQUIRES: resources.pool and resources.clock are set and outlive the ports.
Result<OpenedPorts> open_port(const PortSpec& spec, PortResources& resources);

}  // namespace lmn
