// SPDX-License-Identifier: Apache-2.0
//
// The veth driver: two ports back to back inside the engine: what one sends the other receives.
//
// A frame moves by ownership: its pointer goes through a bounded ring, no byte is copied. Metadata
// goes along with it, as it does over the kernel's veth when both ends run XDP (Linux 6.18,
// drivers/net/veth.c, veth_xdp_rcv_one). A full ring drops and counts tx_dropped, as the kernel's
// does; a peer that was closed answers ENETDOWN.
//
// A pair has no outside: an end is exhausted whenever its ring is empty, and a run ends when all
// ports of it say so together.
// Threads: both ends belong to one worker. Tested by ports_contract_test.cc, own_ports_test.cc.
#include <cerrno>
#include <memory>
#include <utility>

#include "ports/frame_ring.h"
#include "ports/frame_rules.h"
#include "ports/port.h"
#include "ports/port_spec.h"

namespace lmn {
namespace {

// One direction. Shared by the port that fills it and the one that empties it, so that either may
// be destroyed first.
struct VethLane {
  FrameRing ring{limits::kVethQueueFrames};
  bool has_receiver = true;
};

class VethRx final : public RxQueue {
 public:
  VethRx(std::uint32_t ifindex, std::shared_ptr<VethLane> lane) : lane_(std::move(lane)) {
    info_.ifindex = ifindex;
    info_.metadata = kMetaHash | kMetaTime | kMetaVlan | kMetaChecksum | kMetaMark;
  }
  ~VethRx() override {
    lane_->has_receiver = false;
    lane_->ring.clear();
  }

  std::size_t receive(FrameBatch& batch) noexcept override {
    const std::size_t before = batch.count;
    while (batch.room() > 0) {
      XdpFrame* frame = lane_->ring.pop();
      if (frame == nullptr) break;
      append_frame(batch, *frame, info_);
    }
    return batch.count - before;
  }
  bool is_exhausted() const noexcept override { return lane_->ring.is_empty(); }
  std::size_t waiting() const noexcept { return lane_->ring.size(); }

 private:
  std::shared_ptr<VethLane> lane_;
};

class VethTx final : public TxQueue {
 public:
  VethTx(std::uint32_t mtu, std::shared_ptr<VethLane> lane) : lane_(std::move(lane)), mtu_(mtu) {}

  int check(std::uint32_t length_bytes) const noexcept override {
    return check_frame_length(lane_->has_receiver, mtu_, length_bytes);
  }
  void enqueue(XdpFrame* frame) noexcept override {
    const std::uint32_t length = frame->length;
    if (check(length) != 0 || !lane_->ring.push(frame)) return drop_tx_frame(frame, counters_);
    counters_.add(Counter::kTxPackets);
    counters_.add(Counter::kTxBytes, length);
  }
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }

 private:
  std::shared_ptr<VethLane> lane_;
  std::uint32_t mtu_;
};

class VethPort final : public Port {
 public:
  VethPort(PortInfo info, std::shared_ptr<VethLane> in, std::shared_ptr<VethLane> out)
      : rx_(info.ifindex, std::move(in)), tx_(info.mtu, std::move(out)) {
    info_ = std::move(info);
  }
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }
  std::size_t frames_held() override { return rx_.waiting(); }

 private:
  VethRx rx_;
  VethTx tx_;
};

}  // namespace

Result<OpenedPorts> open_veth_pair(const PortSpec& spec, PortResources& resources) {
  static constexpr std::string_view kKeys[] = {"mtu"};
  LMN_CHECK_OK(check_spec(
      spec, {.keys = kKeys, .repeatable_keys = {}, .name_count_min = 2, .name_count_max = 2}));
  if (spec.names[0] == spec.names[1]) return spec_error(spec, "both ends have the same name");
  constexpr std::uint32_t kMtuDefault = 1500;
  LMN_TRY(const std::uint32_t mtu, mtu_option(spec, kMtuDefault));
  const auto there = std::make_shared<VethLane>();
  const auto back = std::make_shared<VethLane>();
  OpenedPorts ports;
  ports.push_back(std::make_unique<VethPort>(
      make_own_port_info(spec, spec.names[0], mtu, resources), back, there));
  ports.push_back(std::make_unique<VethPort>(
      make_own_port_info(spec, spec.names[1], mtu, resources), there, back));
  return ports;
}

}  // namespace lmn
