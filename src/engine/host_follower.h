// SPDX-License-Identifier: Apache-2.0
//
// HostFollower: keeps an engine's tables as the host has them, while it runs: routes, sockets,
// connections, bridges.
//
// A thread of its own waits for the kernel to tell of changes. Two kinds of tables are kept in two
// ways. Routes and sockets are only read by programs: the thread reads them anew (HostWatch says
// when) and lays them out, the worker takes them between two rounds. So packets never wait for a
// dump, a batch sees one state from its first packet to its last, and the old ones are freed where
// they were made. Connections and bridge entries are written by programs too: each message of the
// kernel's (HostEvents) is taken into the table that is there, under its lock, and who wins where
// both sides wrote is said in conntrack_table.h and fdb_table.h.
//
// How far behind a table can be, with d the time that one reading takes:
//   routes      20 ms after the first change (kSettleMs) + d
//   sockets     0.2 s (kSocketsMs) or 20 d, whichever is longer, + d: the kernel tells nobody
//   connections what an event tells: at once. What none tells (packets that make a connection live
//               longer; connections older than this follower, if the kernel keeps events for those
//               that listen only, nf_conntrack_events 2): kReadMs or 20 d, + d
//   bridges     entries: at once; ports, VLANs, settings: 20 ms + d; what is missed: as connections
// When the kernel could not keep up with telling, the table is behind until it has been read whole,
// which begins 20 ms later, or d when that is longer. Each of it is counted (stats()), and a table
// that cannot be read stays as it is, is logged and tried again.
//
// Invariants: (1) what `current_` holds is not touched by the thread; (2) the worker never waits:
// it takes what is laid out only when what it gave back before is taken; (3) what it gave back is
// freed a grace period later: it is given back in the round after the one that told the threads of
// CPUMAPs of the new ones, which may be in a batch with the old ones.
// Threads: start, stop: control; refresh: the one worker (or test run); stats: any. Not done yet:
// several workers, changes of routes read one by one.
// Tested by tests/differential/follow_host_test.cc and host_events_test.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/log.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "packet/conntrack_table.h"
#include "packet/fdb_table.h"
#include "packet/host_events.h"
#include "packet/host_watch.h"
#include "packet/route_table.h"
#include "packet/run_context.h"
#include "packet/socket_table.h"

namespace lmn {

struct HostFollowOptions {
  bool routes = false;
  bool sockets = false;
  bool conntrack = false;
  bool fdb = false;
  std::uint32_t read_ms = 10'000;  // of connections and bridges, though nothing was told
  int event_room_bytes = 4 << 20;  // what may wait of events of one table
};

// Tables that programs write too. REQUIRES: they outlive the follower.
struct HostFollowTables {
  ConntrackTable* conntrack = nullptr;
  FdbTable* fdb = nullptr;
  const Clock* clock = nullptr;  // of the programs
  Epoch* epoch = nullptr;        // whose readers see the routes and sockets; null: one thread does
};

enum class HostTable : std::uint8_t { kRoutes, kSockets, kConntrack, kFdb };
inline constexpr std::size_t kHostTableCount = 4;

// Counters of a table only go up.
struct HostTableStats {
  std::uint64_t events = 0;     // messages of the kernel's; none for routes and sockets
  std::uint64_t overflows = 0;  // times that the kernel could not keep up with telling
  std::uint64_t readings = 0;   // of the whole table
  std::uint64_t failures = 0;   // readings that failed
  bool is_behind = false;       // something was lost, and the table was not read since
};

class HostFollower final : public TableSource {
 public:
  static constexpr int kSettleMs = 20;
  static constexpr int kSocketsMs = 200;

  // Reads the tables for the first time and goes on from there. Errors: kPermission, kIo.
  static Result<std::unique_ptr<HostFollower>> start(const HostFollowOptions& options,
                                                     const HostFollowTables& tables, Log& log);
  ~HostFollower() override;
  HostFollower(const HostFollower&) = delete;
  HostFollower& operator=(const HostFollower&) = delete;

  void refresh(RunContext& context) noexcept override;
  HostTableStats stats(HostTable table) const noexcept;

 private:
  // What the worker reads. Shared with the thread's own, so that one can be new without the other.
  struct Tables {
    std::shared_ptr<RouteTable> routes;    // null: not followed
    std::shared_ptr<SocketTable> sockets;  // null: not followed
  };
  struct Mirror {
    bool is_followed = false;
    std::optional<HostEvents> events;  // of those that tell
    std::uint64_t read_at_ms = UINT64_MAX;
    std::uint64_t took_ms = 0;  // the last reading
    std::string told;           // the last error, as it was logged
  };
  struct Counters {
    std::atomic<std::uint64_t> events{0};
    std::atomic<std::uint64_t> overflows{0};
    std::atomic<std::uint64_t> readings{0};
    std::atomic<std::uint64_t> failures{0};
    std::atomic<bool> is_behind{false};
  };

  HostFollower(const HostFollowOptions& options, const HostFollowTables& tables, Log& log)
      : options_(options), tables_(tables), log_(log) {}
  Mirror& mirror(HostTable table) { return mirrors_[static_cast<std::size_t>(table)]; }
  Counters& counters(HostTable table) { return counters_[static_cast<std::size_t>(table)]; }
  Result<void> listen();
  Result<void> read_table(HostTable table);
  Result<void> read_routes();
  Result<void> read(HostTable table);
  void read_again(HostTable table);
  void hurry(HostTable table);
  void take_events(HostTable table);
  void follow(const std::stop_token& stop);
  void wait(const std::stop_token& stop);
  void take_what_came();
  void lay_out();

  const HostFollowOptions options_;
  const HostFollowTables tables_;
  Log& log_;
  UniqueFd wakeup_;
  std::optional<HostWatch> watch_;  // of routes
  std::array<Mirror, kHostTableCount> mirrors_;
  std::array<Counters, kHostTableCount> counters_;
  Tables latest_;                  // the thread's
  std::vector<std::string> told_;  // what was left out of the routes, as it was logged last
  std::uint64_t no_room_told_ = 0;

  std::atomic<Tables*> next_{nullptr};     // laid out by the thread, not taken yet
  std::atomic<Tables*> retired_{nullptr};  // given back by the worker, to be freed by the thread
  std::unique_ptr<Tables> current_;        // the worker's
  std::unique_ptr<Tables> replaced_;       // the worker's, to be given back in its next round
  std::jthread thread_;
};

}  // namespace lmn
