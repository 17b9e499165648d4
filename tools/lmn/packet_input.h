// SPDX-License-Identifier: Apache-2.0
//
// Packets named on a command line: hex digits, a file of raw bytes, or a capture.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace lmn {

using PacketBytes = std::vector<std::uint8_t>;

// `text`: hex digits (blanks and colons between bytes allowed), "@FILE" for the raw bytes of one
// packet, or the path of a pcap or pcapng file. Errors say which of them was understood and what is
// wrong with it.
Result<std::vector<PacketBytes>> read_packets(const std::string& text);

// "0a0b0c" -> bytes; nullopt when it is not an even number of hex digits.
std::optional<PacketBytes> parse_hex(std::string_view text);
std::string to_hex(std::span<const std::uint8_t> bytes);

}  // namespace lmn
