// SPDX-License-Identifier: Apache-2.0
//
// The thread that reads, and the hand-over. Tested by tests/differential/host_tables_test.cc.
#include "engine/host_follower.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace lmn {

Result<std::unique_ptr<HostFollower>> HostFollower::start(const HostFollowOptions& options,
                                                          Log& log) {
  // Watching begins before the first reading: a change in between is read again.
  LMN_TRY(HostWatch watch, HostWatch::create());
  std::unique_ptr<HostFollower> follower(new HostFollower(options, log, std::move(watch)));
  follower->wakeup_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!follower->wakeup_.is_open()) return make_error(system_error("eventfd", errno));
  LMN_TRY(follower->current_, follower->read());
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

Result<std::unique_ptr<HostFollower::Tables>> HostFollower::read() {
  auto tables = std::make_unique<Tables>();
  if (options_.routes) {
    std::vector<std::string> left_out;
    LMN_TRY(RouteTable routes, RouteTable::from_host(left_out));
    tables->routes = std::make_unique<RouteTable>(std::move(routes));
    if (left_out != told_) {
      for (const std::string& what : left_out) {
        log_.write(fmt::format("routes of the host: left out: {}", what));
      }
      told_ = left_out;
    }
  }
  if (options_.sockets) {
    LMN_TRY(SocketTable sockets, SocketTable::from_host());
    tables->sockets = std::make_unique<SocketTable>(std::move(sockets));
  }
  return tables;
}

// True: read again; false: stop.
bool HostFollower::wait_for_change(const std::stop_token& stop) {
  constexpr int kForever = -1;
  std::array<pollfd, 2> fds = {pollfd{wakeup_.get(), POLLIN, 0}, pollfd{watch_.fd(), POLLIN, 0}};
  while (!stop.stop_requested()) {
    const int ready = ::poll(fds.data(), fds.size(), options_.sockets ? kSocketsMs : kForever);
    if (stop.stop_requested()) return false;
    if (ready == 0) return true;  // sockets
    if ((fds[1].revents & POLLIN) == 0) continue;
    // Let what comes together come; the wake-up ends this wait too.
    ::poll(fds.data(), 1, kSettleMs);
    if (watch_.take_changes() && options_.routes) return true;
  }
  return false;
}

void HostFollower::follow(const std::stop_token& stop) {
  while (wait_for_change(stop)) {
    auto tables = read();
    if (tables) {
      lay_out(std::move(*tables));
    } else {
      log_.write(fmt::format("{}; the last ones stay in use", tables.error().to_string()));
    }
  }
}

void HostFollower::lay_out(std::unique_ptr<Tables> tables) {
  const std::unique_ptr<Tables> used_before(retired_.exchange(nullptr, std::memory_order_acq_rel));
  const std::unique_ptr<Tables> never_taken(
      next_.exchange(tables.release(), std::memory_order_acq_rel));
}

void HostFollower::refresh(RunContext& context) noexcept {
  const bool has_next = next_.load(std::memory_order_relaxed) != nullptr;
  if (has_next && retired_.load(std::memory_order_acquire) == nullptr) {
    std::unique_ptr<Tables> next(next_.exchange(nullptr, std::memory_order_acq_rel));
    if (next != nullptr) {
      if (next->sockets != nullptr && current_->sockets != nullptr) {
        next->sockets->take_cookie_times(*current_->sockets);
      }
      retired_.store(current_.release(), std::memory_order_release);
      current_ = std::move(next);
    }
  }
  if (current_->routes != nullptr) context.routes = current_->routes.get();
  if (current_->sockets != nullptr) context.sockets = current_->sockets.get();
}

}  // namespace lmn
