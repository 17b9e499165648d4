// SPDX-License-Identifier: Apache-2.0
//
// Mutator: changes bytes at random, reproducibly.
//
// It knows no format. The operations are those that broke parsers before: single bits and bytes,
// small steps up and down, the values at the edges of every width (0, -1, sign bit, wrap), fields
// overwritten with each other, ranges cut, doubled, moved or taken from another input, and
// truncation. A format that needs more (checksums, offsets that must agree) gets a
// LLVMFuzzerCustomMutator in its fuzz file, which the driver prefers, as libFuzzer does.
//
// Invariants: (1) the same seed and the same calls give the same bytes on every machine; (2) no
// result is longer than size_max. Threads: one. Tested by mutator_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace lmn::fuzz {

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  // Applies one to eight operations to `bytes`; `other` is a second input to take ranges from and
  // may be empty.
  void mutate(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> other,
              std::size_t size_max);

  // A number below `bound`. REQUIRES: bound > 0.
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }

 private:
  void mutate_once(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> other);
  void overwrite_with_edge_value(std::vector<std::uint8_t>& bytes);
  void step_field(std::vector<std::uint8_t>& bytes);
  void copy_within(std::vector<std::uint8_t>& bytes);
  void erase_range(std::vector<std::uint8_t>& bytes);
  void double_range(std::vector<std::uint8_t>& bytes);
  void swap_ranges(std::vector<std::uint8_t>& bytes);
  void take_range(std::vector<std::uint8_t>& bytes, std::span<const std::uint8_t> other);
  // A length from 1 to size, small ones more often. REQUIRES: size > 0.
  std::size_t short_length(std::size_t size);

  std::mt19937_64 random_;  // its sequence is fixed by the standard, unlike std's distributions
};

}  // namespace lmn::fuzz
