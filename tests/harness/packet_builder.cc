// SPDX-License-Identifier: Apache-2.0
//
// Headers are appended as bytes at once, with zeros where a value depends on what follows; each new
// header tells the one before it what it is (EtherType, protocol). build() then walks the headers
// from the innermost out, so that a length or checksum is always taken over finished bytes.
// Tested by packet_builder_test.cc.
#include "harness/packet_builder.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdio>

#include "base/assert.h"
#include "base/byte_reader.h"

namespace lmn {
namespace {

constexpr std::uint16_t kEthertypeLocal = 0x88b5;    // IEEE 802 local experimental
constexpr std::uint8_t kProtocolExperimental = 253;  // RFC 3692
constexpr std::uint8_t kProtocolIcmp = 1;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolUdp = 17;
constexpr std::uint8_t kProtocolIcmpv6 = 58;
constexpr std::uint8_t kExtensionFragment = 44;
constexpr std::uint8_t kExtensionAuthentication = 51;
constexpr std::size_t kIpv4OptionsMax = 40;
constexpr std::size_t kDnsLabelMax = 63;

void put8(PacketBytes& to, std::uint8_t value) { to.push_back(value); }

void put16(PacketBytes& to, std::uint16_t value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8));
  to.push_back(static_cast<std::uint8_t>(value & 0xff));
}

void put32(PacketBytes& to, std::uint32_t value) {
  put16(to, static_cast<std::uint16_t>(value >> 16));
  put16(to, static_cast<std::uint16_t>(value & 0xffff));
}

void put(PacketBytes& to, std::span<const std::uint8_t> bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void store16(PacketBytes& packet, std::size_t offset, std::size_t value) {
  LMN_ASSERT(offset + 2 <= packet.size());
  store_unaligned(packet.data() + offset, static_cast<std::uint16_t>(value), std::endian::big);
}

std::uint32_t sum_words(std::span<const std::uint8_t> bytes, std::uint32_t sum) {
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += bytes[i] << 8 | bytes[i + 1];
  if (bytes.size() % 2 == 1) sum += bytes.back() << 8;
  return sum;
}

}  // namespace

MacAddress mac_address(std::string_view text) {
  MacAddress out{};
  char rest = 0;
  const int count = std::sscanf(std::string(text).c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx%c",
                                &out[0], &out[1], &out[2], &out[3], &out[4], &out[5], &rest);
  LMN_ASSERT(count == 6);
  return out;
}

Ipv4Address ipv4_address(std::string_view text) {
  Ipv4Address out{};
  const int result = ::inet_pton(AF_INET, std::string(text).c_str(), out.data());
  LMN_ASSERT(result == 1);
  return out;
}

Ipv6Address ipv6_address(std::string_view text) {
  Ipv6Address out{};
  const int result = ::inet_pton(AF_INET6, std::string(text).c_str(), out.data());
  LMN_ASSERT(result == 1);
  return out;
}

PacketBytes dns_wire_name(std::string_view name) {
  PacketBytes wire;
  while (!name.empty()) {
    const std::size_t length = std::min(name.find('.'), name.size());
    LMN_ASSERT(length >= 1);
    LMN_ASSERT(length <= kDnsLabelMax);
    put8(wire, static_cast<std::uint8_t>(length));
    wire.insert(wire.end(), name.begin(), name.begin() + static_cast<std::ptrdiff_t>(length));
    name.remove_prefix(std::min(length + 1, name.size()));
  }
  put8(wire, 0);
  return wire;
}

std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t sum) {
  // At most 65,535 bytes of 16-bit words plus a pseudo-header: 32 bits do not overflow.
  LMN_ASSERT(bytes.size() <= 0x10000);
  sum = sum_words(bytes, sum);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum & 0xffff);
}

void PacketBuilder::push_header(Header header, std::span<const std::uint8_t> bytes) {
  header.offset = bytes_.size();
  headers_.push_back(header);
  put(bytes_, bytes);
}

// The innermost IP header among the first `before` headers, or null.
const PacketBuilder::Header* PacketBuilder::last_network(std::size_t before) const {
  for (std::size_t i = before; i-- > 0;) {
    const Layer layer = headers_[i].layer;
    if (layer == Layer::kIpv4 || layer == Layer::kIpv6) return &headers_[i];
  }
  return nullptr;
}

// Writes what `next` is into the header before it.
void PacketBuilder::link_previous(Layer next, std::uint16_t vlan_protocol) {
  if (headers_.empty() || headers_.back().keeps_next) return;
  const Header& previous = headers_.back();
  const auto ethertype = [&]() -> std::uint16_t {
    if (next == Layer::kVlan) return vlan_protocol;
    if (next == Layer::kArp) return 0x0806;
    if (next == Layer::kIpv4) return 0x0800;
    return next == Layer::kIpv6 ? 0x86dd : kEthertypeLocal;
  };
  const auto protocol = [&]() -> std::uint8_t {
    if (next == Layer::kIpv4) return 4;
    if (next == Layer::kIpv6) return 41;
    if (next == Layer::kIcmp) return kProtocolIcmp;
    if (next == Layer::kIcmpv6) return kProtocolIcmpv6;
    if (next == Layer::kUdp) return kProtocolUdp;
    return next == Layer::kTcp ? kProtocolTcp : kProtocolExperimental;
  };
  switch (previous.layer) {
    case Layer::kEthernet:
      store16(bytes_, previous.offset + 12, ethertype());
      break;
    case Layer::kVlan:
      store16(bytes_, previous.offset + 2, ethertype());
      break;
    case Layer::kIpv4:
      bytes_[previous.offset + 9] = protocol();
      break;
    case Layer::kIpv6:
      bytes_[previous.offset + 6] = protocol();
      break;
    case Layer::kIpv6Extension:
      bytes_[previous.offset] = protocol();
      break;
    case Layer::kArp:
    case Layer::kIcmp:
    case Layer::kIcmpv6:
    case Layer::kUdp:
    case Layer::kTcp:
      break;
  }
}

PacketBuilder& PacketBuilder::ethernet(const EthernetFields& fields) {
  PacketBytes header;
  put(header, fields.dst);
  put(header, fields.src);
  put16(header, fields.ethertype.value_or(kEthertypeLocal));
  push_header({Layer::kEthernet, 0, false, fields.ethertype.has_value()}, header);
  return *this;
}

PacketBuilder& PacketBuilder::vlan(const VlanFields& fields) {
  link_previous(Layer::kVlan, fields.protocol);
  PacketBytes header;
  put16(header, static_cast<std::uint16_t>(fields.priority << 13 | (fields.id & 0xfff)));
  put16(header, fields.ethertype.value_or(kEthertypeLocal));
  push_header({Layer::kVlan, 0, false, fields.ethertype.has_value()}, header);
  return *this;
}

PacketBuilder& PacketBuilder::arp(const ArpFields& fields) {
  link_previous(Layer::kArp);
  PacketBytes header;
  put16(header, 1);       // Ethernet
  put16(header, 0x0800);  // IPv4
  put8(header, 6);
  put8(header, 4);
  put16(header, fields.operation);
  put(header, fields.sender_mac);
  put(header, fields.sender);
  put(header, fields.target_mac);
  put(header, fields.target);
  push_header({Layer::kArp, 0}, header);
  return *this;
}

PacketBuilder& PacketBuilder::ipv4(const Ipv4Fields& fields) {
  LMN_ASSERT(fields.options.size() <= kIpv4OptionsMax);
  link_previous(Layer::kIpv4);
  const std::size_t header_bytes = 20 + (fields.options.size() + 3) / 4 * 4;
  PacketBytes header;
  put8(header, static_cast<std::uint8_t>(0x40 | header_bytes / 4));
  put8(header, fields.tos);
  put16(header, fields.total_length.value_or(0));
  put16(header, fields.id);
  put16(header, static_cast<std::uint16_t>((fields.dont_fragment ? 0x4000 : 0) |
                                           (fields.more_fragments ? 0x2000 : 0) |
                                           (fields.fragment_offset & 0x1fff)));
  put8(header, fields.ttl);
  put8(header, fields.protocol.value_or(kProtocolExperimental));
  put16(header, 0);
  put(header, fields.src);
  put(header, fields.dst);
  put(header, fields.options);
  header.resize(header_bytes);
  push_header({Layer::kIpv4, 0, fields.total_length.has_value(), fields.protocol.has_value()},
              header);
  return *this;
}

PacketBuilder& PacketBuilder::ipv6(const Ipv6Fields& fields) {
  link_previous(Layer::kIpv6);
  PacketBytes header;
  put32(header, 6u << 28 | static_cast<std::uint32_t>(fields.traffic_class) << 20 |
                    (fields.flow_label & 0xfffff));
  put16(header, 0);
  put8(header, fields.next_header.value_or(kProtocolExperimental));
  put8(header, fields.hop_limit);
  put(header, fields.src);
  put(header, fields.dst);
  push_header({Layer::kIpv6, 0, false, fields.next_header.has_value()}, header);
  return *this;
}

PacketBuilder& PacketBuilder::ipv6_extension(const Ipv6ExtensionFields& fields) {
  LMN_ASSERT(!headers_.empty());
  const Header& previous = headers_.back();
  const std::size_t next_at =
      previous.layer == Layer::kIpv6 ? previous.offset + 6 : previous.offset;
  if (!previous.keeps_next) bytes_[next_at] = fields.type;
  const bool is_fragment = fields.type == kExtensionFragment;
  PacketBytes header(8u * (is_fragment ? 1u : fields.extra_units + 1u), 0);
  header[0] = kProtocolExperimental;
  if (fields.type == kExtensionAuthentication) {
    header[1] = static_cast<std::uint8_t>(header.size() / 4 - 2);
  } else if (!is_fragment) {
    header[1] = fields.extra_units;
    header[2] = 1;  // one PadN option over the rest
    header[3] = static_cast<std::uint8_t>(std::min<std::size_t>(header.size() - 4, 255));
  }
  push_header({Layer::kIpv6Extension, 0}, header);
  return *this;
}

PacketBuilder& PacketBuilder::icmp(const IcmpFields& fields) {
  const Header* network = last_network(headers_.size());
  const bool is_v6 = network != nullptr && network->layer == Layer::kIpv6;
  const Layer layer = is_v6 ? Layer::kIcmpv6 : Layer::kIcmp;
  link_previous(layer);
  PacketBytes header;
  put8(header, fields.type);
  put8(header, fields.code);
  put16(header, 0);
  put16(header, fields.id);
  put16(header, fields.sequence);
  push_header({layer, 0}, header);
  return *this;
}

PacketBuilder& PacketBuilder::udp(const UdpFields& fields) {
  link_previous(Layer::kUdp);
  PacketBytes header;
  put16(header, fields.src_port);
  put16(header, fields.dst_port);
  put32(header, 0);
  push_header({Layer::kUdp, 0, false, false, !fields.has_checksum}, header);
  return *this;
}

PacketBuilder& PacketBuilder::tcp(const TcpFields& fields) {
  link_previous(Layer::kTcp);
  PacketBytes header;
  put16(header, fields.src_port);
  put16(header, fields.dst_port);
  put32(header, fields.sequence);
  put32(header, fields.acknowledgement);
  put8(header, 5 << 4);  // 20 bytes, no options
  put8(header, fields.flags);
  put16(header, fields.window);
  put32(header, 0);
  push_header({Layer::kTcp, 0}, header);
  return *this;
}

PacketBuilder& PacketBuilder::dns_query(const DnsQueryFields& fields) {
  put16(bytes_, fields.id);
  put16(bytes_, fields.flags);
  put16(bytes_, 1);  // one question
  put16(bytes_, 0);
  put32(bytes_, 0);
  put(bytes_, dns_wire_name(fields.name));
  put16(bytes_, fields.type);
  put16(bytes_, fields.dns_class);
  return *this;
}

PacketBuilder& PacketBuilder::payload(std::span<const std::uint8_t> bytes) {
  put(bytes_, bytes);
  return *this;
}

PacketBuilder& PacketBuilder::payload(std::string_view text) {
  bytes_.insert(bytes_.end(), text.begin(), text.end());
  return *this;
}

PacketBuilder& PacketBuilder::filler(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) put8(bytes_, static_cast<std::uint8_t>(i));
  return *this;
}

PacketBuilder& PacketBuilder::padded_to(std::size_t length) {
  padded_length_ = length;
  return *this;
}

PacketBytes PacketBuilder::build() const {
  PacketBytes packet = bytes_;
  for (std::size_t i = headers_.size(); i-- > 0;)
    finish_header(headers_[i], last_network(i), packet);
  if (packet.size() < padded_length_) packet.resize(padded_length_);
  return packet;
}

void PacketBuilder::finish_header(const Header& header, const Header* network,
                                  PacketBytes& packet) const {
  const std::size_t length = packet.size() - header.offset;
  const auto rest = std::span(packet).subspan(header.offset);
  switch (header.layer) {
    case Layer::kEthernet:
    case Layer::kVlan:
    case Layer::kArp:
    case Layer::kIpv6Extension:
      break;
    case Layer::kIpv4: {
      if (!header.keeps_length) store16(packet, header.offset + 2, length);
      const std::size_t header_bytes = 4u * (packet[header.offset] & 0xf);
      store16(packet, header.offset + 10, internet_checksum(rest.first(header_bytes)));
      break;
    }
    case Layer::kIpv6:
      store16(packet, header.offset + 4, length - 40);
      break;
    case Layer::kIcmp:
      store16(packet, header.offset + 2, internet_checksum(rest));
      break;
    case Layer::kIcmpv6:
    case Layer::kUdp:
    case Layer::kTcp:
      LMN_ASSERT(network != nullptr);
      finish_transport(header, *network, packet);
      break;
  }
}

// Length (UDP) and the checksum that includes the pseudo-header: addresses, protocol, length.
void PacketBuilder::finish_transport(const Header& header, const Header& network,
                                     PacketBytes& packet) const {
  const std::size_t length = packet.size() - header.offset;
  std::size_t checksum_at = header.offset + 2;
  std::uint8_t protocol = kProtocolIcmpv6;
  if (header.layer == Layer::kUdp) {
    store16(packet, header.offset + 4, length);
    if (header.keeps_checksum) return;
    checksum_at = header.offset + 6;
    protocol = kProtocolUdp;
  }
  if (header.layer == Layer::kTcp) {
    checksum_at = header.offset + 16;
    protocol = kProtocolTcp;
  }
  const bool is_v4 = network.layer == Layer::kIpv4;
  const auto addresses =
      std::span(packet).subspan(network.offset + (is_v4 ? 12 : 8), is_v4 ? 8 : 32);
  const std::uint32_t pseudo = sum_words(addresses, protocol + static_cast<std::uint32_t>(length));
  const std::uint16_t sum = internet_checksum(std::span(packet).subspan(header.offset), pseudo);
  // A UDP checksum of 0 means "none": the other representation of zero is sent (RFC 768).
  const bool needs_other_zero = header.layer == Layer::kUdp && sum == 0;
  store16(packet, checksum_at, needs_other_zero ? 0xffff : sum);
}

}  // namespace lmn
