// SPDX-License-Identifier: Apache-2.0
//
// The Internet checksum (RFC 1071), and the completion of one that a sender left to the hardware.
//
// Linux leaves TCP and UDP checksums unfinished on links that need none (veth, TAP): the field
// holds the sum of the pseudo header, and the frame comes with "sum from here, store there". A
// frame that leaves the engine on a wire must be complete, so ports complete it when it comes in.
// Threads: plain functions. Tested by offload_test.cc.
// Source: Linux 6.18, net/core/dev.c (skb_checksum_help).
#pragma once

#include <cstdint>
#include <span>

#include "base/byte_reader.h"

namespace lmn {

// The 16-bit one's complement sum, not inverted, of the bytes as 16-bit words in memory order, and
// of `initial`.
std::uint16_t ones_complement_sum(ByteSpan bytes, std::uint32_t initial = 0) noexcept;

// Sums frame[start..end) and stores the checksum at start + offset; a sum of zero is stored as
// 0xffff, which means the same and does not mean "none" in UDP. False, and nothing done, when the
// field does not lie in the frame.
bool complete_checksum(std::span<std::uint8_t> frame, std::size_t start,
                       std::size_t offset) noexcept;

}  // namespace lmn
