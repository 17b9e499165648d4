// SPDX-License-Identifier: Apache-2.0
//
// Clock: the one source of time, so that tests and replays can replace it.
//
// All values are nanoseconds since the epoch of the named Linux clock. Whoever needs the time gets
// a Clock& from above; nobody asks the system directly and no test sleeps. Threads: SystemClock
// from any; FakeClock from one (its owner advances it).
#pragma once

#include <cstdint>

namespace lmn {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::uint64_t monotonic_ns() const noexcept = 0;         // CLOCK_MONOTONIC
  virtual std::uint64_t monotonic_coarse_ns() const noexcept = 0;  // CLOCK_MONOTONIC_COARSE
  virtual std::uint64_t boot_ns() const noexcept = 0;              // CLOCK_BOOTTIME
  virtual std::uint64_t tai_ns() const noexcept = 0;               // CLOCK_TAI
  virtual std::uint64_t real_ns() const noexcept = 0;              // CLOCK_REALTIME
};

class SystemClock final : public Clock {
 public:
  std::uint64_t monotonic_ns() const noexcept override;
  std::uint64_t monotonic_coarse_ns() const noexcept override;
  std::uint64_t boot_ns() const noexcept override;
  std::uint64_t tai_ns() const noexcept override;
  std::uint64_t real_ns() const noexcept override;
};

// One counter for all clocks; moves only when told to.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(std::uint64_t start_ns = 1'000'000'000) : now_ns_(start_ns) {}
  void advance_ns(std::uint64_t by_ns) { now_ns_ += by_ns; }
  std::uint64_t monotonic_ns() const noexcept override { return now_ns_; }
  std::uint64_t monotonic_coarse_ns() const noexcept override { return now_ns_; }
  std::uint64_t boot_ns() const noexcept override { return now_ns_; }
  std::uint64_t tai_ns() const noexcept override { return now_ns_; }
  std::uint64_t real_ns() const noexcept override { return now_ns_; }

 private:
  std::uint64_t now_ns_;
};

}  // namespace lmn
