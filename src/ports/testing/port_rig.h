// SPDX-License-Identifier: Apache-2.0
//
// PortRig: a port and the world on its other side, which can put frames in and take frames out.
//
// One rig per driver, so that the contract suite is written once. A rig that needs a kernel netdev
// makes it in the network namespace of the calling thread.
// Test code only; used by ports_contract_test.cc and benchmarks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "ports/port.h"

namespace lmn::testing_support {

using Bytes = std::vector<std::uint8_t>;

class PortRig {
 public:
  virtual ~PortRig() = default;
  Port& port() { return *ports_.front(); }

  // Puts a frame on the port's receive side. False when the world would not take it.
  virtual bool inject(ByteSpan frame) = 0;
  // Takes what has come out so far, where the world's own queue is short.
  virtual void collect_some() {}
  // Ends the port's output and gives what came out of its transmit side; waits for `count` frames.
  virtual std::vector<Bytes> finish_and_collect(std::size_t count) = 0;
  // No more frames will come: closes the input, or takes the netdev away.
  virtual void end_input() = 0;
  // Sets the netdev up or down. False for drivers that have no such state.
  virtual bool set_up(bool) { return false; }
  // A frame one byte too long for the port arrives. False when the world cannot do that.
  virtual bool inject_oversize() { return false; }
  virtual bool inject_undersize() { return false; }
  // Lets go of the port, with whatever it holds.
  void destroy_port() { ports_.clear(); }

 protected:
  Result<void> open(const std::string& spec, PortResources& resources);
  OpenedPorts ports_;
};

// What the suite must know of a driver before it makes a rig.
struct RigTraits {
  std::string_view driver;
  bool needs_netns = false;
  // Frames wait outside (file, socket) when the pool is empty.
  bool can_wait_for_frames = false;
};
const RigTraits* find_rig_traits(std::string_view driver);

// REQUIRES: find_rig_traits(driver) != nullptr.
Result<std::unique_ptr<PortRig>> make_rig(std::string_view driver, PortResources& resources);

}  // namespace lmn::testing_support
