// SPDX-License-Identifier: Apache-2.0
//
// The transmit side. Tested by ports_contract_test.cc and tests/system/ports_packet_test.cc.
#include "ports/packet/packet_tx.h"

#include <fmt/format.h>
#include <linux/if_packet.h>

#include <algorithm>
#include <cerrno>

#include "ports/frame_rules.h"

namespace lmn {
namespace {

constexpr int kSendBufferBytes = 8 << 20;

}  // namespace

PacketTx::PacketTx(const NetdevFacts& netdev, const Watcher& watcher)
    : watcher_(watcher), netdev_(netdev), waiting_(limits::kTxPendingFrames) {
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
}

Result<void> PacketTx::open() {
  const std::string what = fmt::format("port 'packet:{}': transmit socket", netdev_.name);
  fd_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd_.is_open()) {
    Error error = system_error(what, errno);
    if (error.code == ErrorCode::kPermission) error.remedy = "needs CAP_NET_RAW";
    return make_error(std::move(error));
  }
  const int one = 1;
  if (::setsockopt(fd_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) != 0) {
    return make_error(system_error(what + ": PACKET_QDISC_BYPASS", errno));
  }
  const int size = kSendBufferBytes;
  if (::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) {
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = static_cast<int>(netdev_.ifindex);
  if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return make_error(system_error(what + ": bind", errno));
  }
  return {};
}

int PacketTx::check(std::uint32_t length_bytes) const noexcept {
  return check_frame_length(watcher_.is_up(), netdev_.mtu, length_bytes);
}

void PacketTx::enqueue(XdpFrame* frame) noexcept {
  if (check(frame->length) != 0) return drop_tx_frame(frame, counters_);
  if (waiting_.is_full()) flush();
  if (!waiting_.push(frame)) drop_tx_frame(frame, counters_);
}

void PacketTx::flush() noexcept {
  while (!waiting_.is_empty() && send_some()) {
  }
}

bool PacketTx::send_some() noexcept {
  const std::size_t count = std::min(waiting_.size(), messages_.size());
  for (std::size_t i = 0; i < count; ++i) {
    XdpFrame* frame = waiting_.peek(i);
    parts_[i] = {frame->data(), frame->length};
  }
  const int sent =
      ::sendmmsg(fd_.get(), messages_.data(), static_cast<unsigned>(count), MSG_DONTWAIT);
  if (sent < 0) {
    if (errno == EINTR) return true;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    // The kernel has dropped the first frame (ENOBUFS) or will never take it.
    drop_tx_frame(waiting_.pop(), counters_);
    return true;
  }
  std::uint64_t bytes = 0;
  for (int i = 0; i < sent; ++i) {
    XdpFrame* frame = waiting_.pop();
    bytes += frame->length;
    free_frame(frame);
  }
  counters_.add(Counter::kTxPackets, static_cast<std::uint64_t>(sent));
  counters_.add(Counter::kTxBytes, bytes);
  return true;
}

void PacketTx::drop_pending() noexcept { counters_.add(Counter::kTxDropped, waiting_.clear()); }

}  // namespace lmn
