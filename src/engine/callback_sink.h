// SPDX-License-Identifier: Apache-2.0
//
// CallbackSink: hands frames to the embedding application, one call per frame at the end of a poll.
//
// The bytes are the application's only during the call; what it wants to keep it copies. As a pass
// sink it is the application's own stack. Owner: the application. Threads: the callback runs on the
// worker's thread.
#pragma once

#include <functional>
#include <vector>

#include "base/byte_reader.h"
#include "packet/frame_sink.h"

namespace lmn {

class CallbackSink final : public FrameSink {
 public:
  using Callback = std::function<void(ByteSpan packet, std::uint32_t ingress_ifindex)>;
  explicit CallbackSink(Callback callback) : callback_(std::move(callback)) {
    held_.reserve(limits::kBatchSize * 4);
  }

  int check(std::uint32_t) const noexcept override { return 0; }
  void enqueue(XdpFrame* frame) noexcept override { held_.push_back(frame); }
  void flush() noexcept override {
    for (XdpFrame* frame : held_) {
      callback_(ByteSpan(frame->data(), frame->length), frame->ingress_ifindex);
      free_frame(frame);
    }
    held_.clear();
  }
  std::uint64_t pending() const noexcept override { return held_.size(); }

 private:
  Callback callback_;
  std::vector<XdpFrame*> held_;
};

}  // namespace lmn
