// SPDX-License-Identifier: Apache-2.0
//
// Which queues there are, and when one can go. Tested by cpu_queues_test.cc.
#include "engine/cpu_queues.h"

#include <algorithm>

#include "base/assert.h"

namespace lmn {

CpuQueues::~CpuQueues() { shut_down(); }

void CpuQueues::set_worker(Worker* worker, const RunContext& context) {
  worker_ = worker;
  worker_cpu_ = context.cpu;
  tables_.store(context);
  set_context(context);
}

void CpuQueues::set_context(const RunContext& context) {
  const MutexGuard guard(lock_);
  context_ = context;
  context_.tables = nullptr;  // asked by the worker, who publishes what it was told
  for (const auto& cpu : cpus_) {
    if (cpu->thread != nullptr) {
      cpu->thread->set_context(context_);
      continue;
    }
    const PrandomState prandom = cpu->context.prandom;
    const std::uint64_t trapped_count = cpu->context.trapped_count;
    cpu->context = context_;
    cpu->context.prandom = prandom;
    cpu->context.trapped_count = trapped_count;
    cpu->context.cpu = cpu->number;
  }
}

CpuQueues::Cpu* CpuQueues::find_or_make_cpu(std::uint32_t number) noexcept {
  const auto found =
      std::ranges::find_if(cpus_, [number](const auto& cpu) { return cpu->number == number; });
  Cpu* cpu = found != cpus_.end() ? found->get() : nullptr;
  if (cpu == nullptr) {
    cpus_.push_back(std::make_unique<Cpu>(Cpu{number, nullptr, context_, {}}));
    cpu = cpus_.back().get();
    cpu->context.cpu = number;
    // A stream of its own: two CPUs that draw the same numbers would choose alike.
    cpu->context.prandom.seed(context_.prandom.s[0] + (std::uint64_t{number} << 32));
  }
  const bool needs_thread = has_threads_ && number != worker_cpu_ && cpu->thread == nullptr;
  if (!needs_thread) return cpu;
  auto thread = CpuThread::start(cpu->context, epoch_, tables_, worker_);
  if (!thread) return nullptr;
  cpu->thread = std::move(*thread);
  return cpu;
}

CpuQueue* CpuQueues::acquire(std::uint32_t cpu, std::uint32_t queue_size,
                             const ProgramEntry* program) noexcept {
  const MutexGuard guard(lock_);
  sweep_locked();
  Cpu* place = find_or_make_cpu(cpu);
  if (place == nullptr) return nullptr;
  SleepBell* bell = place->thread != nullptr ? &place->thread->bell() : nullptr;
  entries_.push_back({std::make_unique<CpuQueue>(cpu, queue_size, program, bell), place});
  CpuQueue* queue = entries_.back().queue.get();
  tell_lists(*place);
  return queue;
}

void CpuQueues::release(FrameSink* queue) noexcept {
  const MutexGuard guard(lock_);
  const auto found =
      std::ranges::find_if(entries_, [&](const Entry& one) { return one.queue.get() == queue; });
  LMN_ASSERT(found != entries_.end());
  LMN_ASSERT(found->stage == Stage::kUsed);
  found->stage = Stage::kReleased;
  found->stamp = epoch_.stamp();
  has_released_.store(true, std::memory_order_relaxed);
  sweep_locked();
}

// The lists of the worker and of the CPU's thread, as the entries are now.
void CpuQueues::tell_lists(const Cpu& cpu) noexcept {
  list_.clear();
  std::vector<CpuQueue*> of_thread;
  for (const Entry& entry : entries_) {
    if (entry.stage == Stage::kUnlinked) continue;
    list_.push_back(
        {entry.queue.get(), entry.cpu->thread == nullptr ? &entry.cpu->context : nullptr});
    if (entry.cpu == &cpu) of_thread.push_back(entry.queue.get());
  }
  list_number_.fetch_add(1, std::memory_order_release);
  if (cpu.thread != nullptr) cpu.thread->set_queues(std::move(of_thread));
}

// The next stage of an entry, if its time has come; true when it can be freed.
bool CpuQueues::advance(Entry& entry) noexcept {
  if (entry.stage == Stage::kUsed) return false;
  if (is_shut_down_) return true;
  if (!epoch_.has_passed(entry.stamp)) return false;
  if (entry.stage == Stage::kUnlinked) return true;
  if (entry.queue->pending() > 0) return false;
  entry.stage = Stage::kUnlinked;
  tell_lists(*entry.cpu);
  entry.stamp = epoch_.stamp();
  return epoch_.has_passed(entry.stamp);
}

void CpuQueues::free_entry(Entry& entry) noexcept {
  const CounterSnapshot counters = entry.queue->counters().snapshot();
  for (std::size_t i = 0; i < kCounterCount; ++i) entry.cpu->gone[i] += counters[i];
  const ProgramEntry* program = entry.queue->program();
  entry.queue.reset();
  if (program != nullptr) host_.release_program(program);
}

std::size_t CpuQueues::sweep_locked() noexcept {
  if (!has_released_.load(std::memory_order_relaxed)) return entries_.size();
  for (Entry& entry : entries_) {
    if (advance(entry)) free_entry(entry);
  }
  std::erase_if(entries_, [](const Entry& entry) { return entry.queue == nullptr; });
  has_released_.store(
      std::ranges::any_of(entries_, [](const Entry& entry) { return entry.stage != Stage::kUsed; }),
      std::memory_order_relaxed);
  return entries_.size();
}

std::size_t CpuQueues::sweep() noexcept {
  const MutexGuard guard(lock_);
  return sweep_locked();
}

void CpuQueues::shut_down() noexcept {
  const MutexGuard guard(lock_);
  for (const auto& cpu : cpus_) cpu->thread.reset();
  is_shut_down_ = true;
  sweep_locked();
}

std::vector<CpuStats> CpuQueues::stats() const {
  const MutexGuard guard(lock_);
  std::vector<CpuStats> all;
  for (const auto& cpu : cpus_) {
    CpuStats stats{cpu->number, cpu->thread != nullptr, cpu->gone, 0};
    for (const Entry& entry : entries_) {
      if (entry.cpu != cpu.get()) continue;
      const CounterSnapshot counters = entry.queue->counters().snapshot();
      for (std::size_t i = 0; i < kCounterCount; ++i) stats.counters[i] += counters[i];
      stats.held_count += entry.queue->pending();
    }
    all.push_back(stats);
  }
  std::ranges::sort(all, {}, &CpuStats::cpu);
  return all;
}

std::uint64_t CpuQueues::frames_held() const {
  const MutexGuard guard(lock_);
  std::uint64_t held = 0;
  for (const Entry& entry : entries_) held += entry.queue->pending();
  return held;
}

std::size_t CpuQueues::queue_count() const {
  const MutexGuard guard(lock_);
  return entries_.size();
}

std::span<const CpuQueueSource::Served> CpuQueues::queues() noexcept {
  if (list_number_.load(std::memory_order_acquire) != served_number_) {
    const MutexGuard guard(lock_);
    served_ = list_;
    served_number_ = list_number_.load(std::memory_order_relaxed);
  }
  return served_;
}

void CpuQueues::publish_tables(const RunContext& worker) noexcept {
  tables_.store(worker);
  for (const Served& served : served_) {
    if (served.context != nullptr) tables_.load(*served.context);
  }
}

void CpuQueues::on_idle() noexcept {
  if (!has_released_.load(std::memory_order_relaxed) || !lock_.try_lock()) return;
  sweep_locked();
  lock_.unlock();
}

}  // namespace lmn
