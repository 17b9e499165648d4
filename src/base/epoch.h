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
//   }                                         // or, where one may allocate:
//                                             epoch.retire([x] { delete x; });
//
// Readers pay nothing for a lookup and a few loads for a batch (liburcu's QSBR flavour). Those who
// wait for work are offline and hold nobody up. stamp() and has_passed() never wait, so that a
// thread that runs programs may call them.
// Who ends a grace period: a reader that passes and is the only one online does it on the spot,
// since nobody else can see what was taken out before. So an engine with one worker needs no other
// thread for its stamps, and the same packets find the same memory free in each replay. For several
// readers, and to call what was retired, the Epoch has a thread, which sleeps while nobody asks.
// Without readers a grace period has passed at once.
// Invariants: (1) a stamp has passed only after every reader that was online when stamp() was
// called has passed or gone offline; (2) what has_passed() said yes to may be reused for ever,
// though it may say no again for a while: where nobody is online it says yes without a grace
// period; (3) a reader's pass() says nothing for another one that the same thread holds meanwhile;
// (4) what is retired is called once, and never while a reader that may see it is online.
// Threads: any; a reader belongs to the thread that made it, and one thread may have several.
// liburcu's state is per process, one of the two exceptions to "everything hangs from an Engine": a
// grace period of the thread waits for readers of all Epochs. Tested by epoch_test.cc.
// Source: liburcu 0.13, urcu/urcu-qsbr.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace lmn {

class Epoch {
 public:
  using Stamp = std::uint64_t;
  using Release = std::move_only_function<void()>;

  Epoch() = default;
  ~Epoch();
  Epoch(const Epoch&) = delete;
  Epoch& operator=(const Epoch&) = delete;

  // Starts the thread, unless it runs. Before it, and after stop(), stamps pass only when there is
  // at most one reader, or by synchronize().
  void start() LMN_EXCLUDES(lock_);
  // Ends the thread and calls all that is retired, also what that retires. REQUIRES: the calling
  // thread is no online reader.
  void stop() noexcept LMN_EXCLUDES(lock_);

  // For what has just been taken out.
  Stamp stamp() noexcept;
  bool has_passed(Stamp stamp) const noexcept;
  // Waits for a grace period. REQUIRES: the calling thread is no online reader.
  void synchronize() noexcept;

  // `release` is called after a grace period: here and now when nobody is online, else by the
  // Epoch's thread, which is started if need be, in the order of retiring. It must own what it
  // frees. For control threads, since this allocates, and without any lock held.
  void retire(Release release) LMN_EXCLUDES(lock_);
  // Waits until all that was retired before has been called. REQUIRES: as synchronize().
  void wait_for_retired() noexcept LMN_EXCLUDES(lock_);

  // Whether the calling thread is an online reader, of this Epoch or another.
  static bool is_reader_here() noexcept;

 private:
  friend class EpochReader;
  struct Retired {
    Stamp stamp;
    Release release;
  };
  void start_thread() LMN_REQUIRES(lock_);
  bool put_on_list(Release& release) LMN_EXCLUDES(lock_);
  void run() noexcept;
  void pass_alone() noexcept;
  void complete(Stamp number) noexcept;
  void wake() noexcept;
  void call_passed() noexcept LMN_EXCLUDES(lock_);
  bool is_wanted() const noexcept {
    return wanted_.load(std::memory_order_relaxed) > completed_.load(std::memory_order_relaxed);
  }

  std::atomic<std::uint64_t> started_{0};    // grace periods begun
  std::atomic<std::uint64_t> completed_{0};  // the last one that is over
  std::atomic<std::uint64_t> wanted_{0};
  std::atomic<std::uint32_t> online_{0};  // readers
  std::atomic<std::uint32_t> wakings_{0};
  std::atomic<bool> is_stopping_{false};
  Mutex lock_;
  std::vector<Retired> retired_ LMN_GUARDED_BY(lock_);
  std::uint64_t retired_count_ LMN_GUARDED_BY(lock_) = 0;  // ever
  std::atomic<std::uint64_t> called_count_{0};
  std::thread thread_ LMN_GUARDED_BY(lock_);
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

// For threads that look something up now and then: it stays until the end of the scope. Null: there
// is nobody who frees.
class EpochScope {
 public:
  explicit EpochScope(Epoch* epoch) noexcept {
    if (epoch != nullptr) reader_.emplace(*epoch);
  }

 private:
  std::optional<EpochReader> reader_;
};

}  // namespace lmn
