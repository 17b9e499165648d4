// SPDX-License-Identifier: Apache-2.0
//
// The thread that reads and listens, and the hand-over. Tested by
// tests/differential/follow_host_test.cc and host_events_test.cc.
#include "engine/host_follower.h"

#include <fmt/format.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <utility>

#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr HostTable kTables[] = {HostTable::kRoutes, HostTable::kSockets, HostTable::kConntrack,
                                 HostTable::kFdb};
constexpr int kConntrackGroups[] = {NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE,
                                    NFNLGRP_CONNTRACK_DESTROY};
constexpr int kBridgeGroups[] = {RTNLGRP_NEIGH, RTNLGRP_LINK};
constexpr std::uint64_t kNever = UINT64_MAX;
constexpr std::uint64_t kRetryMs = 1000;
constexpr std::uint64_t kShareOfTime = 20;  // readings that nobody asked for take a twentieth
constexpr std::uint64_t kNsPerMs = 1'000'000;

std::uint64_t now_ms() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

std::string_view name_of(HostTable table) {
  switch (table) {
    case HostTable::kRoutes:
      return "routes";
    case HostTable::kSockets:
      return "sockets";
    case HostTable::kConntrack:
      return "connections";
    case HostTable::kFdb:
      return "bridges";
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<HostFollower>> HostFollower::start(const HostFollowOptions& options,
                                                          const HostFollowTables& tables,
                                                          Log& log) {
  std::unique_ptr<HostFollower> follower(new HostFollower(options, tables, log));
  follower->mirror(HostTable::kRoutes).is_followed = options.routes;
  follower->mirror(HostTable::kSockets).is_followed = options.sockets;
  follower->mirror(HostTable::kConntrack).is_followed = options.conntrack;
  follower->mirror(HostTable::kFdb).is_followed = options.fdb;
  follower->wakeup_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!follower->wakeup_.is_open()) return make_error(system_error("eventfd", errno));
  // Listening begins before the first reading: a change in between is heard of.
  LMN_CHECK_OK(follower->listen());
  for (const HostTable table : kTables) {
    if (follower->mirror(table).is_followed) LMN_CHECK_OK(follower->read(table));
  }
  follower->current_ = std::make_unique<Tables>(follower->latest_);
  follower->thread_ =
      std::jthread([raw = follower.get()](const std::stop_token& stop) { raw->follow(stop); });
  return follower;
}

HostFollower::~HostFollower() {
  thread_.request_stop();
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wakeup_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
  const std::unique_ptr<Tables> used_before(retired_.load());
  const std::unique_ptr<Tables> never_taken(next_.load());
}

Result<void> HostFollower::listen() {
  if (options_.routes) {
    LMN_TRY(watch_, HostWatch::create());
  }
  const auto listen_to = [&](HostTable table, int protocol,
                             std::span<const int> groups) -> Result<void> {
    if (!mirror(table).is_followed) return {};
    LMN_TRY(mirror(table).events,
            HostEvents::create({protocol, groups, name_of(table), options_.event_room_bytes}));
    return {};
  };
  LMN_CHECK_OK(listen_to(HostTable::kConntrack, NETLINK_NETFILTER, kConntrackGroups));
  return listen_to(HostTable::kFdb, NETLINK_ROUTE, kBridgeGroups);
}

// --- readings

Result<void> HostFollower::read_routes() {
  std::vector<std::string> left_out;
  LMN_TRY(RouteTable routes, RouteTable::from_host(left_out));
  latest_.routes = std::make_shared<RouteTable>(std::move(routes));
  if (left_out == told_) return {};
  for (const std::string& what : left_out) {
    log_.write(fmt::format("routes of the host: left out: {}", what));
  }
  told_ = left_out;
  return {};
}

Result<void> HostFollower::read_table(HostTable table) {
  switch (table) {
    case HostTable::kRoutes:
      return read_routes();
    case HostTable::kSockets: {
      LMN_TRY(SocketTable sockets, SocketTable::from_host());
      latest_.sockets = std::make_shared<SocketTable>(std::move(sockets));
      return {};
    }
    case HostTable::kConntrack: {
      const auto now = static_cast<std::uint32_t>(jiffies_of(*tables_.clock));
      LMN_TRY([[maybe_unused]] const std::size_t count, tables_.conntrack->read_host(now));
      return {};
    }
    case HostTable::kFdb:
      return tables_.fdb->read_host(tables_.clock->monotonic_ns());
  }
  return {};
}

// Reads a table, and says when it is to be read next though nothing was told.
Result<void> HostFollower::read(HostTable table) {
  Mirror& which = mirror(table);
  const std::uint64_t began_ms = now_ms();
  // What is lost from here on is lost anew.
  counters(table).is_behind.store(false, std::memory_order_relaxed);
  auto done = read_table(table);
  which.took_ms = now_ms() - began_ms;
  if (!done) {
    counters(table).is_behind.store(true, std::memory_order_relaxed);
    counters(table).failures.fetch_add(1, std::memory_order_relaxed);
    which.read_at_ms = now_ms() + std::max(kRetryMs, which.took_ms * kShareOfTime);
    return done;
  }
  counters(table).readings.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t period_ms = table == HostTable::kSockets ? kSocketsMs : options_.read_ms;
  const std::uint64_t wait_ms = std::max(period_ms, which.took_ms * kShareOfTime);
  which.read_at_ms = table == HostTable::kRoutes ? kNever : now_ms() + wait_ms;
  // What the host has may seem to be over until the reading after next.
  const std::uint64_t grace_ms = std::min<std::uint64_t>(2 * wait_ms + which.took_ms, INT_MAX);
  if (table == HostTable::kConntrack) {
    tables_.conntrack->set_host_grace(
        static_cast<std::uint32_t>(jiffies_from_ms(static_cast<std::uint32_t>(grace_ms))));
  }
  if (table == HostTable::kFdb) tables_.fdb->set_host_grace(grace_ms * kNsPerMs);
  return {};
}

void HostFollower::read_again(HostTable table) {
  Mirror& which = mirror(table);
  if (const auto done = read(table); !done) {
    const std::string message = done.error().to_string();
    if (message != which.told) {
      log_.write(fmt::format("{}; the last ones stay in use", message));
    }
    which.told = message;
    return;
  }
  which.told.clear();
  if (table != HostTable::kConntrack) return;
  const std::uint64_t no_room = tables_.conntrack->host_counts().no_room;
  if (no_room != 0 && no_room_told_ == 0) {
    log_.write("connections of the host: the table is full; not all of them are there");
  }
  no_room_told_ = no_room;
}

// Soon, but not before what comes together has come, nor without a pause as long as a reading.
void HostFollower::hurry(HostTable table) {
  Mirror& which = mirror(table);
  const std::uint64_t pause_ms = std::max<std::uint64_t>(kSettleMs, which.took_ms);
  which.read_at_ms = std::min(which.read_at_ms, now_ms() + pause_ms);
}

// --- events

void HostFollower::take_events(HostTable table) {
  Mirror& which = mirror(table);
  if (!which.events) return;
  bool reads_again = false;
  const auto visit = [&](std::uint16_t type, ByteSpan body) -> Result<void> {
    const Clock& clock = *tables_.clock;
    if (table == HostTable::kConntrack) {
      tables_.conntrack->take_host_event(type, body, static_cast<std::uint32_t>(jiffies_of(clock)));
    } else {
      const auto what = tables_.fdb->take_host_event(type, body, clock.monotonic_ns());
      reads_again = reads_again || what == FdbTable::HostEvent::kReadAgain;
    }
    return {};
  };
  const auto taken = which.events->take(visit);
  const bool is_lost = !taken || taken->is_lost;
  if (taken) counters(table).events.fetch_add(taken->messages, std::memory_order_relaxed);
  if (is_lost) {
    counters(table).is_behind.store(true, std::memory_order_relaxed);
    const auto count = counters(table).overflows.fetch_add(1, std::memory_order_relaxed) + 1;
    // Each time that it has happened twice as often: it may go on for ever.
    if (std::has_single_bit(count)) {
      log_.write(
          fmt::format("{} of the host: the kernel could not keep up with telling ({} times):"
                      " all are read again",
                      name_of(table), count));
    }
  }
  if (is_lost || reads_again) hurry(table);
}

// Until something comes, a reading is due, or the end. Route changes that come together are waited
// for.
void HostFollower::wait(const std::stop_token& stop) {
  std::array<pollfd, 4> fds{};
  std::size_t count = 0;
  fds[count++] = {wakeup_.get(), POLLIN, 0};
  if (watch_) fds[count++] = {watch_->fd(), POLLIN, 0};
  std::uint64_t next_ms = kNever;
  for (const Mirror& which : mirrors_) {
    if (which.events) fds[count++] = {which.events->fd(), POLLIN, 0};
    next_ms = std::min(next_ms, which.read_at_ms);
  }
  const std::uint64_t now = now_ms();
  const std::uint64_t left_ms = next_ms > now ? next_ms - now : 0;
  constexpr int kForever = -1;
  const int timeout =
      next_ms == kNever ? kForever : static_cast<int>(std::min<std::uint64_t>(left_ms, INT_MAX));
  ::poll(fds.data(), count, timeout);
  if (stop.stop_requested()) return;
  const bool has_routes = watch_ && (fds[1].revents & POLLIN) != 0;
  // The wake-up ends this wait too.
  if (has_routes) ::poll(fds.data(), 1, kSettleMs);
}

void HostFollower::take_what_came() {
  if (watch_ && watch_->take_changes()) mirror(HostTable::kRoutes).read_at_ms = 0;
  if (watch_) {
    counters(HostTable::kRoutes)
        .overflows.store(watch_->overflow_count(), std::memory_order_relaxed);
  }
  take_events(HostTable::kConntrack);
  take_events(HostTable::kFdb);
}

void HostFollower::follow(const std::stop_token& stop) {
  while (true) {
    wait(stop);
    if (stop.stop_requested()) return;
    take_what_came();
    const Tables before = latest_;
    for (const HostTable table : kTables) {
      if (mirror(table).is_followed && mirror(table).read_at_ms <= now_ms()) read_again(table);
    }
    const bool is_new = latest_.routes != before.routes || latest_.sockets != before.sockets;
    if (is_new) lay_out();
  }
}

// --- the hand-over

void HostFollower::lay_out() {
  std::unique_ptr<Tables> used_before(retired_.exchange(nullptr, std::memory_order_acq_rel));
  if (used_before != nullptr && tables_.epoch != nullptr) {
    // The worker tells the threads of CPU queues right after it took the new tables: one grace
    // period until it has, one until none of them uses the old.
    tables_.epoch->retire([epoch = tables_.epoch, old = std::move(used_before)]() mutable {
      epoch->retire([oldest = std::move(old)] {});
    });
  }
  const std::unique_ptr<Tables> never_taken(
      next_.exchange(new Tables(latest_), std::memory_order_acq_rel));
}

void HostFollower::refresh(RunContext& context) noexcept {
  const bool has_next = next_.load(std::memory_order_relaxed) != nullptr;
  if (replaced_ != nullptr) {
    if (retired_.load(std::memory_order_acquire) == nullptr) {
      retired_.store(replaced_.release(), std::memory_order_release);
    }
  } else if (has_next) {
    std::unique_ptr<Tables> next(next_.exchange(nullptr, std::memory_order_acq_rel));
    if (next != nullptr) {
      const bool has_new_sockets = next->sockets != current_->sockets;
      if (has_new_sockets) next->sockets->take_cookie_times(*current_->sockets);
      replaced_ = std::exchange(current_, std::move(next));
    }
  }
  if (current_->routes != nullptr) context.routes = current_->routes.get();
  if (current_->sockets != nullptr) context.sockets = current_->sockets.get();
}

HostTableStats HostFollower::stats(HostTable table) const noexcept {
  const Counters& of = counters_[static_cast<std::size_t>(table)];
  return {of.events.load(std::memory_order_relaxed), of.overflows.load(std::memory_order_relaxed),
          of.readings.load(std::memory_order_relaxed), of.failures.load(std::memory_order_relaxed),
          of.is_behind.load(std::memory_order_relaxed)};
}

}  // namespace lmn
