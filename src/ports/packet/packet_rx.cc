// SPDX-License-Identifier: Apache-2.0
//
// The receive ring. Tested by ports_contract_test.cc and tests/system/ports_packet_test.cc.
#include "ports/packet/packet_rx.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "ports/frame_rules.h"
#include "ports/offload/checksum.h"

namespace lmn {
namespace {

constexpr std::size_t kBlockBytes = 1u << 16;
constexpr std::size_t kRingBytes = 8u << 20;
// What stands before the packet in a slot: header, address, offload header and alignment.
constexpr std::size_t kSlotOverheadMax = 128;
constexpr int kReceiveBufferBytes = 32 << 20;  // for super-frames beside the ring: some hundreds
constexpr std::uint32_t kWatchInterval = 64;   // empty receives between two looks at the netdev
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

std::unexpected<Error> packet_error(const NetdevFacts& netdev, std::string_view what,
                                    int errno_value) {
  Error error = system_error(fmt::format("port 'packet:{}': {}", netdev.name, what), errno_value);
  if (error.code == ErrorCode::kPermission) error.remedy = "needs CAP_NET_RAW";
  return make_error(std::move(error));
}

}  // namespace

PacketRx::PacketRx(const NetdevFacts& netdev, FramePool& pool) : pool_(pool), netdev_(netdev) {
  info_.ifindex = netdev.ifindex;
  info_.metadata = kMetaTime | kMetaVlan | kMetaChecksum;
  state_ = netdev.is_up ? NetdevState::kUp : NetdevState::kDown;
}

PacketRx::~PacketRx() {
  if (ring_ != nullptr) ::munmap(ring_, ring_bytes_);
}

Result<void> PacketRx::open() {
  // Protocol 0: nothing is received before the socket is bound to its netdev.
  fd_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd_.is_open()) return packet_error(netdev_, "AF_PACKET socket", errno);
  LMN_CHECK_OK(set_option(PACKET_VERSION, TPACKET_V2, "TPACKET_V2"));
  LMN_CHECK_OK(set_option(PACKET_VNET_HDR, 1, "PACKET_VNET_HDR"));
  LMN_CHECK_OK(set_option(PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH"));
  // Kernels before 4.20 lack it; take_slot() looks at the packet's type in any case.
  const int one = 1;
  ::setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
  const int size = kReceiveBufferBytes;
  if (::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0) {
    has_full_buffer_ = false;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  }
  LMN_CHECK_OK(map_ring());
  super_buffer_.resize(kOffloadHeaderBytes + limits::kSuperFrameBytesMax);
  return bind_netdev();
}

Result<void> PacketRx::set_option(int option, int value, const char* name) {
  if (::setsockopt(fd_.get(), SOL_PACKET, option, &value, sizeof value) == 0) return {};
  return packet_error(netdev_, name, errno);
}

Result<void> PacketRx::map_ring() {
  const std::size_t wanted = frame_length_max(netdev_.mtu) + kSlotOverheadMax;
  slot_bytes_ = wanted <= 2048 ? 2048 : 4096;
  tpacket_req request{};
  request.tp_block_size = kBlockBytes;
  request.tp_block_nr = kRingBytes / kBlockBytes;
  request.tp_frame_size = static_cast<unsigned>(slot_bytes_);
  request.tp_frame_nr = static_cast<unsigned>(kRingBytes / slot_bytes_);
  if (::setsockopt(fd_.get(), SOL_PACKET, PACKET_RX_RING, &request, sizeof request) != 0) {
    return packet_error(netdev_, "receive ring of 8 MB", errno);
  }
  void* memory = ::mmap(nullptr, kRingBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (memory == MAP_FAILED) return packet_error(netdev_, "map the receive ring", errno);
  ring_ = static_cast<std::uint8_t*>(memory);
  ring_bytes_ = kRingBytes;
  slot_count_ = request.tp_frame_nr;
  return {};
}

Result<void> PacketRx::bind_netdev() {
  packet_mreq membership{};
  membership.mr_ifindex = static_cast<int>(netdev_.ifindex);
  membership.mr_type = PACKET_MR_PROMISC;
  if (::setsockopt(fd_.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) !=
      0) {
    return packet_error(netdev_, "promiscuous mode", errno);
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(netdev_.ifindex);
  if (::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return packet_error(netdev_, "bind", errno);
  }
  return {};
}

tpacket2_hdr* PacketRx::slot(std::size_t index) const noexcept {
  return reinterpret_cast<tpacket2_hdr*>(ring_ + index * slot_bytes_);
}

std::size_t PacketRx::receive(FrameBatch& batch) noexcept {
  const std::size_t before = batch.count;
  bool has_losses = false;
  while (batch.room() > 0 && pool_.in_use() < pool_.frame_count()) {
    if (!super_frame_.is_done()) {
      give_piece(batch);
      continue;
    }
    tpacket2_hdr* header = slot(next_slot_);
    // Acquire: the kernel writes the packet before the status.
    const std::uint32_t status = __atomic_load_n(&header->tp_status, __ATOMIC_ACQUIRE);
    if ((status & TP_STATUS_USER) == 0) break;
    has_losses = has_losses || (status & TP_STATUS_LOSING) != 0;
    next_slot_ = next_slot_ + 1 == slot_count_ ? 0 : next_slot_ + 1;
    __builtin_prefetch(slot(next_slot_));
    take_slot(*header, batch);
    // Release: the slot is the kernel's only after we have read it.
    __atomic_store_n(&header->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
  }
  if (has_losses) read_statistics();
  if (batch.count == before) watch_netdev();
  return batch.count - before;
}

void PacketRx::take_slot(const tpacket2_hdr& header, FrameBatch& batch) noexcept {
  const auto* base = reinterpret_cast<const std::uint8_t*>(&header);
  sockaddr_ll address{};
  std::memcpy(&address, base + TPACKET_ALIGN(sizeof header), sizeof address);
  const bool is_beside = (header.tp_status & TP_STATUS_COPY) != 0;
  if (address.sll_pkttype == PACKET_OUTGOING) {
    if (is_beside) ::recv(fd_.get(), nullptr, 0, MSG_DONTWAIT | MSG_TRUNC);
    return;
  }
  tag_ = {(header.tp_status & TP_STATUS_VLAN_VALID) != 0,
          (header.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? header.tp_vlan_tpid
                                                              : std::uint16_t{ETH_P_8021Q},
          header.tp_vlan_tci};
  time_ns_ = header.tp_sec * kNsPerSecond + header.tp_nsec;
  is_sum_checked_ = (header.tp_status & TP_STATUS_CSUM_VALID) != 0;
  if (is_beside) return take_oversized(batch);
  if (header.tp_snaplen < header.tp_len) return counters_.add(Counter::kRxTruncated);
  const std::size_t mac = header.tp_mac;
  LMN_DCHECK(mac >= kOffloadHeaderBytes);
  LMN_DCHECK(mac + header.tp_snaplen <= slot_bytes_);
  take_packet(ByteSpan(base + mac, header.tp_snaplen),
              ByteSpan(base + mac - kOffloadHeaderBytes, kOffloadHeaderBytes), batch);
}

// The packet was longer than a slot: it waits on the socket, its offload header before it.
void PacketRx::take_oversized(FrameBatch& batch) noexcept {
  const ssize_t got = ::recv(fd_.get(), super_buffer_.data(), super_buffer_.size(), MSG_DONTWAIT);
  if (got < static_cast<ssize_t>(kOffloadHeaderBytes)) return counters_.add(Counter::kRxTruncated);
  const ByteSpan whole(super_buffer_.data(), static_cast<std::size_t>(got));
  take_packet(whole.subspan(kOffloadHeaderBytes), whole.first(kOffloadHeaderBytes), batch);
}

void PacketRx::take_packet(ByteSpan packet, ByteSpan offload_header, FrameBatch& batch) noexcept {
  const OffloadRequest request = parse_offload_header(offload_header);
  if (request.cut != OffloadRequest::Cut::kNone) return start_super_frame(packet, request);
  const std::size_t tag_bytes = tag_.is_present ? kVlanTagBytes : 0;
  const Counter verdict = judge_rx_length(packet.size(), limits::kPacketBytesMax - tag_bytes);
  if (verdict != Counter::kRxPackets) return counters_.add(verdict);
  std::uint8_t* hard_start = pool_.allocate();
  std::uint8_t* to = hard_start + limits::kHeadroomBytes;
  std::memcpy(to + tag_bytes, packet.data(), packet.size());
  if (request.needs_checksum &&
      !complete_checksum(std::span(to + tag_bytes, packet.size()), request.checksum_start,
                         request.checksum_offset)) {
    pool_.free(hard_start);
    return counters_.add(Counter::kRxBadOffload);
  }
  if (tag_.is_present) insert_tag(to);
  XdpBuff& buff = append_buff(batch, pool_, hard_start, info_);
  buff.data_end = buff.data + tag_bytes + packet.size();
  note_metadata(buff, request.needs_checksum);
}

// What the kernel told beside the bytes. A sum that we have just made is right.
void PacketRx::note_metadata(XdpBuff& buff, bool is_sum_ours) const noexcept {
  buff.rx_time_ns = time_ns_;
  buff.meta.known = kMetaChecksum;
  buff.meta.checksum =
      is_sum_ours || is_sum_checked_ ? ChecksumState::kUnnecessary : ChecksumState::kNone;
  if (!tag_.is_present) return;
  buff.meta.known |= kMetaVlan;
  buff.meta.vlan_tci = tag_.control;
  buff.meta.vlan_proto = htons(tag_.protocol);
}

// Moves the addresses to the front and puts the tag behind them: `frame` has 4 free bytes first.
void PacketRx::insert_tag(std::uint8_t* frame) const noexcept {
  constexpr std::size_t kAddressBytes = 12;
  std::memmove(frame, frame + kVlanTagBytes, kAddressBytes);
  store_unaligned(frame + kAddressBytes, tag_.protocol, std::endian::big);
  store_unaligned(frame + kAddressBytes + 2, tag_.control, std::endian::big);
}

void PacketRx::start_super_frame(ByteSpan packet, const OffloadRequest& request) noexcept {
  // Cutting may go on in later batches, when the slot is long given back.
  if (packet.data() != super_buffer_.data() + kOffloadHeaderBytes) {
    std::memcpy(super_buffer_.data(), packet.data(), packet.size());
    packet = ByteSpan(super_buffer_.data(), packet.size());
  }
  if (!super_frame_.start(packet, request)) return counters_.add(Counter::kRxBadOffload);
  const std::size_t tag_bytes = tag_.is_present ? kVlanTagBytes : 0;
  if (super_frame_.piece_length_max() + tag_bytes > limits::kPacketBytesMax) {
    super_frame_.abandon();
    counters_.add(Counter::kRxOversize);
  }
}

// The tag and the time of the super-frame stay in hand until it is cut up: no slot is taken before.
void PacketRx::give_piece(FrameBatch& batch) noexcept {
  const std::size_t tag_bytes = tag_.is_present ? kVlanTagBytes : 0;
  std::uint8_t* hard_start = pool_.allocate();
  std::uint8_t* to = hard_start + limits::kHeadroomBytes;
  const std::size_t length =
      super_frame_.next(std::span(to + tag_bytes, limits::kPacketBytesMax - tag_bytes));
  if (tag_.is_present) insert_tag(to);
  XdpBuff& buff = append_buff(batch, pool_, hard_start, info_);
  buff.data_end = buff.data + tag_bytes + length;
  note_metadata(buff, true);
}

void PacketRx::read_statistics() noexcept {
  if (!fd_.is_open()) return;
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  if (::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0) return;
  counters_.add(Counter::kRxKernelDropped, statistics.tp_drops);  // reading resets it
}

// A netdev that goes down leaves an error on the socket, which would keep poll(2) from sleeping
// until it is read; a netdev that comes up leaves nothing, so one that is down is asked each time.
void PacketRx::watch_netdev() noexcept {
  if (state_ == NetdevState::kUp && ++idle_count_ % kWatchInterval != 0) return;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  state_ = query_netdev_state(fd_.get(), netdev_.name);
  read_statistics();
}

std::string PacketRx::input_error() const {
  if (state_ != NetdevState::kGone) return {};
  return fmt::format("port 'packet:{0}': netdev '{0}' is gone", netdev_.name);
}

}  // namespace lmn
