// SPDX-License-Identifier: Apache-2.0
//
// One packet is built layer by layer, each layer drawn from the seeded generator, then perhaps
// damaged. Tested by traffic_test.cc.
#include "harness/traffic.h"

#include <algorithm>
#include <array>
#include <string>

namespace lmn {
namespace {

constexpr std::size_t kEthernetBytes = 14;

}  // namespace

MacAddress TrafficGenerator::pool_mac(std::size_t index) {
  return {0x02, 0x4c, 0x4d, 0x4e, 0, static_cast<std::uint8_t>(index)};
}

Ipv4Address TrafficGenerator::pool_ipv4(std::size_t index) {
  return {198, 51, 100, static_cast<std::uint8_t>(index + 1)};
}

Ipv6Address TrafficGenerator::pool_ipv6(std::size_t index) {
  Ipv6Address address = {0x20, 0x01, 0x0d, 0xb8, 0x4c, 0x4d};
  address[15] = static_cast<std::uint8_t>(index + 1);
  return address;
}

std::uint16_t TrafficGenerator::pool_port(std::size_t index) {
  return index == 0 ? 53 : static_cast<std::uint16_t>(1000 + 257 * index);
}

PacketBytes TrafficGenerator::next() {
  PacketBuilder packet;
  packet.ethernet({.dst = pool_mac(pool_index()), .src = pool_mac(pool_index())});
  if (one_in(3)) {
    const std::size_t tags = 1 + below(5);
    for (std::size_t i = 0; i < tags; ++i) {
      const std::uint16_t protocol = one_in(2) ? 0x88a8 : 0x8100;
      packet.vlan({.id = static_cast<std::uint16_t>(below(20)), .protocol = protocol});
    }
  }
  add_network(packet);
  if (one_in(4)) packet.filler(below(64));
  if (one_in(50)) packet.filler(below(1000));
  if (one_in(4)) packet.padded_to(60);
  PacketBytes bytes = packet.build();
  if (one_in(3)) damage(bytes);
  return bytes;
}

void TrafficGenerator::add_network(PacketBuilder& packet) {
  const std::size_t kind = below(100);
  if (kind < 45) {
    Ipv4Fields fields;
    fields.src = pool_ipv4(pool_index());
    fields.dst = pool_ipv4(pool_index());
    fields.id = static_cast<std::uint16_t>(below(0x10000));
    if (one_in(6)) fields.options = PacketBytes(4 * (1 + below(10)), 1);
    if (one_in(20)) fields.fragment_offset = static_cast<std::uint16_t>(below(4));
    fields.more_fragments = one_in(20);
    packet.ipv4(fields);
    add_transport(packet);
  } else if (kind < 90) {
    packet.ipv6({.src = pool_ipv6(pool_index()), .dst = pool_ipv6(pool_index())});
    if (one_in(2)) add_ipv6_extensions(packet);
    add_transport(packet);
  } else if (kind < 96) {
    packet.arp({.sender = pool_ipv4(pool_index()), .target = pool_ipv4(pool_index())});
  } else {
    packet.filler(below(100));
  }
}

void TrafficGenerator::add_ipv6_extensions(PacketBuilder& packet) {
  // Hop-by-hop, routing, fragment, authentication, destination options, mobility.
  constexpr std::array<std::uint8_t, 6> kTypes = {0, 43, 44, 51, 60, 135};
  const std::size_t count = 1 + below(7);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t type = kTypes[below(kTypes.size())];
    const auto extra = static_cast<std::uint8_t>(one_in(3) ? below(3) : 0);
    packet.ipv6_extension({.type = type, .extra_units = extra});
  }
}

void TrafficGenerator::add_transport(PacketBuilder& packet) {
  const std::uint16_t src = pool_port(pool_index());
  const std::uint16_t dst = pool_port(pool_index());
  const std::size_t kind = below(10);
  if (kind < 4) {
    packet.tcp({.src_port = src, .dst_port = dst, .flags = static_cast<std::uint8_t>(below(64))});
  } else if (kind < 8) {
    packet.udp({.src_port = src, .dst_port = dst});
    if (dst == 53 && one_in(2)) {
      packet.dns_query({.name = "host" + std::to_string(below(8)) + ".example"});
    }
  } else if (kind < 9) {
    packet.icmp({.type = static_cast<std::uint8_t>(one_in(2) ? 8 : 128)});
  } else {
    packet.filler(below(40));
  }
}

// Cuts the packet, or writes a byte where header lengths are, or anywhere.
void TrafficGenerator::damage(PacketBytes& packet) {
  const std::size_t kind = below(10);
  const std::size_t rest = packet.size() - kEthernetBytes;
  if (rest == 0) return;
  if (kind < 7) {
    packet.resize(kEthernetBytes + below(rest));
    return;
  }
  const std::size_t headers = std::min<std::size_t>(rest, 64);
  const std::size_t at = kind == 7 ? 0 : below(headers);
  packet[kEthernetBytes + at] =
      static_cast<std::uint8_t>(kind == 7 ? 0x40 | below(16) : below(256));
}

}  // namespace lmn
