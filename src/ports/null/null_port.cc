// SPDX-License-Identifier: Apache-2.0
//
// The null driver: frames of zeros without end, and a hole for what is sent.
//
// For measuring everything but a port: `lmn run OBJ --port null,count=10000000` is bound by the
// program and the engine alone, as DPDK's net_null. Frames come from the pool like all others, so
// an empty pool counts rx_no_frame; what is sent is counted and freed at once. Threads: one worker.
// Tested by ports_contract_test.cc (skipped there for what a hole cannot show) and
// own_ports_test.cc.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "ports/frame_rules.h"
#include "ports/port.h"
#include "ports/port_spec.h"

namespace lmn {
namespace {

class NullRx final : public RxQueue {
 public:
  NullRx(std::uint32_t ifindex, FramePool& pool, std::uint64_t count, std::uint32_t size_bytes)
      : pool_(pool), left_(count), size_bytes_(size_bytes) {
    info_.ifindex = ifindex;
  }

  std::size_t receive(FrameBatch& batch) noexcept override {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(batch.room(), left_));
    for (std::size_t i = 0; i < wanted; ++i) {
      std::uint8_t* room = pool_.allocate();
      if (room == nullptr) return i;  // the rest comes when frames are back
      XdpBuff& buff = append_buff(batch, pool_, room, info_);
      buff.data_end = buff.data + size_bytes_;
      std::memset(buff.data, 0, size_bytes_);
      left_ -= 1;
    }
    return wanted;
  }
  bool is_exhausted() const noexcept override { return left_ == 0; }

 private:
  FramePool& pool_;
  std::uint64_t left_;
  std::uint32_t size_bytes_;
};

class NullTx final : public TxQueue {
 public:
  explicit NullTx(std::uint32_t mtu) : mtu_(mtu) {}
  int check(std::uint32_t length_bytes) const noexcept override {
    return check_frame_length(true, mtu_, length_bytes);
  }
  void enqueue(XdpFrame* frame) noexcept override {
    counters_.add(Counter::kTxPackets);
    counters_.add(Counter::kTxBytes, frame->length);
    free_frame(frame);
  }
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }

 private:
  std::uint32_t mtu_;
};

class NullPort final : public Port {
 public:
  NullPort(PortInfo info, FramePool& pool, std::uint64_t count, std::uint32_t size_bytes)
      : rx_(info.ifindex, pool, count, size_bytes), tx_(info.mtu) {
    info_ = std::move(info);
  }
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }

 private:
  NullRx rx_;
  NullTx tx_;
};

}  // namespace

Result<OpenedPorts> open_null_port(const PortSpec& spec, PortResources& resources) {
  static constexpr std::string_view kKeys[] = {"count", "size"};
  constexpr std::uint64_t kSizeDefault = 64;
  LMN_CHECK_OK(check_spec(
      spec, {.keys = kKeys, .repeatable_keys = {}, .name_count_min = 0, .name_count_max = 1}));
  LMN_TRY(const std::uint64_t count, number_option(spec, "count", UINT64_MAX, {}));
  LMN_TRY(const std::uint64_t size,
          number_option(spec, "size", kSizeDefault,
                        {limits::kPacketBytesMin, limits::kPacketBytesMax}));
  const std::string name = spec.names.empty() ? "null" : spec.names[0];
  OpenedPorts ports;
  ports.push_back(
      std::make_unique<NullPort>(make_own_port_info(spec, name, limits::kMtuMax, resources),
                                 *resources.pool, count, static_cast<std::uint32_t>(size)));
  return ports;
}

}  // namespace lmn
