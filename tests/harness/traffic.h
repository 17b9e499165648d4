// SPDX-License-Identifier: Apache-2.0
//
// TrafficGenerator: an endless sequence of packets of many kinds, the same for the same seed.
//
// For differential tests, where the packets need not be realistic but must reach everything a
// parser can do: up to five VLAN tags, up to seven IPv6 extension headers of every kind, IPv4
// options, fragments, TCP, UDP, ICMP, ARP, DNS questions, other EtherTypes; about a third is
// damaged: cut at any byte, or with a wrong header length. Addresses and ports come from small
// pools, so that maps filled from the same pools match often.
//
// Invariants: (1) packet n depends on the seed alone, on every machine (own arithmetic on a stated
// generator, no standard distributions); (2) every packet has 14 to kPacketBytesMax bytes.
// Threads: a plain value. Tested by traffic_test.cc.
#pragma once

#include <cstdint>
#include <random>

#include "harness/packet_builder.h"

namespace lmn {

class TrafficGenerator {
 public:
  static constexpr std::size_t kPoolSize = 16;
  static constexpr std::size_t kPacketBytesMax = 1514;

  // Member `index` (below kPoolSize) of the pools that headers are filled from.
  static MacAddress pool_mac(std::size_t index);
  static Ipv4Address pool_ipv4(std::size_t index);
  static Ipv6Address pool_ipv6(std::size_t index);
  static std::uint16_t pool_port(std::size_t index);  // one of them is 53

  explicit TrafficGenerator(std::uint64_t seed) : random_(seed) {}
  PacketBytes next();

 private:
  // 0 .. bound - 1. REQUIRES: bound > 0.
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
  bool one_in(std::size_t n) { return below(n) == 0; }
  std::size_t pool_index() { return below(kPoolSize); }

  void add_network(PacketBuilder& packet);
  void add_ipv6_extensions(PacketBuilder& packet);
  void add_transport(PacketBuilder& packet);
  void damage(PacketBytes& packet);

  std::mt19937_64 random_;
};

}  // namespace lmn
