// SPDX-License-Identifier: Apache-2.0
//
// Epoch: when may something that was taken out be used again or freed? When every thread that could
// still see it has been seen between two of its batches: a grace period.
//
//   // a thread that runs programs:           // who takes something out:
//   EpochReader reader(epoch);                unlink(x);
//   for (;;) {                                const Epoch::Stamp stamp = epoch.stamp();
//     run a batch;                            ...
//     reader.pass();                          if (epoch.has_passed(stamp)) reuse(x);
//     if (idle) { reader.go_offline(); sleep; reader.go_online(); }
//   }
//
// Readers pay nothing for a lookup and one store for a batch (liburcu's QSBR flavour). Those who
// wait for work are offline and hold nobody up. Grace periods are waited for by a thread of the
// Epoch, which sleeps while nobody asks for one; stamp() and has_passed() never wait, so that a
// thread that runs programs may call them. Without readers a grace period has passed at once.
// Invariants: (1) a stamp has passed only after every reader that was online when stamp() was
// called has passed or gone offline; (2) what has_passed() said yes to may be reused for ever,
// though it may say no again for a while: where nobody is online it says yes without a grace period
// of the thread. Threads: any; a reader belongs to the thread that made it, and one thread may have
// several. liburcu's state is per process, one of the two exceptions to "everything hangs from an
// Engine". Tested by epoch_test.cc.
// Source: liburcu 0.13, urcu/urcu-qsbr.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace lmn {

class Epoch {
 public:
  using Stamp = std::uint64_t;

  Epoch() = default;
  ~Epoch();
  Epoch(const Epoch&) = delete;
  Epoch& operator=(const Epoch&) = delete;

  // Starts the thread that waits for grace periods. Before it, and after stop(), stamps pass only
  // when there are no readers, or by synchronize().
  void start();
  void stop() noexcept;

  // For what has just been taken out.
  Stamp stamp() noexcept;
  bool has_passed(Stamp stamp) const noexcept;
  // Waits for a grace period. REQUIRES: the calling thread is no online reader.
  void synchronize() noexcept;

 private:
  friend class EpochReader;
  void run() noexcept;

  std::atomic<std::uint64_t> started_{0};    // grace periods begun
  std::atomic<std::uint64_t> completed_{0};  // the last one that is over
  std::atomic<std::uint64_t> wanted_{0};
  std::atomic<std::uint32_t> online_{0};  // readers
  std::atomic<bool> is_stopping_{false};
  std::thread thread_;
};

// The calling thread's part in an Epoch, online from the start.
class EpochReader {
 public:
  explicit EpochReader(Epoch& epoch) noexcept;
  ~EpochReader();
  EpochReader(const EpochReader&) = delete;
  EpochReader& operator=(const EpochReader&) = delete;

  // Nothing that was looked up before is used from here on.
  void pass() noexcept;
  void go_offline() noexcept;
  void go_online() noexcept;

 private:
  Epoch& epoch_;
  bool is_online_ = false;
};

}  // namespace lmn
