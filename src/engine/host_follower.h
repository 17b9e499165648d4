// SPDX-License-Identifier: Apache-2.0
//
// HostFollower: keeps an engine's routes and sockets as the host has them, while it runs.
//
// A thread of its own waits for the kernel to tell of a change (HostWatch), reads the tables anew
// and lays them out; the worker takes them between two rounds. So packets never wait for a dump, a
// batch sees one state of the tables from its first packet to its last, and the old tables are
// freed where they were made, not on the data path. Changes that come together are read once:
// kSettleMs after the first. The kernel does not tell of new sockets, which are read every
// kSocketsMs.
//
// A table is read whole for each change. With a million routes that is seconds of the thread, in
// which packets go by the old ones; a table that cannot be read leaves the last one in use and is
// logged.
//
// Invariants: (1) what `current_` holds is not touched by the thread; (2) the worker never waits:
// it takes what is laid out only when what it gave back before is freed.
// Threads: start, stop: control; refresh: the one worker (or test run). Not done yet: several
// workers, changes read one by one.
// Tested by tests/differential/host_tables_test.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "packet/host_watch.h"
#include "packet/route_table.h"
#include "packet/run_context.h"
#include "packet/socket_table.h"

namespace lmn {

struct HostFollowOptions {
  bool routes = false;
  bool sockets = false;
};

class HostFollower final : public TableSource {
 public:
  static constexpr int kSettleMs = 20;
  static constexpr int kSocketsMs = 200;

  // Reads the tables for the first time and goes on from there. Errors: kPermission, kIo.
  static Result<std::unique_ptr<HostFollower>> start(const HostFollowOptions& options, Log& log);
  ~HostFollower() override;
  HostFollower(const HostFollower&) = delete;
  HostFollower& operator=(const HostFollower&) = delete;

  void refresh(RunContext& context) noexcept override;

 private:
  struct Tables {
    std::unique_ptr<RouteTable> routes;    // null: not followed
    std::unique_ptr<SocketTable> sockets;  // null: not followed
  };

  HostFollower(const HostFollowOptions& options, Log& log, HostWatch watch)
      : options_(options), log_(log), watch_(std::move(watch)) {}
  Result<std::unique_ptr<Tables>> read();
  void follow(const std::stop_token& stop);
  bool wait_for_change(const std::stop_token& stop);
  void lay_out(std::unique_ptr<Tables> tables);

  const HostFollowOptions options_;
  Log& log_;
  HostWatch watch_;
  UniqueFd wakeup_;
  std::vector<std::string> told_;  // what was left out, as it was logged last

  std::atomic<Tables*> next_{nullptr};     // laid out by the thread, not taken yet
  std::atomic<Tables*> retired_{nullptr};  // given back by the worker, to be freed by the thread
  std::unique_ptr<Tables> current_;        // the worker's
  std::jthread thread_;
};

}  // namespace lmn
