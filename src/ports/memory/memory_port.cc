// SPDX-License-Identifier: Apache-2.0
//
// The memory port. Tested by ports_contract_test.cc and own_ports_test.cc.
#include "ports/memory/memory_port.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "ports/frame_rules.h"
#include "ports/port_spec.h"

namespace lmn {

MemoryRx::MemoryRx(std::uint32_t ifindex) : waiting_(limits::kMemoryQueueFrames) {
  info_.ifindex = ifindex;
  info_.metadata = kMetaHash | kMetaTime | kMetaVlan | kMetaChecksum | kMetaMark;
}

std::size_t MemoryRx::receive(FrameBatch& batch) noexcept {
  const std::size_t before = batch.count;
  while (batch.room() > 0) {
    XdpFrame* frame = waiting_.pop();
    if (frame == nullptr) break;
    append_frame(batch, *frame, info_);
  }
  return batch.count - before;
}

MemoryTx::MemoryTx(std::uint32_t mtu) : sent_(limits::kMemoryQueueFrames), mtu_(mtu) {}

int MemoryTx::check(std::uint32_t length_bytes) const noexcept {
  return check_frame_length(true, mtu_, length_bytes);
}

void MemoryTx::enqueue(XdpFrame* frame) noexcept {
  if (check(frame->length) != 0 || !sent_.push(frame)) return drop_tx_frame(frame, counters_);
  counters_.add(Counter::kTxPackets);
  counters_.add(Counter::kTxBytes, frame->length);
}

MemoryPort::MemoryPort(PortInfo info, FramePool& pool)
    : pool_(pool), rx_(info.ifindex), tx_(info.mtu) {
  info_ = std::move(info);
}

int MemoryPort::push(const Arrival& arrival) noexcept {
  const std::size_t metadata_bytes = arrival.metadata.size();
  if (metadata_bytes % 4 != 0 || metadata_bytes > limits::kMetadataBytesMax) return EINVAL;
  const Counter verdict = judge_rx_length(arrival.bytes.size(), frame_length_max(info_.mtu));
  if (verdict != Counter::kRxPackets) {
    rx_.counters_.add(verdict);
    return verdict == Counter::kRxOversize ? EMSGSIZE : EINVAL;
  }
  std::uint8_t* hard_start = rx_.waiting_.is_full() ? nullptr : pool_.allocate();
  if (hard_start == nullptr) {
    rx_.counters_.add(Counter::kRxNoFrame);
    return ENOBUFS;
  }
  XdpBuff buff = make_xdp_buff(pool_, hard_start, rx_.info_);
  // The header of a resting frame and 252 bytes of metadata do not both fit into the head-room.
  const std::size_t room = limits::kHeadroomBytes - limits::kFrameHeaderBytes;
  if (metadata_bytes > room) buff.data += metadata_bytes - room;
  buff.data_meta = buff.data - metadata_bytes;
  buff.data_end = buff.data + arrival.bytes.size();
  if (buff.data_end > buff.hard_end()) {
    pool_.free(hard_start);
    rx_.counters_.add(Counter::kRxOversize);
    return EMSGSIZE;
  }
  if (metadata_bytes > 0) std::memcpy(buff.data_meta, arrival.metadata.data(), metadata_bytes);
  std::memcpy(buff.data, arrival.bytes.data(), arrival.bytes.size());
  buff.rx_time_ns = arrival.rx_time_ns;
  buff.meta = arrival.meta;
  rx_.waiting_.push(to_frame(buff));
  return 0;
}

MemoryPort* as_memory_port(Port& port) { return dynamic_cast<MemoryPort*>(&port); }

Result<OpenedPorts> open_memory_port(const PortSpec& spec, PortResources& resources) {
  static constexpr std::string_view kKeys[] = {"mtu"};
  LMN_CHECK_OK(check_spec(spec, {.keys = kKeys, .repeatable_keys = {}, .name_count_max = 1}));
  LMN_TRY(const std::uint32_t mtu, mtu_option(spec, limits::kMtuMax));
  std::string name = spec.names.empty() ? std::string("memory") : spec.names.front();
  OpenedPorts ports;
  ports.push_back(std::make_unique<MemoryPort>(
      make_own_port_info(spec, std::move(name), mtu, resources), *resources.pool));
  return ports;
}

}  // namespace lmn
