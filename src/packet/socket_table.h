// SPDX-License-Identifier: Apache-2.0
//
// SocketTable: the TCP and UDP sockets of the host, as bpf_sk_lookup_tcp and its like ask for them.
//
// It chooses as Linux would for the same sockets: a connection before a listener, a socket bound to
// the address before one bound to any, of those the one with the better score (its device, its
// family, its peer), of equals the one that was added first. A socket is what a program may read of
// it, a struct bpf_sock; the address of that is what the program gets. The table is filled by
// calls, from the host (socket_host.cc) or from text, one socket per line, the port behind the
// address:
//
//   tcp listen 10.0.0.1:80 dev 2 mark 5 priority 6
//   tcp listen [::]:443 v6only group
//   tcp established 10.0.0.1:80 peer 10.0.0.9:40000   (fin-wait-1, close-wait, ... as in ss(8))
//   tcp time-wait 10.0.0.1:80 peer 10.0.0.9:40001     (a remnant; also syn-recv: a request)
//   udp 0.0.0.0:53
//   udp 10.0.0.1:53 peer 10.0.0.9:40000
//   syncookies 2                                      (the setting net.ipv4.tcp_syncookies)
//
// Invariants: (1) a socket's address stays as long as the table does, so that a program may keep it
// for its run; (2) look-ups do not allocate. The engine's table outlives every run that reads it.
// What a look-up gives is the state at the time of the mirror, not a live socket.
// Threads: filled by one thread, then only read, by any number, but for the time of the last cookie
// of a listener, which is one atomic word; a change is a new table.
// Not done yet: several network namespaces, devices of a VRF (a socket bound to the VRF is not
// found for its members), programs of BPF_PROG_TYPE_SK_LOOKUP and SK_REUSEPORT. Tested by
// socket_table_test.cc and tests/differential/sockets_test.cc. Source: Linux 6.18,
// net/ipv4/inet_hashtables.c, net/ipv6/inet6_hashtables.c, net/ipv4/udp.c, net/ipv6/udp.c
// (compute_score and its callers).
#pragma once

#include <linux/bpf.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

class NetlinkSource;  // packet/host_netlink.h

enum class SocketProtocol : std::uint8_t { kTcp, kUdp };

// The states of struct bpf_sock::state that matter here (include/net/tcp_states.h).
inline constexpr std::uint32_t kTcpEstablished = 1;
inline constexpr std::uint32_t kTcpTimeWait = 6;
inline constexpr std::uint32_t kTcpClose = 7;
inline constexpr std::uint32_t kTcpListen = 10;
inline constexpr std::uint32_t kTcpNewSynRecv = 12;

// One socket. Ports and addresses are in `fields`, in its orders (src_port as the host's number,
// the others in network order).
struct Socket {
  struct bpf_sock fields{};
  SocketProtocol protocol = SocketProtocol::kTcp;
  bool is_ipv6_only = false;
  bool is_in_group = false;  // SO_REUSEPORT: several with one address share the work

  // What sockets of another kind than listeners and connections are: a remnant of a closed
  // connection or a request that waits for the third packet.
  bool is_full() const { return fields.state != kTcpTimeWait && fields.state != kTcpNewSynRecv; }
  // When a cookie was last made for it or for its group, in the clock's seconds; 0: never.
  std::uint32_t last_cookie_s() const noexcept {
    return std::atomic_ref(counting().last_cookie_s_).load(std::memory_order_relaxed);
  }
  void set_last_cookie_s(std::uint32_t seconds) const noexcept {
    std::atomic_ref(counting().last_cookie_s_).store(seconds, std::memory_order_relaxed);
  }

 private:
  friend class SocketTable;
  const Socket& counting() const { return first_of_group_ != nullptr ? *first_of_group_ : *this; }

  const Socket* first_of_group_ = nullptr;
  alignas(4) mutable std::uint32_t last_cookie_s_ = 0;
};

// A packet's question: who gets it. Ports are the host's numbers.
struct SocketQuery {
  SocketProtocol protocol = SocketProtocol::kTcp;
  IpFamily family = IpFamily::kIpv4;
  IpAddress source{};
  IpAddress destination{};
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t ifindex = 0;
};

class SocketTable {
 public:
  SocketTable() = default;
  SocketTable(SocketTable&&) noexcept = default;
  SocketTable& operator=(SocketTable&&) noexcept = default;
  SocketTable(const SocketTable&) = delete;
  SocketTable& operator=(const SocketTable&) = delete;

  // From text as above; '#' begins a comment. Errors: kMalformed with the line's number.
  static Result<SocketTable> parse(std::string_view text);
  // The sockets of the calling thread's network namespace. Errors: kPermission, kIo.
  static Result<SocketTable> from_host();
  // What `netlink` answers in the kernel's place.
  static Result<SocketTable> from_netlink(const NetlinkSource& netlink);

  void add(const Socket& socket);
  // The host's setting: 0 no cookies, 1 when a listener's queue is full, 2 always.
  void set_syncookies(std::uint32_t setting) { syncookies_ = setting; }
  std::uint32_t syncookies() const noexcept { return syncookies_; }
  // Listeners that both tables have keep the time of their last cookie.
  void take_cookie_times(const SocketTable& old) noexcept;

  // The socket that gets such a packet, of any kind; null when none does.
  const Socket* find(const SocketQuery& query) const noexcept;
  // The listener that a request belongs to; null when it is gone.
  const Socket* find_listener(const SocketQuery& query) const noexcept;
  // The socket whose fields lie at `address`, or null: what a program hands back is looked up, not
  // followed.
  const Socket* at(const void* address) const noexcept;
  std::size_t size() const noexcept { return sockets_.size(); }

 private:
  // Where a socket is bound, or what it is connected to.
  struct Key {
    SocketProtocol protocol;
    IpFamily family;
    std::uint16_t local_port;
    std::uint16_t remote_port;  // 0 for those that are bound only
    IpAddress local;
    IpAddress remote;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const noexcept;
  };
  using Sockets = std::vector<const Socket*>;

  const Socket* find_connection(const SocketQuery& query) const noexcept;
  const Socket* find_bound(const SocketQuery& query) const noexcept;
  void join_group(Socket& socket, const Sockets& sockets);
  const Socket* best_of(const IpAddress& local, const SocketQuery& query) const noexcept;

  std::deque<Socket> sockets_;
  std::unordered_map<const void*, const Socket*> by_address_;
  Sockets listeners_;                                      // TCP
  std::unordered_map<Key, Sockets, KeyHash> connections_;  // TCP only
  std::unordered_map<Key, Sockets, KeyHash> bound_;
  std::uint32_t syncookies_ = 1;
};

}  // namespace lmn
