// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the data plane put in the place of ports and programs: a queue that gives what
// the test wrote down, sinks that keep what they got, a program whose verdict is the first byte of
// the packet. Threads: those of what they stand for. Test code only.
#pragma once

#include <linux/bpf.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <vector>

#include "exec/compiled_program.h"
#include "ports/port.h"

namespace lmn {

class RecordingSink final : public TxQueue {
 public:
  int check(std::uint32_t) const noexcept override { return error; }
  void enqueue(XdpFrame* frame) noexcept override { held.push_back(frame); }
  void flush() noexcept override {
    ++flush_count;
    for (XdpFrame* frame : held) {
      sent.emplace_back(frame->data(), frame->data() + frame->length);
      free_frame(frame);
    }
    held.clear();
  }
  std::uint64_t pending() const noexcept override { return held.size(); }

  int error = 0;
  int flush_count = 0;
  std::vector<XdpFrame*> held;
  std::vector<std::vector<std::uint8_t>> sent;
};

class ScriptedQueue final : public RxQueue {
 public:
  explicit ScriptedQueue(FramePool& pool) : pool_(pool) { info_.ifindex = 7; }
  std::size_t receive(FrameBatch& batch) noexcept override {
    std::size_t count = 0;
    while (batch.room() > 0 && !packets.empty()) {
      XdpBuff buff = make_xdp_buff(pool_, pool_.allocate(), info_);
      buff.data_end = std::ranges::copy(packets.front(), buff.data).out;
      packets.pop_front();
      batch.buffs[batch.count++] = buff;
      ++count;
    }
    return count;
  }
  bool is_exhausted() const noexcept override { return packets.empty(); }
  void queue_index(std::uint32_t index) { info_.queue_index = index; }
  std::deque<std::vector<std::uint8_t>> packets;

 private:
  FramePool& pool_;
};

class ScriptedPort final : public Port {
 public:
  explicit ScriptedPort(FramePool& pool) : rx(pool) {}
  RxQueue& rx_queue() override { return rx; }
  TxQueue& tx_queue() override { return tx; }
  ScriptedQueue rx;
  RecordingSink tx;
};

// Verdict = first byte; `on_redirect` fills the slot when that is 4.
class ScriptedProgram final : public CompiledProgram {
 public:
  void run_deferred(const DeferredCall&, RunContext&) noexcept override {}
  void run_batch(FrameBatch& batch, RunContext& context) noexcept override {
    for (std::size_t i = 0; i < batch.count; ++i) {
      context.redirect = {};
      batch.verdicts[i] = run(batch.buffs[i], context);
      batch.redirects[i] = context.redirect;
    }
  }
  std::uint32_t run(XdpBuff& buff, RunContext& context) noexcept override {
    if (buff.egress_ifindex != 0) seen_egress = buff.egress_ifindex;
    if (on_buff) on_buff(buff);
    if (buff.data[0] == XDP_REDIRECT && on_redirect) on_redirect(context.redirect);
    return buff.data[0];
  }
  const void* interpreter_image() const noexcept override { return nullptr; }
  std::function<void(RedirectSlot&)> on_redirect;
  std::function<void(XdpBuff&)> on_buff;
  std::uint32_t seen_egress = 0;
};

}  // namespace lmn
