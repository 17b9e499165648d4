// SPDX-License-Identifier: Apache-2.0
//
// Speaks in the kernel's place: a datagram of netlink messages is the answer to every question that
// the tables of routes, sockets, connections and bridges ask, and comes as events too. Nothing may
// be read outside of it, and what the tables then hold must be what can be asked for and written as
// text that they read again.
#include <cstdlib>
#include <string>
#include <vector>

#include "packet/conntrack_table.h"
#include "packet/fdb_table.h"
#include "packet/host_netlink.h"
#include "packet/route_table.h"
#include "packet/socket_table.h"

namespace {

using lmn::ByteSpan;

constexpr std::uint32_t kNow = 1'000'000;
constexpr std::uint64_t kNowNs = 1'000'000'000'000;

void expect(bool condition) {
  if (!condition) std::abort();
}

class Datagram final : public lmn::NetlinkSource {
 public:
  explicit Datagram(ByteSpan bytes) : bytes_(bytes) {}
  lmn::Result<void> dump(const lmn::NetlinkQuestion&, const std::function<void()>& start_again,
                         const lmn::NetlinkVisitor& visit) const override {
    start_again();
    const auto show = [&](const lmn::NetlinkMessage& message) {
      expect(message.body.data() >= bytes_.data());
      expect(message.body.data() + message.body.size() <= bytes_.data() + bytes_.size());
      return visit(message.type, message.body);
    };
    const auto read = lmn::read_netlink_datagram(bytes_, show);
    if (!read) return std::unexpected(read.error());
    return {};
  }

 private:
  ByteSpan bytes_;
};

void ask_connections(lmn::ConntrackTable& table) {
  table.for_each(kNow, [&](const lmn::ConntrackRecord& record) {
    const auto found = table.find(record.original, record.zone, kNow);
    expect(found.connection != nullptr);
    table.release(*found.connection);
  });
  // A host may have what text may not: two connections of one address, in zones of one direction.
  auto again = lmn::ConntrackTable::create({64, 2, {}});
  const auto read = (*again)->read_text(table.to_text(kNow), kNow);
  if (!read) expect(read.error().message.find("earlier") != std::string::npos);
}

void feed_connections(const Datagram& answer, ByteSpan bytes) {
  auto table = lmn::ConntrackTable::create({16, 1, {}});
  expect(table.has_value());
  lmn::ConntrackTable& connections = **table;
  // A program's own is not the host's to touch.
  lmn::ConntrackTuple own;
  own.protocol = 17;
  own.source_port = 1;
  lmn::ConntrackTable::Connection* made = connections.allocate(own, own.reversed(), {}, kNow);
  expect(made != nullptr && connections.insert(*made, kNow));
  expect(connections.read_netlink(answer, kNow).has_value());
  ask_connections(connections);
  for (int round = 0; round < 2; ++round) {
    const auto take = [&](const lmn::NetlinkMessage& message) -> lmn::Result<void> {
      connections.take_host_event(message.type, message.body, kNow);
      return {};
    };
    expect(lmn::read_netlink_datagram(bytes, take).has_value());
    ask_connections(connections);
  }
  // In zones of one direction another one may be met first.
  expect(connections.find(own, {}, kNow).connection != nullptr);
  expect(connections.at(connections.image(*made)) == made);
}

void feed_bridges(const Datagram& answer, ByteSpan bytes) {
  auto table = lmn::FdbTable::create({16, 1});
  expect(table.has_value());
  lmn::FdbTable& bridges = **table;
  for (int round = 0; round < 2; ++round) {
    expect(bridges.read_netlink(answer, kNowNs).has_value());
    const auto take = [&](const lmn::NetlinkMessage& message) -> lmn::Result<void> {
      bridges.take_host_event(message.type, message.body, kNowNs);
      return {};
    };
    expect(lmn::read_netlink_datagram(bytes, take).has_value());
    bridges.expire(kNowNs);
    bridges.to_text(kNowNs);
  }
}

void feed_sockets(const Datagram& answer) {
  auto table = lmn::SocketTable::from_netlink(answer);
  if (!table) return;
  lmn::SocketQuery query;
  for (const auto protocol : {lmn::SocketProtocol::kTcp, lmn::SocketProtocol::kUdp}) {
    query.protocol = protocol;
    for (const unsigned port : {0u, 53u, 80u}) {
      query.destination_port = static_cast<std::uint16_t>(port);
      const lmn::Socket* socket = table->find(query);
      if (socket != nullptr) expect(table->at(&socket->fields) == socket);
    }
  }
}

void feed_routes(const Datagram& answer) {
  std::vector<std::string> left_out;
  auto table = lmn::RouteTable::from_netlink(answer, left_out);
  if (!table) return;
  lmn::RouteQuery query;
  for (const auto family : {lmn::IpFamily::kIpv4, lmn::IpFamily::kIpv6}) {
    query.family = family;
    const lmn::Route* route = table->find_route(query);
    if (route == nullptr) continue;
    expect(route->prefix.covers(query.destination));
    const lmn::RouteHop& hop = lmn::RouteTable::choose_hop(*route, query);
    table->mtu_of(*route, hop);
    table->select_source(*route, hop, query.destination);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes(data, size);
  const Datagram answer(bytes);
  feed_connections(answer, bytes);
  feed_bridges(answer, bytes);
  feed_sockets(answer);
  feed_routes(answer);
  return 0;
}
