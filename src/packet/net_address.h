// SPDX-License-Identifier: Apache-2.0
//
// Addresses of packets as plain values: MAC, IPv4 and IPv6, prefixes.
//
// What the tables that answer a program's questions (routes, connections, bridge entries) have in
// common. Bytes are in network order throughout, as packets have them.
// Threads: values. Tested by route_table_test.cc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lmn {

// In network order; IPv4 has the first 4 bytes and zeroes behind them.
using IpAddress = std::array<std::uint8_t, 16>;
using MacAddress = std::array<std::uint8_t, 6>;

// The first `bits` of an address, zeroes behind them.
IpAddress masked(const IpAddress& address, std::uint32_t bits) noexcept;

struct IpAddressHash {
  std::size_t operator()(const IpAddress& address) const noexcept;
};

enum class IpFamily : std::uint8_t { kIpv4, kIpv6 };

struct IpPrefix {
  IpFamily family = IpFamily::kIpv4;
  std::uint8_t bits = 0;
  IpAddress address{};  // zero behind `bits`
  bool covers(const IpAddress& other) const noexcept;
};

}  // namespace lmn
