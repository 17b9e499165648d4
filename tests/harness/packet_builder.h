// SPDX-License-Identifier: Apache-2.0
//
// PacketBuilder: packets for tests, written from the outermost header inwards.
//
// Each call appends a header; build() fills in what depends on what follows: types, lengths and
// checksums. So a test names only what it is about, and what it does not name is right.
//
//   auto query = PacketBuilder()
//                    .ethernet({.dst = mac_address("02:00:00:00:00:02")})
//                    .ipv4({.dst = ipv4_address("192.0.2.53")})
//                    .udp({.dst_port = 53})
//                    .dns_query({.name = "a.example"})
//                    .build();
//
// A wrong packet is made from a right one: set the field (`.total_length`, `.ethertype`), or change
// or cut the bytes of build().
//
// Invariants: (1) the same calls give the same bytes; (2) packets without set fields are accepted
// by any stack: version, lengths and all checksums are right. Threads: a plain value. Tested by
// packet_builder_test.cc. Source: IEEE 802.3 and 802.1Q; RFC 826, 768, 791, 792, 1035, 1071, 4443,
// 8200, 9293.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lmn {

using MacAddress = std::array<std::uint8_t, 6>;
using Ipv4Address = std::array<std::uint8_t, 4>;
using Ipv6Address = std::array<std::uint8_t, 16>;
using PacketBytes = std::vector<std::uint8_t>;

// Addresses from their usual text. REQUIRES: well-formed text (asserted).
MacAddress mac_address(std::string_view text);
Ipv4Address ipv4_address(std::string_view text);
Ipv6Address ipv6_address(std::string_view text);

// A host name as DNS carries it: "a.example" gives 1 'a' 7 "example" 0.
// REQUIRES: labels of 1 to 63 bytes (asserted).
PacketBytes dns_wire_name(std::string_view name);

// The Internet checksum of RFC 1071 in network order as a number, continued from `sum` (the
// unfolded sum of what comes before). Over bytes that include a right checksum it is 0.
std::uint16_t internet_checksum(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0);

struct EthernetFields {
  MacAddress dst = {0x02, 0, 0, 0, 0, 0x02};
  MacAddress src = {0x02, 0, 0, 0, 0, 0x01};
  std::optional<std::uint16_t> ethertype;  // default: that of the next header, else 0x88b5 (local)
};

struct VlanFields {
  std::uint16_t id = 1;
  std::uint8_t priority = 0;
  std::uint16_t protocol = 0x8100;         // 0x88a8 for a provider's tag
  std::optional<std::uint16_t> ethertype;  // of what follows
};

struct ArpFields {
  std::uint16_t operation = 1;  // 1 request, 2 reply
  MacAddress sender_mac = {0x02, 0, 0, 0, 0, 0x01};
  Ipv4Address sender = {192, 0, 2, 1};
  MacAddress target_mac = {};
  Ipv4Address target = {192, 0, 2, 2};
};

struct Ipv4Fields {
  Ipv4Address src = {192, 0, 2, 1};
  Ipv4Address dst = {192, 0, 2, 2};
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::uint16_t id = 0;
  std::uint16_t fragment_offset = 0;  // in units of 8 bytes
  bool more_fragments = false;
  bool dont_fragment = false;
  PacketBytes options;                   // at most 40 bytes; padded to a multiple of 4
  std::optional<std::uint8_t> protocol;  // default: that of the next header, else 253 (experiments)
  std::optional<std::uint16_t> total_length;
};

struct Ipv6Fields {
  Ipv6Address src = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  Ipv6Address dst = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
  std::uint8_t hop_limit = 64;
  std::uint8_t traffic_class = 0;
  std::uint32_t flow_label = 0;
  std::optional<std::uint8_t> next_header;  // default: as Ipv4Fields::protocol
};

// One IPv6 extension header of (extra_units + 1) * 8 bytes: padding inside, its length as its type
// counts it.
struct Ipv6ExtensionFields {
  // 0 hop-by-hop, 43 routing, 44 fragment (always 8 bytes, the only one), 51 authentication,
  // 60 destination options, 135 mobility
  std::uint8_t type = 60;
  std::uint8_t extra_units = 0;
};

struct IcmpFields {
  std::uint8_t type = 8;  // echo request; 128 is ICMPv6's
  std::uint8_t code = 0;
  std::uint16_t id = 1;
  std::uint16_t sequence = 1;
};

struct UdpFields {
  std::uint16_t src_port = 40000;
  std::uint16_t dst_port = 9;
  bool has_checksum = true;  // false: 0, "not computed" (IPv4 only)
};

struct TcpFields {
  std::uint16_t src_port = 40000;
  std::uint16_t dst_port = 80;
  std::uint32_t sequence = 1;
  std::uint32_t acknowledgement = 0;
  std::uint8_t flags = 0x02;  // SYN; 0x10 ACK, 0x08 PSH, 0x01 FIN, 0x04 RST
  std::uint16_t window = 64240;
};

struct DnsQueryFields {
  std::string name = "a.example";
  std::uint16_t id = 1;
  std::uint16_t flags = 0x0100;  // recursion desired
  std::uint16_t type = 1;        // A
  std::uint16_t dns_class = 1;   // IN
};

class PacketBuilder {
 public:
  PacketBuilder& ethernet(const EthernetFields& fields = {});
  PacketBuilder& vlan(const VlanFields& fields = {});
  PacketBuilder& arp(const ArpFields& fields = {});
  PacketBuilder& ipv4(const Ipv4Fields& fields = {});
  PacketBuilder& ipv6(const Ipv6Fields& fields = {});
  PacketBuilder& ipv6_extension(const Ipv6ExtensionFields& fields = {});
  // An ICMP message of echo form; ICMPv6 with its pseudo-header where the last IP header is IPv6.
  PacketBuilder& icmp(const IcmpFields& fields = {});
  PacketBuilder& udp(const UdpFields& fields = {});
  PacketBuilder& tcp(const TcpFields& fields = {});
  PacketBuilder& dns_query(const DnsQueryFields& fields = {});
  PacketBuilder& payload(std::span<const std::uint8_t> bytes);
  PacketBuilder& payload(std::string_view text);
  // `count` bytes 0, 1, 2 ... : contents that show where they went.
  PacketBuilder& filler(std::size_t count);
  // Zeros behind the packet up to `length` bytes, in no header's length: Ethernet's padding.
  PacketBuilder& padded_to(std::size_t length);

  // The packet. May be called again, and after further calls.
  PacketBytes build() const;

 private:
  enum class Layer : std::uint8_t {
    kEthernet,
    kVlan,
    kArp,
    kIpv4,
    kIpv6,
    kIpv6Extension,
    kIcmp,
    kIcmpv6,
    kUdp,
    kTcp
  };
  // Where a header starts and what build() must leave as it is.
  struct Header {
    Layer layer;
    std::size_t offset;
    bool keeps_length = false;    // Ipv4Fields::total_length was given
    bool keeps_next = false;      // type or protocol of what follows was given
    bool keeps_checksum = false;  // UDP without one
  };

  const Header* last_network(std::size_t before) const;
  void push_header(Header header, std::span<const std::uint8_t> bytes);
  void link_previous(Layer next, std::uint16_t vlan_protocol = 0);
  void finish_header(const Header& header, const Header* network, PacketBytes& packet) const;
  void finish_transport(const Header& header, const Header& network, PacketBytes& packet) const;

  std::vector<Header> headers_;
  PacketBytes bytes_;
  std::size_t padded_length_ = 0;
};

}  // namespace lmn
