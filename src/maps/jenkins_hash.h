// SPDX-License-Identifier: Apache-2.0
//
// The lookup3 hash of Bob Jenkins (2006, public domain), as the kernel seeds it.
//
// Only where a map's answers depend on the kernel's very hash: a Bloom filter made with
// BPF_F_ZERO_SEED says "maybe there" to the same strangers here and there. Nothing else should use
// it: it is slower than hash_table.h's. Threads: pure functions. Tested by
// tests/contract/maps_contract_test.cc against the kernel. Source:
// http://burtleburtle.net/bob/c/lookup3.c; Linux 6.18, include/linux/jhash.h (seeding).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

namespace lmn {

class JenkinsHash {
 public:
  // The hash of `bytes`. Lengths that are a multiple of 4 come out as by the kernel's jhash2,
  // others as by jhash: for whole words the two agree.
  static std::uint32_t hash(std::span<const std::uint8_t> bytes, std::uint32_t seed) noexcept {
    JenkinsHash state(0xdeadbeef + static_cast<std::uint32_t>(bytes.size()) + seed);
    while (bytes.size() > 12) {
      state.add(bytes.first(12));
      state.mix();
      bytes = bytes.subspan(12);
    }
    if (!bytes.empty()) {
      state.add(bytes);
      state.finish();
    }
    return state.c_;
  }

 private:
  explicit JenkinsHash(std::uint32_t start) : a_(start), b_(start), c_(start) {}

  // Adds up to 12 bytes, little-endian, missing ones as zeros.
  void add(std::span<const std::uint8_t> bytes) noexcept {
    std::uint32_t words[3] = {};
    std::memcpy(words, bytes.data(), bytes.size());
    a_ += words[0];
    b_ += words[1];
    c_ += words[2];
  }
  // One line of lookup3's mix(): x loses z, takes z turned, and z gains y.
  static void stir(std::uint32_t& x, std::uint32_t& y, std::uint32_t& z, int turn) noexcept {
    x = (x - z) ^ std::rotl(z, turn);
    z += y;
  }
  void mix() noexcept {
    stir(a_, b_, c_, 4);
    stir(b_, c_, a_, 6);
    stir(c_, a_, b_, 8);
    stir(a_, b_, c_, 16);
    stir(b_, c_, a_, 19);
    stir(c_, a_, b_, 4);
  }
  static void settle(std::uint32_t& x, std::uint32_t y, int turn) noexcept {
    x = (x ^ y) - std::rotl(y, turn);
  }
  void finish() noexcept {
    settle(c_, b_, 14);
    settle(a_, c_, 11);
    settle(b_, a_, 25);
    settle(c_, b_, 16);
    settle(a_, c_, 4);
    settle(b_, a_, 14);
    settle(c_, b_, 24);
  }

  std::uint32_t a_;
  std::uint32_t b_;
  std::uint32_t c_;
};

}  // namespace lmn
