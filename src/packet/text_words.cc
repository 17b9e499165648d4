// SPDX-License-Identifier: Apache-2.0
//
// Addresses in text. Tested by route_table_test.cc and conntrack_table_test.cc.
#include "packet/text_words.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <bit>

namespace lmn {

void TextWords::fail_unknown() { fail(fmt::format("'{}' is not known here", next())); }

void TextWords::fail_number(std::string_view text) {
  fail(fmt::format("'{}' is no number that fits here", text));
}

IpAddress TextWords::to_address(std::string_view text, IpFamily& family) {
  IpAddress address{};
  family = text.find(':') != std::string_view::npos ? IpFamily::kIpv6 : IpFamily::kIpv4;
  const int system_family = family == IpFamily::kIpv6 ? AF_INET6 : AF_INET;
  if (::inet_pton(system_family, std::string(text).c_str(), address.data()) != 1) {
    fail(fmt::format("'{}' is no IP address", text));
  }
  return address;
}

IpPrefix TextWords::prefix(IpAddress* host) {
  const std::string_view word = next();
  const std::size_t slash = word.find('/');
  IpPrefix prefix;
  IpAddress address = to_address(word.substr(0, slash), prefix.family);
  const std::uint8_t bits_max = prefix.family == IpFamily::kIpv4 ? 32 : 128;
  prefix.bits = bits_max;
  if (slash != std::string_view::npos) {
    prefix.bits = to_number<std::uint8_t>(word.substr(slash + 1));
  }
  if (prefix.bits > bits_max) {
    fail(fmt::format("a prefix of {} bits, there are {}", prefix.bits, bits_max));
    return prefix;
  }
  if (host != nullptr) *host = address;
  for (std::uint32_t bit = prefix.bits; bit < 128; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80u >> (bit % 8));
    if (host == nullptr && (address[bit / 8] & mask) != 0) {
      fail(fmt::format("'{}' has bits behind its prefix", word));
    }
    address[bit / 8] &= static_cast<std::uint8_t>(~mask);
  }
  prefix.address = address;
  return prefix;
}

MacAddress TextWords::mac() {
  const std::string_view word = next();
  MacAddress mac{};
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const char* digits = word.data() + i * 3;
    const bool has_room = word.size() == mac.size() * 3 - 1;
    const bool is_separated = i == 0 || !has_room || digits[-1] == ':';
    const bool is_byte = has_room && is_separated &&
                         std::from_chars(digits, digits + 2, mac[i], 16).ptr == digits + 2;
    if (!is_byte) fail(fmt::format("'{}' is no MAC address", word));
  }
  return mac;
}

IpAddress TextWords::endpoint(IpFamily& family, std::uint16_t& port) {
  const std::string_view word = next();
  const std::size_t colon = word.rfind(':');
  std::string_view address = word.substr(0, colon);
  const bool is_bracketed = address.starts_with('[') && address.ends_with(']');
  if (is_bracketed) address = address.substr(1, address.size() - 2);
  const bool is_plain_ipv6 = !is_bracketed && address.find(':') != std::string_view::npos;
  if (colon == std::string_view::npos || is_plain_ipv6) {
    fail(fmt::format("'{}' is no address with a port", word));
    return {};
  }
  const auto number = to_number<std::uint16_t>(word.substr(colon + 1));
  port = std::endian::native == std::endian::little ? std::byteswap(number) : number;
  return to_address(address, family);
}

std::unexpected<Error> text_line_error(std::string_view what, std::size_t line_number,
                                       const TextWords& words) {
  return make_error(ErrorCode::kMalformed,
                    fmt::format("{}: line {}: {}", what, line_number, words.error()));
}

}  // namespace lmn
