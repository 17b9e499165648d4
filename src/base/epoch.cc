// SPDX-License-Identifier: Apache-2.0
//
// Epoch over liburcu's QSBR flavour. Tested by epoch_test.cc.
#include "base/epoch.h"

#include <urcu/urcu-qsbr.h>

#include <chrono>

#include "base/assert.h"

namespace lmn {
namespace {

// How many online readers this thread has: liburcu knows a thread, not its readers.
thread_local std::uint32_t online_here = 0;   // tidy:allow(thread-local) liburcu has it so too
thread_local std::uint32_t readers_here = 0;  // tidy:allow(thread-local) the same

// Grace periods follow each other no faster than this: who frees much frees it together.
constexpr auto kPause = std::chrono::microseconds(500);

}  // namespace

Epoch::~Epoch() {
  stop();
  LMN_ASSERT(online_.load() == 0);
}

void Epoch::start() {
  LMN_ASSERT(!thread_.joinable());
  is_stopping_ = false;
  thread_ = std::thread([this] { run(); });
}

void Epoch::stop() noexcept {
  if (!thread_.joinable()) return;
  is_stopping_ = true;
  wanted_.fetch_add(1);  // wakes it
  wanted_.notify_all();
  thread_.join();
}

void Epoch::run() noexcept {
  while (!is_stopping_.load()) {
    const std::uint64_t wanted = wanted_.load();
    if (wanted <= completed_.load()) {
      wanted_.wait(wanted);
      continue;
    }
    synchronize();
    std::this_thread::sleep_for(kPause);
  }
}

Epoch::Stamp Epoch::stamp() noexcept {
  const Stamp stamp = started_.load() + 1;
  std::uint64_t wanted = wanted_.load(std::memory_order_relaxed);
  while (wanted < stamp) {
    if (!wanted_.compare_exchange_weak(wanted, stamp)) continue;
    wanted_.notify_one();
    break;
  }
  return stamp;
}

bool Epoch::has_passed(Stamp stamp) const noexcept {
  if (completed_.load(std::memory_order_acquire) >= stamp) return true;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return online_.load() == 0;
}

void Epoch::synchronize() noexcept {
  const std::uint64_t number = started_.fetch_add(1) + 1;
  urcu_qsbr_synchronize_rcu();
  std::uint64_t completed = completed_.load();
  while (completed < number && !completed_.compare_exchange_weak(completed, number)) {
  }
}

EpochReader::EpochReader(Epoch& epoch) noexcept : epoch_(epoch) {
  if (readers_here++ == 0) {
    urcu_qsbr_register_thread();
    urcu_qsbr_thread_offline();
  }
  go_online();
}

EpochReader::~EpochReader() {
  go_offline();
  if (--readers_here == 0) urcu_qsbr_unregister_thread();
}

void EpochReader::pass() noexcept { urcu_qsbr_quiescent_state(); }

void EpochReader::go_offline() noexcept {
  if (!is_online_) return;
  is_online_ = false;
  if (--online_here == 0) urcu_qsbr_thread_offline();
  epoch_.online_.fetch_sub(1);
}

void EpochReader::go_online() noexcept {
  if (is_online_) return;
  is_online_ = true;
  epoch_.online_.fetch_add(1);
  if (online_here++ == 0) urcu_qsbr_thread_online();
}

}  // namespace lmn
