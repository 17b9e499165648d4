// SPDX-License-Identifier: Apache-2.0
//
// The operations of the Mutator. Ranges are drawn short more often than long: most fields are one
// to eight bytes, and a parser that survives a cut of half the file says little about one that
// loses a byte.
#include "mutator.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace lmn::fuzz {
namespace {

// Values at the edges of 8, 16, 32 and 64 bits; written with the width that the caller draws.
constexpr std::array<std::uint64_t, 14> kEdgeValues = {0,
                                                       1,
                                                       0x7f,
                                                       0x80,
                                                       0xff,
                                                       0x7fff,
                                                       0x8000,
                                                       0xffff,
                                                       0x7fffffff,
                                                       0x80000000,
                                                       0xffffffff,
                                                       0x100000000,
                                                       0x7fffffffffffffff,
                                                       0xffffffffffffffff};

}  // namespace

void Mutator::mutate(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> other,
                     std::size_t size_max) {
  const std::size_t count = std::size_t{1} << below(4);
  for (std::size_t i = 0; i < count; ++i) {
    mutate_once(bytes, other);
    if (bytes.size() > size_max) bytes.resize(size_max);
  }
}

void Mutator::mutate_once(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> other) {
  if (bytes.empty()) {
    bytes.push_back(static_cast<std::uint8_t>(random_()));
    return;
  }
  switch (below(12)) {
    case 0:
      bytes[below(bytes.size())] ^= static_cast<std::uint8_t>(1u << below(8));
      return;
    case 1:
    case 2:
      bytes[below(bytes.size())] = static_cast<std::uint8_t>(random_());
      return;
    case 3:
    case 4:
      overwrite_with_edge_value(bytes);
      return;
    case 5:
      step_field(bytes);
      return;
    case 6:
      copy_within(bytes);
      return;
    case 7:
      erase_range(bytes);
      return;
    case 8:
      double_range(bytes);
      return;
    case 9:
      swap_ranges(bytes);
      return;
    case 10:
      take_range(bytes, other);
      return;
    default:
      bytes.resize(1 + below(bytes.size()));
      return;
  }
}

void Mutator::overwrite_with_edge_value(std::vector<std::uint8_t>& bytes) {
  const std::size_t width = std::min(std::size_t{1} << below(4), bytes.size());
  std::uint64_t value = kEdgeValues[below(kEdgeValues.size())];
  if (below(4) == 0)
    value =
        bytes.size() - std::min<std::size_t>(bytes.size(), below(3));  // lengths that almost fit
  std::array<std::uint8_t, 8> raw{};
  const bool big_endian = below(2) == 0;
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t shift = 8 * (big_endian ? width - 1 - i : i);
    raw[i] = static_cast<std::uint8_t>(value >> shift);
  }
  std::size_t at = below(bytes.size() - width + 1);
  if (below(2) == 0) at -= at % width;  // most fields are aligned to their width
  std::memcpy(bytes.data() + at, raw.data(), width);
}

void Mutator::step_field(std::vector<std::uint8_t>& bytes) {
  const int step = static_cast<int>(below(33)) - 16;
  std::uint8_t& byte = bytes[below(bytes.size())];
  byte = static_cast<std::uint8_t>(byte + step);
}

void Mutator::copy_within(std::vector<std::uint8_t>& bytes) {
  const std::size_t length = short_length(bytes.size());
  const std::size_t from = below(bytes.size() - length + 1);
  const std::size_t to = below(bytes.size() - length + 1);
  std::memmove(bytes.data() + to, bytes.data() + from, length);
}

void Mutator::erase_range(std::vector<std::uint8_t>& bytes) {
  const std::size_t length = short_length(bytes.size());
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size() - length + 1));
  bytes.erase(begin, begin + static_cast<std::ptrdiff_t>(length));
}

void Mutator::double_range(std::vector<std::uint8_t>& bytes) {
  const std::size_t length = short_length(bytes.size());
  const std::size_t from = below(bytes.size() - length + 1);
  const std::vector<std::uint8_t> copy(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                                       bytes.begin() + static_cast<std::ptrdiff_t>(from + length));
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size() + 1)), copy.begin(),
               copy.end());
}

void Mutator::swap_ranges(std::vector<std::uint8_t>& bytes) {
  if (bytes.size() < 2) return;
  const std::size_t length = short_length(bytes.size() / 2);
  const std::size_t first = below(bytes.size() - 2 * length + 1);
  const std::size_t second = first + length + below(bytes.size() - first - 2 * length + 1);
  std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(first),
                   bytes.begin() + static_cast<std::ptrdiff_t>(first + length),
                   bytes.begin() + static_cast<std::ptrdiff_t>(second));
}

void Mutator::take_range(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> other) {
  if (other.empty()) return step_field(bytes);
  const std::size_t length = short_length(other.size());
  const auto part = other.subspan(below(other.size() - length + 1), length);
  const std::size_t at = below(bytes.size() + 1);
  if (below(2) == 0) {
    bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), part.begin(), part.end());
    return;
  }
  const std::size_t fits = std::min(length, bytes.size() - at);
  std::copy_n(part.begin(), fits, bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

std::size_t Mutator::short_length(std::size_t size) {
  const std::size_t cap = below(8) == 0 ? size : std::min<std::size_t>(size, 16);
  return 1 + below(cap);
}

}  // namespace lmn::fuzz
