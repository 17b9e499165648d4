// SPDX-License-Identifier: Apache-2.0
//
// EndlessPort: packets of 64 bytes without end, for benchmarks of what lies between ports: nothing
// is received and nothing is sent, so that frames cost only their way through the pool. Threads:
// the worker's. Used by worker_bench.cc and cpu_queue_bench.cc.
#pragma once

#include "packet/frame_pool.h"
#include "ports/port.h"

namespace lmn {

class EndlessQueue final : public RxQueue {
 public:
  explicit EndlessQueue(FramePool& pool) : pool_(pool) { info_.ifindex = 7; }
  std::size_t receive(FrameBatch& batch) noexcept override {
    const std::size_t before = batch.count;
    while (batch.room() > 0) {
      std::uint8_t* frame = pool_.allocate();
      if (frame == nullptr) break;
      XdpBuff buff = make_xdp_buff(pool_, frame, info_);
      buff.data_end = buff.data + 64;
      batch.buffs[batch.count++] = buff;
    }
    return batch.count - before;
  }
  bool is_exhausted() const noexcept override { return false; }

 private:
  FramePool& pool_;
};

class Hole final : public TxQueue {
 public:
  int check(std::uint32_t) const noexcept override { return 0; }
  void enqueue(XdpFrame* frame) noexcept override { free_frame(frame); }
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }
};

class EndlessPort final : public Port {
 public:
  explicit EndlessPort(FramePool& pool) : rx_(pool) {}
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }

 private:
  EndlessQueue rx_;
  Hole tx_;
};

}  // namespace lmn
