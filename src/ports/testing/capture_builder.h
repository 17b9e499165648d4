// SPDX-License-Identifier: Apache-2.0
//
// CaptureBuilder: captures made byte by byte, for tests of the reader: every variant of pcap and
// pcapng, right and wrong. Test support only.
//
// Not the writer: that writes one variant and always a valid one. Threads: a plain value.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "base/byte_reader.h"
#include "ports/pcap/pcap_format.h"

namespace lmn::testing_support {

class CaptureBuilder {
 public:
  explicit CaptureBuilder(std::endian order) : order_(order) {}

  const std::vector<std::uint8_t>& bytes() const { return bytes_; }
  std::endian order() const { return order_; }
  void set_order(std::endian order) { order_ = order; }

  template <typename T>
  CaptureBuilder& put(T value) {
    bytes_.resize(bytes_.size() + sizeof value);
    store_unaligned(bytes_.data() + bytes_.size() - sizeof value, value, order_);
    return *this;
  }
  CaptureBuilder& put_bytes(ByteSpan from) {
    bytes_.insert(bytes_.end(), from.begin(), from.end());
    return *this;
  }
  CaptureBuilder& pad() {
    while (bytes_.size() % 4 != 0) bytes_.push_back(0);
    return *this;
  }

  CaptureBuilder& pcap_header(std::uint32_t magic, std::uint32_t link_type = 1,
                              std::uint16_t major = 2) {
    put(magic).put(major).put<std::uint16_t>(4).put<std::uint64_t>(0);
    return put<std::uint32_t>(262144).put(link_type);
  }
  CaptureBuilder& pcap_record(std::uint32_t seconds, std::uint32_t fraction, ByteSpan packet,
                              std::uint32_t original_length) {
    put(seconds).put(fraction).put(static_cast<std::uint32_t>(packet.size()));
    return put(original_length).put_bytes(packet);
  }

  // Any block: body padded, length before and behind.
  CaptureBuilder& block(std::uint32_t type, ByteSpan body) {
    const auto length = static_cast<std::uint32_t>(12 + (body.size() + 3) / 4 * 4);
    return put(type).put(length).put_bytes(body).pad().put(length);
  }
  CaptureBuilder& section(std::uint16_t major = 1) {
    CaptureBuilder body(order_);
    body.put(pcap_format::kByteOrderMagic).put(major).put<std::uint16_t>(0).put(UINT64_MAX);
    return block(pcap_format::kSectionHeader, body.bytes());
  }
  CaptureBuilder& interface(std::uint16_t link_type, std::uint32_t snap_length,
                            ByteSpan options = {}) {
    CaptureBuilder body(order_);
    body.put(link_type).put<std::uint16_t>(0).put(snap_length).put_bytes(options);
    return block(pcap_format::kInterfaceDescription, body.bytes());
  }
  // if_tsresol and, when not 0, if_tsoffset.
  std::vector<std::uint8_t> time_options(std::uint8_t resolution,
                                         std::int64_t offset_seconds) const {
    CaptureBuilder options(order_);
    options.put<std::uint16_t>(9).put<std::uint16_t>(1).put(resolution).pad();
    if (offset_seconds != 0) {
      options.put<std::uint16_t>(14).put<std::uint16_t>(8);
      options.put(static_cast<std::uint64_t>(offset_seconds));
    }
    options.put<std::uint32_t>(0);
    return options.bytes();
  }
  CaptureBuilder& enhanced_packet(std::uint32_t interface_index, std::uint64_t ticks,
                                  ByteSpan packet, std::uint32_t original_length) {
    CaptureBuilder body(order_);
    body.put(interface_index).put(static_cast<std::uint32_t>(ticks >> 32));
    body.put(static_cast<std::uint32_t>(ticks)).put(static_cast<std::uint32_t>(packet.size()));
    body.put(original_length).put_bytes(packet);
    return block(pcap_format::kEnhancedPacket, body.bytes());
  }
  CaptureBuilder& old_packet(std::uint16_t interface_index, std::uint64_t ticks, ByteSpan packet,
                             std::uint32_t original_length) {
    CaptureBuilder body(order_);
    body.put(interface_index).put<std::uint16_t>(7).put(static_cast<std::uint32_t>(ticks >> 32));
    body.put(static_cast<std::uint32_t>(ticks)).put(static_cast<std::uint32_t>(packet.size()));
    body.put(original_length).put_bytes(packet);
    return block(pcap_format::kOldPacket, body.bytes());
  }
  CaptureBuilder& simple_packet(ByteSpan packet, std::uint32_t original_length) {
    CaptureBuilder body(order_);
    body.put(original_length).put_bytes(packet);
    return block(pcap_format::kSimplePacket, body.bytes());
  }

 private:
  std::vector<std::uint8_t> bytes_;
  std::endian order_;
};

}  // namespace lmn::testing_support
