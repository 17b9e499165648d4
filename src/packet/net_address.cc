// SPDX-License-Identifier: Apache-2.0
//
// Prefixes and the hash of addresses. Tested by route_table_test.cc.
#include "packet/net_address.h"

#include <cstring>

namespace lmn {

IpAddress masked(const IpAddress& address, std::uint32_t bits) noexcept {
  IpAddress result{};
  const std::uint32_t whole = bits / 8;
  std::memcpy(result.data(), address.data(), whole);
  if (bits % 8 != 0) {
    result[whole] = static_cast<std::uint8_t>(address[whole] & (0xff00u >> (bits % 8)));
  }
  return result;
}

bool IpPrefix::covers(const IpAddress& other) const noexcept {
  return masked(other, bits) == address;
}

std::size_t IpAddressHash::operator()(const IpAddress& address) const noexcept {
  std::uint64_t words[2];
  std::memcpy(words, address.data(), sizeof words);
  std::uint64_t mixed = (words[0] ^ (words[1] * 0x9e3779b97f4a7c15ull)) * 0xbf58476d1ce4e5b9ull;
  return mixed ^ (mixed >> 32);
}

}  // namespace lmn
