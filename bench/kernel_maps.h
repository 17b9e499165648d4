// SPDX-License-Identifier: Apache-2.0
//
// KernelLoop: what an operation on a map costs in the kernel: a program of eight of them under
// BPF_PROG_TEST_RUN, and the same program without them, to be subtracted.
//
// A program draws numbers, makes keys of them and calls the helper, so that maps_bench.cc can make
// the very same keys (draw_number, make_key below). The numbers' state is a map value, so that
// repeated runs go on where the last one ended.
// Threads: one. Bench code only.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "differential/raw_insn.h"
#include "harness/kernel_oracle.h"

namespace lmn::bench {

inline constexpr std::uint64_t kFactor = 0x5851f42d4c957f2d;
inline constexpr std::int32_t kStep = 12345;
inline constexpr unsigned kNumberShift = 33;

// Steps the state; the number is below `count`. REQUIRES: count < 2^31.
inline std::uint64_t draw_number(std::uint64_t& state, std::uint32_t count) {
  state = state * kFactor + kStep;
  return (state >> kNumberShift) * count >> (64 - kNumberShift);
}

enum class KeyKind : std::uint8_t { kIndex4, kWords16, kLpm4, kLpm16 };

struct Key {
  std::uint64_t words[3];
};

inline std::uint32_t key_bytes(KeyKind kind) {
  switch (kind) {
    case KeyKind::kIndex4:
      return 4;
    case KeyKind::kWords16:
      return 16;
    case KeyKind::kLpm4:
      return 8;
    case KeyKind::kLpm16:
      return 20;
  }
  return 0;
}

// The key of number `number`; of tries, a whole address.
inline void make_key(KeyKind kind, std::uint64_t number, Key& key) {
  const std::uint64_t product = number * kFactor;
  switch (kind) {
    case KeyKind::kIndex4:
      key.words[0] = number;
      break;
    case KeyKind::kWords16:
      key.words[0] = product;
      key.words[1] = number;
      break;
    case KeyKind::kLpm4:
      key.words[0] = (product >> 32 << 32) | 32;
      break;
    case KeyKind::kLpm16: {
      const std::uint32_t length = 128;
      auto* bytes = reinterpret_cast<std::uint8_t*>(key.words);
      std::memcpy(bytes, &length, 4);
      std::memcpy(bytes + 4, &product, 8);
      std::memcpy(bytes + 12, &product, 8);
      break;
    }
  }
}

enum class Operation : std::uint8_t { kLookup, kUpdate, kRingOutput };

struct LoopOptions {
  Operation operation = Operation::kLookup;
  KeyKind keys = KeyKind::kIndex4;
  std::uint32_t count = 0;     // of the numbers
  bool is_sequential = false;  // numbers 0, 1, 2, ...: to fill a map
};

class KernelLoop {
 public:
  static constexpr int kOperations = 8;

  // Nothing when the kernel refuses the program.
  static std::optional<KernelLoop> create(const KernelMap& map, const LoopOptions& options);

  // Nanoseconds per operation over `repeat` runs, keys included; and the keys alone.
  double run(std::uint32_t repeat) const { return time(program_, repeat); }
  double run_empty(std::uint32_t repeat) const { return time(empty_, repeat); }

 private:
  KernelLoop(KernelMap state, KernelProgram program, KernelProgram empty)
      : state_(std::move(state)), program_(std::move(program)), empty_(std::move(empty)) {}
  static double time(const KernelProgram& program, std::uint32_t repeat);

  KernelMap state_;
  KernelProgram program_;
  KernelProgram empty_;
};

}  // namespace lmn::bench
