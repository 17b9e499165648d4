// SPDX-License-Identifier: Apache-2.0
//
// SuperFrame: a frame longer than the MTU that a sender left to the hardware to cut (TSO, UDP GSO),
// cut into the frames that a wire would have carried.
//
// An AF_PACKET socket on a veth gets such frames whole, up to 64 KB and more: the kernel cuts only
// at a device that cannot. A frame of the pool holds 3520 bytes and a program must see what the
// wire would show, so the port cuts. Headers are copied before each piece and then made right: IPv4
// length, identification and checksum, IPv6 length, TCP sequence number and flags (FIN and PSH only
// in the last piece, CWR only in the first), UDP length, and the transport checksum.
//
// The partial checksum in the field is the sum of the pseudo header with the super-frame's length;
// a piece's differs only in that length, so addresses are never looked at (and routing headers need
// no care). The packet is foreign input: everything it says about its own lengths is checked in
// start(). Invariants: (1) after start() all offsets lie in the packet; (2) the pieces' payloads
// are the packet's, in order, each byte once. Threads: one owner. Tested by offload_test.cc and
// tests/system/ports_packet_test.cc. Source: Linux 6.18, net/ipv4/tcp_offload.c (tcp_gso_segment),
// net/ipv4/udp_offload.c
// (__udp_gso_segment), net/ipv4/af_inet.c (inet_gso_segment).
#pragma once

#include <cstdint>
#include <span>

#include "base/byte_reader.h"

namespace lmn {

// What a sender left to be done, as struct virtio_net_hdr says it.
struct OffloadRequest {
  enum class Cut : std::uint8_t { kNone, kTcp4, kTcp6, kUdp, kUnknown };
  Cut cut = Cut::kNone;
  bool needs_checksum = false;
  std::uint16_t checksum_start = 0;   // from the frame's first byte
  std::uint16_t checksum_offset = 0;  // from checksum_start
  std::uint16_t piece_bytes = 0;      // payload of one piece
};

inline constexpr std::size_t kOffloadHeaderBytes = 10;  // sizeof(struct virtio_net_hdr)
// REQUIRES: header.size() >= kOffloadHeaderBytes; native byte order.
OffloadRequest parse_offload_header(ByteSpan header) noexcept;

class SuperFrame {
 public:
  // Takes a packet to cut; it must stay where it is until is_done(). False: the request fits no
  // packet, nothing is taken.
  bool start(ByteSpan packet, const OffloadRequest& request) noexcept;
  bool is_done() const noexcept { return position_ >= packet_.size(); }
  // Length of the headers that every piece begins with.
  std::size_t header_length() const noexcept { return header_bytes_; }
  // Length of the longest piece.
  std::size_t piece_length_max() const noexcept { return header_bytes_ + piece_bytes_; }
  // Writes the next piece to `out`; returns its length. REQUIRES: !is_done() and out.size() >=
  // piece_length_max().
  std::size_t next(std::span<std::uint8_t> out) noexcept;
  void abandon() noexcept { position_ = packet_.size(); }

 private:
  bool find_headers(const OffloadRequest& request) noexcept;
  void mend_network_header(std::span<std::uint8_t> piece) const noexcept;
  void mend_transport_header(std::span<std::uint8_t> piece, bool is_last) const noexcept;

  ByteSpan packet_;
  std::size_t position_ = 0;  // of the payload not cut yet
  std::size_t network_offset_ = 0;
  std::size_t transport_offset_ = 0;
  std::size_t header_bytes_ = 0;  // all headers
  std::size_t piece_bytes_ = 0;
  std::uint32_t piece_index_ = 0;
  bool is_ipv6_ = false;
  bool is_udp_ = false;
};

}  // namespace lmn
