// SPDX-License-Identifier: Apache-2.0
//
// The loop of a CPU. Tested by cpu_queue_test.cc.
#include "dataplane/cpu_thread.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>

#include "dataplane/worker.h"

namespace lmn {
namespace {

void name_and_bind(std::uint32_t cpu) noexcept {
  std::array<char, 16> name{};
  fmt::format_to_n(name.data(), name.size() - 1, "cpumap/{}", cpu);
  ::pthread_setname_np(::pthread_self(), name.data());
  if (cpu >= CPU_SETSIZE) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // Refused where there is no such CPU, or it is not ours to use: then the thread is not bound.
  ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set);
}

}  // namespace

Result<std::unique_ptr<CpuThread>> CpuThread::start(const RunContext& context, Epoch& epoch,
                                                    const CpuTables& tables, Worker* worker) {
  std::unique_ptr<CpuThread> cpu(new CpuThread(context, epoch, tables, worker));
  cpu->order();
  if (const int error = ::pthread_create(&cpu->thread_, nullptr, entry, cpu.get()); error != 0) {
    cpu->thread_ = {};
    return make_errno_error(ErrorCode::kLimitExceeded, ENOMEM,
                            fmt::format("no thread for CPU {}", context.cpu));
  }
  // A caller that is told of a queue too early could take it back before anybody serves it.
  cpu->done_.wait(0);
  return cpu;
}

CpuThread::~CpuThread() {
  if (thread_ == pthread_t{}) return;
  is_stopping_.store(true, std::memory_order_release);
  order();
  ::pthread_join(thread_, nullptr);
}

void CpuThread::order() noexcept {
  ordered_.fetch_add(1, std::memory_order_acq_rel);
  bell_.ring();
}

void CpuThread::set_queues(std::vector<CpuQueue*> queues) noexcept {
  {
    const MutexGuard guard(lock_);
    next_queues_ = std::move(queues);
  }
  order();
  const std::uint64_t wanted = ordered_.load(std::memory_order_acquire);
  for (std::uint64_t done = done_.load(); done < wanted; done = done_.load()) done_.wait(done);
}

void CpuThread::set_context(const RunContext& context) noexcept {
  {
    const MutexGuard guard(lock_);
    next_context_ = context;
  }
  order();
}

void* CpuThread::entry(void* self) noexcept {
  static_cast<CpuThread*>(self)->run();
  return nullptr;
}

void CpuThread::take_orders() noexcept {
  const std::uint64_t ordered = ordered_.load(std::memory_order_acquire);
  {
    const MutexGuard guard(lock_);
    queues_ = next_queues_;
    const PrandomState prandom = context_.prandom;
    const std::uint64_t trapped_count = context_.trapped_count;
    context_ = next_context_;
    context_.prandom = prandom;
    context_.trapped_count = trapped_count;
    context_.cpu = cpu_;
  }
  done_.store(ordered, std::memory_order_release);
  done_.notify_all();
}

void CpuThread::run() noexcept {
  name_and_bind(cpu_);
  EpochReader reader(epoch_);
  while (true) {
    if (ordered_.load(std::memory_order_acquire) != done_.load(std::memory_order_relaxed)) {
      take_orders();
      if (is_stopping_.load(std::memory_order_acquire)) return;
    }
    if (!has_undelivered()) {
      reader.pass();
      bulk_count_ = 0;
    }
    if (run_queues() == 0) {
      rest(reader);
    } else if (worker_ != nullptr) {
      worker_->ring();
    }
  }
}

std::size_t CpuThread::run_queues() noexcept {
  if (bulk_count_ >= kBulksMax) return 0;
  std::size_t count = 0;
  tables_.load(context_);
  for (CpuQueue* queue : queues_) count += queue->run_bulk(batch_, context_);
  if (count > 0) ++bulk_count_;
  return count;
}

bool CpuThread::has_undelivered() const noexcept {
  return std::ranges::any_of(queues_,
                             [](const CpuQueue* queue) { return queue->has_undelivered(); });
}

bool CpuThread::must_get_up(bool was_settled) noexcept {
  if (ordered_.load(std::memory_order_acquire) != done_.load(std::memory_order_relaxed))
    return true;
  if (!was_settled && !has_undelivered()) return true;
  if (bulk_count_ >= kBulksMax) return false;
  return std::ranges::any_of(queues_, [](CpuQueue* queue) { return queue->has_work(); });
}

void CpuThread::rest(EpochReader& reader) noexcept {
  const bool is_settled = !has_undelivered();
  bell_.lie_down();
  if (must_get_up(is_settled)) return bell_.get_up();
  if (is_settled) reader.go_offline();
  bell_.sleep();
  if (is_settled) reader.go_online();
}

}  // namespace lmn
