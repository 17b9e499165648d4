// SPDX-License-Identifier: Apache-2.0
//
// Counters: the numbers of one port queue, the same names for every driver.
//
// A queue's worker is the only writer; anybody may read at any time. Each counter is a relaxed
// atomic that is loaded and stored, not read-modify-written: on the data path that is a plain add.
// A snapshot is therefore exact when the worker stands still and at most a batch apart otherwise.
// Threads: add() from the owner, get()/snapshot() from any. Tested by telemetry_test.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace lmn {

enum class Counter : std::uint8_t {
#define LMN_COUNTER(name, text, meaning) name,
#include "telemetry/counters.def"
#undef LMN_COUNTER
};

inline constexpr std::size_t kCounterCount = 0
#define LMN_COUNTER(name, text, meaning) +1
#include "telemetry/counters.def"
#undef LMN_COUNTER
    ;

// "rx_packets"
std::string_view counter_name(Counter counter);
// "frame given to the program, ..."
std::string_view counter_meaning(Counter counter);

using CounterSnapshot = std::array<std::uint64_t, kCounterCount>;

class Counters {
 public:
  void add(Counter counter, std::uint64_t by = 1) noexcept {
    auto& cell = cells_[static_cast<std::size_t>(counter)];
    cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  // For counts that another authority keeps (the kernel's drop count).
  void set(Counter counter, std::uint64_t value) noexcept {
    cells_[static_cast<std::size_t>(counter)].store(value, std::memory_order_relaxed);
  }
  std::uint64_t get(Counter counter) const noexcept {
    return cells_[static_cast<std::size_t>(counter)].load(std::memory_order_relaxed);
  }
  CounterSnapshot snapshot() const noexcept {
    CounterSnapshot out;
    for (std::size_t i = 0; i < kCounterCount; ++i)
      out[i] = cells_[i].load(std::memory_order_relaxed);
    return out;
  }

 private:
  std::array<std::atomic<std::uint64_t>, kCounterCount> cells_{};
};

}  // namespace lmn
