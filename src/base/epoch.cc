// SPDX-License-Identifier: Apache-2.0
//
// Epoch over liburcu's QSBR flavour. Tested by epoch_test.cc.
#include "base/epoch.h"

#include <urcu/urcu-qsbr.h>

#include <chrono>
#include <utility>

#include "base/assert.h"
#include "base/platform_sanitize.h"

namespace lmn {
namespace {

// How many online readers this thread has: liburcu knows a thread, not its readers.
thread_local std::uint32_t online_here = 0;  // tidy:allow(thread-local) liburcu has it so too

// Grace periods of the thread follow each other no faster than this: who frees much frees it
// together.
constexpr auto kPause = std::chrono::microseconds(500);

// What stands for liburcu's order between a reader that passes and the end of a grace period: a
// sanitizer cannot see into the library.
char grace_period_tag;

// A thread is known to liburcu from its first reader to its own end; offline it costs nobody
// anything.
class KnownThread {
 public:
  KnownThread() noexcept {
    urcu_qsbr_register_thread();
    urcu_qsbr_thread_offline();
  }
  ~KnownThread() { urcu_qsbr_unregister_thread(); }
  KnownThread(const KnownThread&) = delete;
  KnownThread& operator=(const KnownThread&) = delete;
};

void make_thread_known() noexcept {
  thread_local const KnownThread known;  // tidy:allow(thread-local) liburcu has it so too
}

}  // namespace

Epoch::~Epoch() {
  stop();
  LMN_ASSERT(online_.load() == 0);
}

void Epoch::start() {
  const MutexGuard guard(lock_);
  is_stopping_ = false;
  start_thread();
}

void Epoch::start_thread() {
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void Epoch::stop() noexcept {
  std::thread thread;
  {
    const MutexGuard guard(lock_);
    is_stopping_ = true;
    thread = std::move(thread_);
  }
  wake();
  if (thread.joinable()) thread.join();
  while (true) {
    {
      const MutexGuard guard(lock_);
      if (retired_.empty()) return;
    }
    synchronize();
    call_passed();
  }
}

void Epoch::run() noexcept {
  while (true) {
    // Looked at first: whatever is wanted or retired from here on, and the end, changes it.
    const std::uint32_t wakings = wakings_.load();
    if (is_stopping_.load()) return;
    if (is_wanted()) {
      synchronize();
      call_passed();
      std::this_thread::sleep_for(kPause);
      continue;
    }
    call_passed();
    wakings_.wait(wakings);
    std::this_thread::sleep_for(kPause);
  }
}

void Epoch::wake() noexcept {
  wakings_.fetch_add(1);
  wakings_.notify_all();
}

Epoch::Stamp Epoch::stamp() noexcept {
  // Whoever begins a grace period after the load below sees what was taken out before it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const Stamp stamp = started_.load() + 1;
  std::uint64_t wanted = wanted_.load(std::memory_order_relaxed);
  while (wanted < stamp) {
    if (wanted_.compare_exchange_weak(wanted, stamp)) break;
  }
  return stamp;
}

bool Epoch::has_passed(Stamp stamp) const noexcept {
  if (completed_.load(std::memory_order_acquire) >= stamp) return true;
  // The usual answer to a reader that asks, without a fence.
  if (online_.load(std::memory_order_relaxed) != 0) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return online_.load() == 0;
}

void Epoch::synchronize() noexcept {
  LMN_DCHECK(online_here == 0);
  const std::uint64_t number = started_.fetch_add(1) + 1;
  urcu_qsbr_synchronize_rcu();
  tell_acquired(&grace_period_tag);
  complete(number);
}

void Epoch::complete(Stamp number) noexcept {
  std::uint64_t completed = completed_.load();
  while (completed < number && !completed_.compare_exchange_weak(completed, number)) {
  }
}

// By a reader at its pass. What bears a stamp up to `number` was taken out before that number was
// given, and who comes online later finds it no more; so if nobody else is online now, nobody sees
// it. With others it is the thread's.
void Epoch::pass_alone() noexcept {
  if (online_.load() != 1) return wake();
  const std::uint64_t number = started_.fetch_add(1) + 1;
  if (online_.load() == 1) complete(number);
}

void Epoch::retire(Release release) {
  if (!put_on_list(release)) return release();
  wake();
}

// False, and `release` stays the caller's, when nothing is to be waited for.
bool Epoch::put_on_list(Release& release) {
  const MutexGuard guard(lock_);
  const Stamp given = stamp();
  if (retired_.empty() && has_passed(given)) return false;
  ++retired_count_;
  retired_.push_back({given, std::move(release)});
  if (!is_stopping_.load()) start_thread();
  return true;
}

// Stamps only grow along the list, so what has passed is its front.
void Epoch::call_passed() noexcept {
  std::vector<Retired> passed;
  {
    const MutexGuard guard(lock_);
    auto end = retired_.begin();
    while (end != retired_.end() && has_passed(end->stamp)) ++end;
    passed.assign(std::move_iterator(retired_.begin()), std::move_iterator(end));
    retired_.erase(retired_.begin(), end);
  }
  for (Retired& one : passed) {
    one.release();
    one.release = nullptr;
    called_count_.fetch_add(1);
    called_count_.notify_all();
  }
}

void Epoch::wait_for_retired() noexcept {
  LMN_DCHECK(online_here == 0);
  std::uint64_t wanted = 0;
  {
    const MutexGuard guard(lock_);
    wanted = retired_count_;
  }
  for (std::uint64_t called = called_count_.load(); called < wanted;
       called = called_count_.load()) {
    called_count_.wait(called);
  }
}

bool Epoch::is_reader_here() noexcept { return online_here != 0; }

EpochReader::EpochReader(Epoch& epoch) noexcept : epoch_(epoch) {
  make_thread_known();
  go_online();
}

EpochReader::~EpochReader() { go_offline(); }

void EpochReader::pass() noexcept {
  if (online_here == 1) {
    tell_released(&grace_period_tag);
    urcu_qsbr_quiescent_state();
  }
  if (epoch_.is_wanted()) [[unlikely]]
    epoch_.pass_alone();
}

void EpochReader::go_offline() noexcept {
  if (!is_online_) return;
  is_online_ = false;
  if (--online_here == 0) {
    tell_released(&grace_period_tag);
    urcu_qsbr_thread_offline();
  }
  epoch_.online_.fetch_sub(1);
}

void EpochReader::go_online() noexcept {
  if (is_online_) return;
  is_online_ = true;
  epoch_.online_.fetch_add(1);
  // Both are full barriers: what is looked up from here on is looked up after it was counted.
  if (online_here++ == 0) {
    urcu_qsbr_thread_online();
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

}  // namespace lmn
