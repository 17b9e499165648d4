// SPDX-License-Identifier: Apache-2.0
//
// The polling loop. Tested by dataplane_test.cc.
#include "dataplane/worker.h"

#include <linux/bpf.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "exec/run_deferred.h"
#include "packet/action.h"

namespace lmn {
namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kSleepMaxMs = 100;  // a belt: a lost wake-up costs at most this
constexpr std::size_t kPollFdsMax = 256;
// Frames that CPU queues may give without any coming in: more than all queues hold. What goes on
// after that goes round in circles.
constexpr std::uint64_t kCircleFramesMin = 1u << 20;

bool holds_frames(const CpuQueue& queue) noexcept { return queue.pending() > 0; }

}  // namespace

// Says what the worker's thread uses, while there is an Epoch to say it to.
class Worker::Turn {
 public:
  explicit Turn(Worker& worker) : worker_(worker) {
    worker_.enter();
    if (worker_.epoch_ != nullptr) reader_.emplace(*worker_.epoch_);
  }
  ~Turn() {
    reader_.reset();
    worker_.leave();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  // Nothing of before is used from here on.
  void pass() noexcept {
    if (reader_) reader_->pass();
  }
  void go_offline() noexcept {
    if (reader_) reader_->go_offline();
  }
  void go_online() noexcept {
    if (reader_) reader_->go_online();
  }

 private:
  Worker& worker_;
  std::optional<EpochReader> reader_;
};

Result<std::unique_ptr<Worker>> Worker::create(const RunContext& context, Epoch* epoch) {
  LMN_ASSERT(context.clock != nullptr);
  std::unique_ptr<Worker> worker(new Worker(context, epoch));
  worker->wakeup_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!worker->wakeup_.is_open()) return make_error(system_error("eventfd", errno));
  return worker;
}

void Wiring::add_port(Port& port, const Dispatcher* dispatcher, FrameSink* pass_sink) {
  LMN_ASSERT(bindings.size() + 1 < kPollFdsMax);
  bindings.push_back({.port = &port,
                      .rx = &port.rx_queue(),
                      .dispatcher = dispatcher != nullptr ? *dispatcher : Dispatcher{},
                      .targets = {&port.tx_queue(), pass_sink}});
}

void Worker::add_port(Port& port, const Dispatcher* dispatcher, FrameSink* pass_sink) {
  LMN_ASSERT(wiring_.load(std::memory_order_relaxed) == nullptr);
  own_wiring_.add_port(port, dispatcher, pass_sink);
}

const Wiring* Worker::exchange_wiring(const Wiring* wiring) noexcept {
  const Wiring* const before = wiring_.exchange(wiring, std::memory_order_acq_rel);
  wiring_number_.fetch_add(1, std::memory_order_release);
  return before;
}

const Wiring& Worker::wiring() const noexcept {
  const Wiring* given = wiring_.load(std::memory_order_acquire);
  return given != nullptr ? *given : own_wiring_;
}

// Whoever does a chore here is quick; the loop is for that.
void Worker::enter() noexcept {
  while (!try_enter()) ::sched_yield();
}

bool Worker::try_enter() noexcept {
  const SpinGuard guard(chores_lock_);
  return !std::exchange(is_occupied_, true);
}

void Worker::leave() {
  while (true) {
    {
      const SpinGuard guard(chores_lock_);
      if (chores_.empty()) {
        is_occupied_ = false;
        return;
      }
    }
    do_chores();
  }
}

void Worker::do_chores() {
  std::vector<const std::function<void()>*> chores;
  {
    const SpinGuard guard(chores_lock_);
    chores.swap(chores_);
    has_chores_.store(false, std::memory_order_relaxed);
  }
  for (const std::function<void()>* chore : chores) (*chore)();
  chores_done_.fetch_add(chores.size());
  chores_done_.notify_all();
}

void Worker::between_rounds(const std::function<void()>& chore) {
  std::uint64_t mine = 0;
  {
    const SpinGuard guard(chores_lock_);
    chores_.push_back(&chore);
    mine = ++chores_asked_;
    has_chores_.store(true, std::memory_order_relaxed);
    if (!std::exchange(is_occupied_, true)) mine = 0;
  }
  // Nobody is there: this thread does what the worker would, and leaves as it would.
  if (mine == 0) return leave();
  wake();
  for (std::uint64_t done = chores_done_.load(); done < mine; done = chores_done_.load()) {
    chores_done_.wait(done);
  }
}

std::size_t Worker::poll_once(std::uint64_t packet_budget) noexcept {
  Turn turn(*this);
  const std::size_t received = poll_round(turn, packet_budget);
  serve_cpu_queues(turn);
  return received;
}

// What waits now is run; what that redirects into another queue has its turn in the next round.
std::size_t Worker::serve_cpu_queues(Turn& turn) noexcept {
  if (cpu_queues_ == nullptr) return 0;
  const std::span<const CpuQueueSource::Served> queues = cpu_queues_->queues();
  if (queues.empty()) return 0;
  std::size_t count = 0;
  for (const auto& [queue, context] : queues) {
    for (std::size_t left = context != nullptr ? queue->waiting() : 0; left > 0;) {
      left -= std::min(left, queue->run_bulk(batch_, *context));
      count += deliver_results(*queue, wiring(), batch_, context_, flush_);
    }
    count += deliver_results(*queue, wiring(), batch_, context_, flush_);
  }
  if (count == 0) return 0;
  flush_.flush_all();
  for (const auto& served : queues) served.queue->set_delivered();
  turn.pass();
  return count;
}

bool Worker::cpu_queues_hold(bool (*what)(const CpuQueue&)) noexcept {
  return cpu_queues_ != nullptr &&
         std::ranges::any_of(cpu_queues_->queues(),
                             [what](const auto& served) { return what(*served.queue); });
}

// The end of a run: nothing stays in a CPU queue. Circles are cut.
void Worker::empty_cpu_queues(Turn& turn) noexcept {
  std::uint64_t served = 0;
  while (cpu_queues_hold(holds_frames)) {
    if (served >= kCircleFramesMin) {
      for (const auto& one : cpu_queues_->queues()) one.queue->set_closed(true);
    }
    const std::size_t now = serve_cpu_queues(turn);
    served += now;
    if (now == 0) sleep(turn, UINT64_MAX);
  }
  if (served < kCircleFramesMin) return;
  for (const auto& one : cpu_queues_->queues()) one.queue->set_closed(false);
}

std::size_t Worker::poll_round(Turn& turn, std::uint64_t packet_budget) noexcept {
  std::size_t received = 0;
  if (has_chores_.load(std::memory_order_relaxed)) [[unlikely]]
    do_chores();
  if (context_.tables != nullptr) context_.tables->refresh(context_);
  if (cpu_queues_ != nullptr) cpu_queues_->publish_tables(context_);
  const std::uint64_t number = wiring_number_.load(std::memory_order_acquire);
  for (const Wiring::Binding& binding : wiring().bindings) {
    batch_.limit = static_cast<std::size_t>(
        std::min<std::uint64_t>(limits::kBatchSize, packet_budget - received));
    if (batch_.limit == 0) break;
    if (binding.rx->receive(batch_) == 0) continue;
    received += batch_.count;
    process(binding);
    run_deferred_calls(context_);
    turn.pass();
    // If it was replaced it may be gone by now: the rest of the round is the next one's.
    if (wiring_number_.load(std::memory_order_acquire) != number) return received;
  }
  if (received > 0) return received;
  run_deferred_calls(context_);
  turn.pass();
  return received;
}

void Worker::process(const Wiring::Binding& binding) noexcept {
  Counters& counters = binding.rx->counters();
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < batch_.count; ++i) bytes += batch_.buffs[i].length();
  counters.add(Counter::kRxPackets, batch_.count);
  counters.add(Counter::kRxBytes, bytes);
  const std::uint64_t trapped_before = context_.trapped_count;
  run_dispatcher(binding.dispatcher);
  counters.add(Counter::kXdpTrapped, context_.trapped_count - trapped_before);
  deliver(batch_, binding.targets, context_, counters, flush_);
  flush_.flush_all();
}

void Worker::run_dispatcher(const Dispatcher& dispatcher) noexcept {
  if (dispatcher.program != nullptr) {
    context_.program_name = dispatcher.program_name;
    dispatcher.program->run_batch(batch_, context_);
    return;
  }
  std::fill_n(batch_.verdicts.begin(), batch_.count, static_cast<std::uint32_t>(XDP_PASS));
}

RunEnd Worker::run(const RunLimits& limits) noexcept {
  Turn turn(*this);
  const RunEnd end = run_rounds(turn, limits);
  empty_cpu_queues(turn);
  return end;
}

RunEnd Worker::run_rounds(Turn& turn, const RunLimits& limits) noexcept {
  const std::uint64_t packets_max =
      limits.packet_count_max == 0 ? UINT64_MAX : limits.packet_count_max;
  const std::uint64_t end_ns = limits.duration_ns_max == 0
                                   ? UINT64_MAX
                                   : context_.clock->monotonic_ns() + limits.duration_ns_max;
  std::uint64_t received = 0;
  std::uint64_t served = 0;  // of CPU queues, since a frame came in
  while (true) {
    if (is_stopping_.exchange(false, std::memory_order_acquire)) return RunEnd::kStopped;
    if (received >= packets_max) return RunEnd::kPacketCount;
    if (end_ns != UINT64_MAX && context_.clock->monotonic_ns() >= end_ns) return RunEnd::kDuration;
    const std::size_t now = poll_round(turn, packets_max - received);
    const std::size_t served_now = serve_cpu_queues(turn);
    received += now;
    served = now > 0 ? 0 : served + served_now;
    if (now > 0 || (served_now > 0 && served < kCircleFramesMin)) continue;
    const bool is_circle = served >= kCircleFramesMin;
    if (all_exhausted() && !flush_pending() && (is_circle || !cpu_queues_hold(holds_frames))) {
      return RunEnd::kInputEnded;
    }
    sleep(turn, end_ns);
  }
}

bool Worker::all_exhausted() const noexcept {
  return std::ranges::all_of(
      wiring().bindings, [](const Wiring::Binding& binding) { return binding.rx->is_exhausted(); });
}

// Tries again to send what transmit queues hold back; true when something is still held.
bool Worker::flush_pending() noexcept {
  bool pending = false;
  for (const Wiring::Binding& binding : wiring().bindings) {
    TxQueue& tx = binding.port->tx_queue();
    if (tx.pending() == 0) continue;
    tx.flush();
    pending = pending || tx.pending() != 0;
  }
  return pending;
}

void Worker::sleep(Turn& turn, std::uint64_t until_ns) noexcept {
  std::array<pollfd, kPollFdsMax> fds;
  std::size_t count = 0;
  fds[count++] = {wakeup_.get(), POLLIN, 0};
  for (const Wiring::Binding& binding : wiring().bindings) {
    const int fd = binding.rx->poll_fd();
    if (fd >= 0 && !binding.rx->is_exhausted()) fds[count++] = {fd, POLLIN, 0};
  }
  std::uint64_t timeout_ms = flush_pending() ? 1 : kSleepMaxMs;
  if (until_ns != UINT64_MAX) {
    const std::uint64_t now_ns = context_.clock->monotonic_ns();
    const std::uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    timeout_ms = std::min(timeout_ms, left_ns / kNsPerMs + 1);
  }
  // A timer that is due is as good as a packet.
  const std::uint64_t due_ns =
      context_.deferred != nullptr ? context_.deferred->next_due_ns() : UINT64_MAX;
  if (due_ns != UINT64_MAX) {
    const std::uint64_t now_ns = context_.clock->monotonic_ns();
    const std::uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
    timeout_ms = std::min(timeout_ms, (left_ns + kNsPerMs - 1) / kNsPerMs);
  }
  // A port that goes meanwhile takes its descriptor along; whoever takes it out wakes this worker.
  if (!may_sleep()) return;
  turn.go_offline();
  ::poll(fds.data(), count, static_cast<int>(timeout_ms));
  is_asleep_.store(false, std::memory_order_relaxed);
  turn.go_online();
  if ((fds[0].revents & POLLIN) != 0) {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t got = ::read(wakeup_.get(), &ignored, sizeof ignored);
  }
}

// False when a CPU queue has brought results since the last round: who brings some after this look
// sees that the worker sleeps (base/sleep_bell.h has the same argument).
bool Worker::may_sleep() noexcept {
  if (cpu_queues_ == nullptr) return true;
  cpu_queues_->on_idle();
  is_asleep_.exchange(true, std::memory_order_acq_rel);
  if (!cpu_queues_hold([](const CpuQueue& queue) { return queue.has_results(); })) return true;
  is_asleep_.store(false, std::memory_order_relaxed);
  return false;
}

void Worker::stop() noexcept {
  is_stopping_.store(true, std::memory_order_release);
  wake();
}

void Worker::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wakeup_.get(), &one, sizeof one);
}

void Worker::ring() noexcept {
  if (is_asleep_.exchange(false, std::memory_order_acq_rel)) wake();
}

}  // namespace lmn
