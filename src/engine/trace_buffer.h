// SPDX-License-Identifier: Apache-2.0
//
// TraceBuffer: what programs print with bpf_trace_printk, on its way to a person.
//
// A ring of bytes with one reader, a tool's thread: printing neither allocates nor calls the
// system, and a flood of prints costs the printing programs only: lines that do not fit are
// counted, not waited for. Writers are the worker and the threads of CPU queues, one at a time by a
// short lock. Record: 16-bit length, text. Invariants: (1) head and tail only grow, their
// difference is at most the capacity; (2) a writer publishes a whole record by the release store of
// head; the reader frees it by the release store of tail. Threads: print() from any, drain() from
// one other thread. Tested by engine_test.cc and cpu_queues_test.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/mutex.h"
#include "packet/run_context.h"

namespace lmn {

class TraceBuffer final : public TraceSink {
 public:
  static constexpr std::size_t kCapacityBytes = 1u << 16;
  static constexpr std::size_t kLineBytesMax = 1024;

  void print(std::string_view text) noexcept override LMN_EXCLUDES(writers_);
  // Calls `line` for each waiting text, oldest first.
  void drain(const std::function<void(std::string_view)>& line);
  // Lines that did not fit.
  std::uint64_t lost_count() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  void put(std::uint64_t at, const char* from, std::size_t count) noexcept;
  void get(std::uint64_t at, char* to, std::size_t count) const noexcept;

  SpinLock writers_;
  std::array<char, kCapacityBytes> bytes_{};
  std::atomic<std::uint64_t> head_{0};  // written by writers
  std::atomic<std::uint64_t> tail_{0};  // written by the reader
  std::atomic<std::uint64_t> lost_{0};
};

}  // namespace lmn
