// SPDX-License-Identifier: Apache-2.0
//
// One netlink socket in the groups of a table. Tested by tests/differential/host_events_test.cc.
#include "packet/host_events.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

namespace lmn {
namespace {

constexpr std::size_t kDatagramBytesMax = std::size_t{64} << 10;
constexpr int kDatagramsMax = 1024;  // per call

}  // namespace

HostEvents::HostEvents(UniqueFd fd) : fd_(std::move(fd)), room_(kDatagramBytesMax) {}

Result<HostEvents> HostEvents::create(const HostEventsOptions& options) {
  const std::string what = fmt::format("changes of the host's {}", options.what);
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, options.protocol));
  if (!fd.is_open()) return make_error(system_error(what, errno));
  // With CAP_NET_ADMIN beyond the system's limit, without it up to that.
  const int room = options.room_bytes;
  const bool is_forced =
      ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) == 0;
  if (!is_forced && ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room) != 0) {
    return make_error(system_error(what, errno));
  }
  sockaddr_nl own{};
  own.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
    return make_error(system_error(what, errno));
  }
  for (const int group : options.groups) {
    if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return make_error(system_error(what, errno));
    }
  }
  return HostEvents(std::move(fd));
}

Result<HostEvents::Taken> HostEvents::take(const NetlinkVisitor& visit) {
  Taken taken;
  for (int i = 0; i < kDatagramsMax; ++i) {
    sockaddr_nl sender{};
    socklen_t sender_bytes = sizeof sender;
    const ssize_t got = ::recvfrom(fd_.get(), room_.data(), room_.size(), MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&sender), &sender_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ENOBUFS) {
      taken.is_lost = true;
      continue;
    }
    if (got < 0 && errno == EAGAIN) return taken;
    if (got < 0) return make_error(system_error("changes of the host", errno));
    if (sender.nl_pid != 0) continue;
    if (static_cast<std::size_t>(got) > room_.size()) {
      taken.is_lost = true;
      continue;
    }
    const ByteSpan datagram = std::span(room_).first(static_cast<std::size_t>(got));
    LMN_TRY(const bool is_whole,
            read_netlink_datagram(datagram, [&](const NetlinkMessage& message) {
              ++taken.messages;
              return visit(message.type, message.body);
            }));
    if (!is_whole) taken.is_lost = true;
  }
  taken.is_more = true;
  return taken;
}

}  // namespace lmn
