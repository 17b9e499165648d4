// SPDX-License-Identifier: Apache-2.0
//
// Mutex and SpinLock with clang's thread-safety annotations, and the macros to annotate with.
//
// std::mutex is invisible to -Wthread-safety: a guarded member read without its lock would go
// unnoticed. These two are not:
//
//   mutable SpinLock lock_;
//   std::uint32_t count_ LMN_GUARDED_BY(lock_) = 0;
//   ...
//   SpinGuard guard(lock_);           // until the end of the scope
//
// Mutex sleeps in the kernel when contended: for control threads. SpinLock is for the few
// instructions that a worker and a control thread share: it takes no system call unless the holder
// was preempted (then it yields: on two cores a holder that is not running would otherwise be spun
// against for its whole time slice). Threads: any. Not recursive; SpinLock is not fair. Tested by
// base_test.cc and every map test under TSan.
#pragma once

#include <sched.h>

#include <atomic>
#include <mutex>

#if defined(__clang__)
#define LMN_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define LMN_THREAD_ANNOTATION(x)
#endif

#define LMN_CAPABILITY(name) LMN_THREAD_ANNOTATION(capability(name))
#define LMN_SCOPED_CAPABILITY LMN_THREAD_ANNOTATION(scoped_lockable)
#define LMN_GUARDED_BY(lock) LMN_THREAD_ANNOTATION(guarded_by(lock))
#define LMN_PT_GUARDED_BY(lock) LMN_THREAD_ANNOTATION(pt_guarded_by(lock))
#define LMN_REQUIRES(...) LMN_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define LMN_EXCLUDES(...) LMN_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define LMN_ACQUIRE(...) LMN_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define LMN_TRY_ACQUIRE(...) LMN_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define LMN_RELEASE(...) LMN_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define LMN_NO_THREAD_SAFETY_ANALYSIS LMN_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace lmn {

class LMN_CAPABILITY("mutex") Mutex {
 public:
  void lock() LMN_ACQUIRE() { mutex_.lock(); }
  void unlock() LMN_RELEASE() { mutex_.unlock(); }
  bool try_lock() LMN_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

class LMN_CAPABILITY("mutex") SpinLock {
 public:
  void lock() noexcept LMN_ACQUIRE() {
    while (is_taken_.exchange(true, std::memory_order_acquire)) wait();
  }
  void unlock() noexcept LMN_RELEASE() { is_taken_.store(false, std::memory_order_release); }
  bool try_lock() noexcept LMN_TRY_ACQUIRE(true) {
    return !is_taken_.exchange(true, std::memory_order_acquire);
  }

 private:
  void wait() noexcept {
    for (int spins = 0; is_taken_.load(std::memory_order_relaxed); ++spins) {
      if (spins < kSpinsBeforeYield) {
        relax();
      } else {
        ::sched_yield();
        spins = 0;
      }
    }
  }
  static void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
  }

  // A critical section here is tens of instructions; one that takes longer has lost its CPU.
  static constexpr int kSpinsBeforeYield = 100;
  std::atomic<bool> is_taken_{false};
};

class LMN_SCOPED_CAPABILITY MutexGuard {
 public:
  explicit MutexGuard(Mutex& mutex) LMN_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexGuard() LMN_RELEASE() { mutex_.unlock(); }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

 private:
  Mutex& mutex_;
};

class LMN_SCOPED_CAPABILITY SpinGuard {
 public:
  explicit SpinGuard(SpinLock& lock) noexcept LMN_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~SpinGuard() LMN_RELEASE() { lock_.unlock(); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace lmn
