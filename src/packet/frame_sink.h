// SPDX-License-Identifier: Apache-2.0
//
// FrameSink: anything that takes frames: a transmit queue, a pass sink, a queue to another CPU,
// later an AF_XDP socket.
//
// The question is asked here, low in the layers, and answered by ports and the engine, so that maps
// and the data plane know no port. A sink takes ownership with enqueue() and moves frames on with
// flush(), once per batch. Threads: one worker per sink.
#pragma once

#include <cstdint>
#include <string_view>

#include "packet/xdp_buff.h"

namespace lmn {

class FrameSink {
 public:
  virtual ~FrameSink() = default;

  // Whether a frame of `length_bytes` from a program may be sent here now: 0, or the positive errno
  // that the kernel's redirect would report (ENETDOWN, EMSGSIZE, EOPNOTSUPP, ENXIO). Asked before
  // enqueue.
  virtual int check(std::uint32_t length_bytes) const noexcept = 0;
  // Takes the frame. A sink that cannot send it later frees and counts it (tx_dropped); it never
  // refuses here.
  virtual void enqueue(XdpFrame* frame) noexcept = 0;
  // Moves everything enqueued on; called once per batch. What cannot be sent now is dropped and
  // counted by reason.
  virtual void flush() noexcept = 0;
  // Frames taken and neither sent nor dropped yet: the "in flight" of the accounting.
  virtual std::uint64_t pending() const noexcept = 0;
};

}  // namespace lmn
