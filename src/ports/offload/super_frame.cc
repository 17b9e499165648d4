// SPDX-License-Identifier: Apache-2.0
//
// Cutting a super-frame. Tested by offload_test.cc.
#include "ports/offload/super_frame.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "ports/offload/checksum.h"

namespace lmn {
namespace {

constexpr std::uint16_t kEtherIpv4 = 0x0800;
constexpr std::uint16_t kEtherIpv6 = 0x86dd;
constexpr std::uint16_t kEtherVlan = 0x8100;
constexpr std::uint16_t kEtherServiceVlan = 0x88a8;
constexpr std::size_t kTypeOffset = 12;
constexpr std::size_t kVlanTagBytes = 4;
constexpr std::size_t kIpv4HeaderBytes = 20;
constexpr std::size_t kIpv6HeaderBytes = 40;
constexpr std::size_t kTcpHeaderBytes = 20;
constexpr std::size_t kUdpHeaderBytes = 8;
constexpr std::size_t kTcpChecksumOffset = 16;
constexpr std::size_t kUdpChecksumOffset = 6;
constexpr std::uint8_t kTcpFin = 0x01;
constexpr std::uint8_t kTcpPsh = 0x08;
constexpr std::uint8_t kTcpCwr = 0x80;

// struct virtio_net_hdr of the virtio specification 1.2, section 5.1.6 (Debian 12's header of it
// does not compile as C++): u8 flags, u8 gso_type, u16 hdr_len, u16 gso_size, u16 csum_start, u16
// csum_offset.
constexpr std::uint8_t kFlagNeedsChecksum = 1;
constexpr std::uint8_t kCutNone = 0;
constexpr std::uint8_t kCutTcp4 = 1;
constexpr std::uint8_t kCutTcp6 = 4;
constexpr std::uint8_t kCutUdp = 5;
constexpr std::uint8_t kCutHasEcn = 0x80;

std::uint16_t load_be16(ByteSpan bytes, std::size_t at) {
  return load_unaligned<std::uint16_t>(bytes.data() + at, std::endian::big);
}
void store_be16(std::span<std::uint8_t> bytes, std::size_t at, std::size_t value) {
  store_unaligned(bytes.data() + at, static_cast<std::uint16_t>(value), std::endian::big);
}

}  // namespace

OffloadRequest parse_offload_header(ByteSpan header) noexcept {
  LMN_DCHECK(header.size() >= kOffloadHeaderBytes);
  OffloadRequest request;
  request.needs_checksum = (header[0] & kFlagNeedsChecksum) != 0;
  request.piece_bytes = load_unaligned<std::uint16_t>(header.data() + 4);
  request.checksum_start = load_unaligned<std::uint16_t>(header.data() + 6);
  request.checksum_offset = load_unaligned<std::uint16_t>(header.data() + 8);
  // The ECN flag says that CWR is set and only the first piece may keep it: done for all.
  switch (header[1] & ~kCutHasEcn) {
    case kCutNone:
      request.cut = OffloadRequest::Cut::kNone;
      break;
    case kCutTcp4:
      request.cut = OffloadRequest::Cut::kTcp4;
      break;
    case kCutTcp6:
      request.cut = OffloadRequest::Cut::kTcp6;
      break;
    case kCutUdp:
      request.cut = OffloadRequest::Cut::kUdp;
      break;
    default:
      request.cut = OffloadRequest::Cut::kUnknown;
      break;
  }
  return request;
}

bool SuperFrame::find_headers(const OffloadRequest& request) noexcept {
  std::size_t type_at = kTypeOffset;
  while (type_at + 2 <= packet_.size()) {
    const std::uint16_t type = load_be16(packet_, type_at);
    if (type != kEtherVlan && type != kEtherServiceVlan) break;
    type_at += kVlanTagBytes;
  }
  network_offset_ = type_at + 2;
  transport_offset_ = request.checksum_start;
  if (network_offset_ + kIpv4HeaderBytes > packet_.size()) return false;
  const std::uint16_t type = load_be16(packet_, type_at);
  is_ipv6_ = type == kEtherIpv6;
  if (!is_ipv6_ && type != kEtherIpv4) return false;
  const std::uint8_t first = packet_[network_offset_];
  if (first >> 4 != (is_ipv6_ ? 6 : 4)) return false;
  if (is_ipv6_) return transport_offset_ >= network_offset_ + kIpv6HeaderBytes;
  const std::size_t header = std::size_t{first & 0xfu} * 4;
  return header >= kIpv4HeaderBytes && transport_offset_ == network_offset_ + header;
}

bool SuperFrame::start(ByteSpan packet, const OffloadRequest& request) noexcept {
  packet_ = packet;
  position_ = packet.size();  // nothing taken until all is checked
  using Cut = OffloadRequest::Cut;
  if (request.cut == Cut::kNone || request.cut == Cut::kUnknown) return false;
  if (!request.needs_checksum || request.piece_bytes == 0) return false;
  if (!find_headers(request)) return false;
  if (request.cut == Cut::kTcp4 && is_ipv6_) return false;
  if (request.cut == Cut::kTcp6 && !is_ipv6_) return false;
  is_udp_ = request.cut == Cut::kUdp;
  const std::size_t smallest = is_udp_ ? kUdpHeaderBytes : kTcpHeaderBytes;
  if (request.checksum_offset != (is_udp_ ? kUdpChecksumOffset : kTcpChecksumOffset)) return false;
  if (transport_offset_ + smallest > packet.size()) return false;
  const std::size_t transport_bytes =
      is_udp_ ? kUdpHeaderBytes : std::size_t{packet[transport_offset_ + 12]} / 16 * 4;
  if (transport_bytes < smallest) return false;
  header_bytes_ = transport_offset_ + transport_bytes;
  if (header_bytes_ >= packet.size()) return false;
  piece_bytes_ = std::min<std::size_t>(request.piece_bytes, packet.size() - header_bytes_);
  piece_index_ = 0;
  position_ = header_bytes_;
  return true;
}

std::size_t SuperFrame::next(std::span<std::uint8_t> out) noexcept {
  LMN_DCHECK(!is_done());
  LMN_DCHECK(out.size() >= piece_length_max());
  const std::size_t payload = std::min(piece_bytes_, packet_.size() - position_);
  const std::span<std::uint8_t> piece = out.first(header_bytes_ + payload);
  std::memcpy(piece.data(), packet_.data(), header_bytes_);
  std::memcpy(piece.data() + header_bytes_, packet_.data() + position_, payload);
  position_ += payload;
  mend_network_header(piece);
  mend_transport_header(piece, is_done());
  ++piece_index_;
  return piece.size();
}

void SuperFrame::mend_network_header(std::span<std::uint8_t> piece) const noexcept {
  const std::size_t at = network_offset_;
  const std::size_t length = piece.size() - at;
  if (is_ipv6_) return store_be16(piece, at + 4, length - kIpv6HeaderBytes);
  store_be16(piece, at + 2, length);
  store_be16(piece, at + 4, load_be16(piece, at + 4) + piece_index_);
  store_be16(piece, at + 10, 0);
  const std::span<std::uint8_t> header = piece.subspan(at, transport_offset_ - at);
  store_unaligned(header.data() + 10, static_cast<std::uint16_t>(~ones_complement_sum(header)));
}

void SuperFrame::mend_transport_header(std::span<std::uint8_t> piece, bool is_last) const noexcept {
  const std::size_t at = transport_offset_;
  const std::size_t checksum_offset = is_udp_ ? kUdpChecksumOffset : kTcpChecksumOffset;
  if (is_udp_) {
    store_be16(piece, at + 4, piece.size() - at);
  } else {
    const std::uint8_t* sequence = packet_.data() + at + 4;
    store_unaligned(
        piece.data() + at + 4,
        static_cast<std::uint32_t>(load_unaligned<std::uint32_t>(sequence, std::endian::big) +
                                   piece_index_ * piece_bytes_),
        std::endian::big);
    std::uint8_t& flags = piece[at + 13];
    if (!is_last) flags = static_cast<std::uint8_t>(flags & ~(kTcpFin | kTcpPsh));
    if (piece_index_ > 0) flags = static_cast<std::uint8_t>(flags & ~kTcpCwr);
  }
  // Out with the old length, in with the new one, in one's complement.
  std::uint8_t lengths[8];
  store_unaligned(lengths, static_cast<std::uint32_t>(~(packet_.size() - at)), std::endian::big);
  store_unaligned(lengths + 4, static_cast<std::uint32_t>(piece.size() - at), std::endian::big);
  const std::uint16_t partial = load_unaligned<std::uint16_t>(piece.data() + at + checksum_offset);
  store_unaligned(piece.data() + at + checksum_offset, ones_complement_sum(lengths, partial));
  complete_checksum(piece, at, checksum_offset);
}

}  // namespace lmn
