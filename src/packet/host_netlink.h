// SPDX-License-Identifier: Apache-2.0
//
// Reading tables of the host over netlink: dumps, and the wait for changes. Internal to packet; the
// public API is from_host() and read_host() of each table, HostWatch (host_watch.h) and HostEvents
// (host_events.h).
//
// A dump is one request and many messages, each a fixed part and attributes. A dump that the kernel
// says was disturbed by a change is asked again, so that what comes back is one state. Messages are
// read through spans: a short one is EPROTO, never a read past its end.
// Threads: plain functions, control threads only; the calling thread's network namespace is meant.
// Tested by tests/differential/host_tables_test.cc and fuzz/host_messages_fuzz.cc, which answers
// questions in the kernel's place.
// Source: netlink(7), rtnetlink(7), sock_diag(7); Documentation/userspace-api/netlink of
// Linux 6.18.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string_view>

#include "base/byte_reader.h"
#include "base/result.h"

namespace lmn {

// One message of an answer without its header: `type`, and the bytes behind it.
using NetlinkVisitor = std::function<Result<void>(std::uint16_t type, ByteSpan body)>;

struct NetlinkMessage {
  std::uint16_t type = 0;
  std::uint16_t flags = 0;
  ByteSpan body;
};

// Shows every message of a datagram; false when the rest of it is not whole. Errors of `visit` end
// it.
Result<bool> read_netlink_datagram(ByteSpan datagram,
                                   const std::function<Result<void>(const NetlinkMessage&)>& visit);

struct NetlinkQuestion {
  int protocol = 0;        // NETLINK_ROUTE, NETLINK_SOCK_DIAG
  std::uint16_t type = 0;  // RTM_GETROUTE, ...
  ByteSpan body;           // the request's fixed part
  std::string_view what;   // for messages: "routes"
};

// Whom questions are put to.
class NetlinkSource {
 public:
  virtual ~NetlinkSource() = default;
  // Asks for a dump and shows every message. `start_again` is called before each try, so that a
  // visitor forgets what a disturbed one gave.
  virtual Result<void> dump(const NetlinkQuestion& question,
                            const std::function<void()>& start_again,
                            const NetlinkVisitor& visit) const = 0;
};

// The kernel, of the calling thread's network namespace.
class HostNetlink final : public NetlinkSource {
 public:
  Result<void> dump(const NetlinkQuestion& question, const std::function<void()>& start_again,
                    const NetlinkVisitor& visit) const override;
};

// The fixed part at the head of `body`; nothing when it is shorter.
template <typename Fixed>
std::optional<Fixed> netlink_head(ByteSpan body) {
  if (body.size() < sizeof(Fixed)) return std::nullopt;
  Fixed fixed;
  std::memcpy(&fixed, body.data(), sizeof fixed);
  return fixed;
}

// The attributes behind a fixed part of `head_bytes`, or nested in another: calls
// visit(type, value) for each.
void for_each_attribute(ByteSpan body, std::size_t head_bytes,
                        const std::function<void(std::uint16_t, ByteSpan)>& visit);

// A number that an attribute holds; 0 when it is shorter.
template <typename T>
T attribute_number(ByteSpan value) {
  return value.size() >= sizeof(T) ? load_unaligned<T>(value.data()) : T{0};
}

}  // namespace lmn
