// SPDX-License-Identifier: Apache-2.0
//
// FastPath: how compiled programs reach a map without its virtual functions.
//
// A map whose type has an inline header for what programs do with it for every packet
// (array_fast.h, hash_fast.h, lpm_fast.h, ringbuf_fast.h) says which one and shows its descriptor.
// A compiler emits the descriptor as a constant of the program, sizes and masks as numbers and
// addresses as symbols, and calls the header's functions, which the module `fastpath` has as
// bitcode. A map without one is reached by Map's virtual functions, whose answers are the same.
// Threads: the descriptor never changes and lives as long as the map.
#pragma once

#include <cstdint>

namespace lmn {

enum class FastPathKind : std::uint8_t {
  kNone,
  kArray,       // ArrayDescriptor, per-CPU arrays too
  kHash,        // HashDescriptor
  kPercpuHash,  // PercpuHashDescriptor
  kLpm,         // LpmMapDescriptor
  kRingbuf,     // RingbufDescriptor
};

// Of a lookup in flight: what its steps leave for each other, aligned to 8.
inline constexpr std::uint32_t kFlightBytes = 40;

struct FastPath {
  FastPathKind kind = FastPathKind::kNone;
  const void* descriptor = nullptr;
};

}  // namespace lmn
