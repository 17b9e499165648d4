// SPDX-License-Identifier: Apache-2.0
//
// Netlink messages made by hand: a fixed part, attributes, nests. For tests that speak in the
// kernel's place, or to it.
//
//   NetlinkBytes body = NetlinkBytes::of(nfgenmsg{AF_INET, NFNETLINK_V0, 0});
//   body.nest(CTA_TUPLE_ORIG, NetlinkBytes().attribute(...));
//
// Threads: plain values. Test code only; tested by what uses it.
#pragma once

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "base/byte_reader.h"

namespace lmn {

class NetlinkBytes {
 public:
  NetlinkBytes() = default;
  template <typename Fixed>
  static NetlinkBytes of(const Fixed& fixed) {
    NetlinkBytes out;
    out.append(&fixed, sizeof fixed);
    return out;
  }
  NetlinkBytes& bytes(std::uint16_t type, ByteSpan value) {
    const std::uint16_t head[2] = {static_cast<std::uint16_t>(sizeof head + value.size()), type};
    append(head, sizeof head);
    append(value.data(), value.size());
    return *this;
  }
  template <typename T>
  NetlinkBytes& attribute(std::uint16_t type, const T& value) {
    return bytes(type, {reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
  }
  NetlinkBytes& nest(std::uint16_t type, const NetlinkBytes& inner) {
    return bytes(static_cast<std::uint16_t>(type | NLA_F_NESTED), inner.span());
  }
  ByteSpan span() const { return bytes_; }
  // With a header, as it goes over a socket.
  std::vector<std::uint8_t> message(std::uint16_t type, std::uint16_t flags = 0) const {
    nlmsghdr header{};
    header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + bytes_.size());
    header.nlmsg_type = type;
    header.nlmsg_flags = flags;
    NetlinkBytes whole = of(header);
    whole.append(bytes_.data(), bytes_.size());
    return whole.bytes_;
  }

 private:
  void append(const void* data, std::size_t size) {
    const auto* from = static_cast<const std::uint8_t*>(data);
    bytes_.insert(bytes_.end(), from, from + size);
    while (bytes_.size() % 4 != 0) bytes_.push_back(0);
  }
  std::vector<std::uint8_t> bytes_;
};

// A connection of IPv4 as ctnetlink shows and takes it.
struct CtMessage {
  std::uint32_t source = 0x0a000001;
  std::uint32_t destination = 0x0a000002;
  std::uint16_t source_port = 1000;
  std::uint16_t destination_port = 80;
  std::uint8_t protocol = 17;
  std::uint32_t status = 0;
  std::uint32_t timeout_s = 300;
  std::uint32_t mark = 0;
  std::uint16_t zone = 0;
  bool has_timeout = true;

  NetlinkBytes body() const {
    NetlinkBytes out = NetlinkBytes::of(nfgenmsg{2 /* AF_INET */, NFNETLINK_V0, 0});
    out.nest(CTA_TUPLE_ORIG, tuple(source, destination, source_port, destination_port));
    out.nest(CTA_TUPLE_REPLY, tuple(destination, source, destination_port, source_port));
    if (status != 0) out.attribute(CTA_STATUS, htonl(status));
    if (has_timeout) out.attribute(CTA_TIMEOUT, htonl(timeout_s));
    if (mark != 0) out.attribute(CTA_MARK, htonl(mark));
    if (zone != 0) out.attribute(CTA_ZONE, htons(zone));
    return out;
  }
  NetlinkBytes tuple(std::uint32_t from, std::uint32_t to, std::uint16_t from_port,
                     std::uint16_t to_port) const {
    NetlinkBytes ip;
    ip.attribute(CTA_IP_V4_SRC, htonl(from)).attribute(CTA_IP_V4_DST, htonl(to));
    NetlinkBytes transport;
    transport.attribute(CTA_PROTO_NUM, protocol);
    transport.attribute(CTA_PROTO_SRC_PORT, htons(from_port));
    transport.attribute(CTA_PROTO_DST_PORT, htons(to_port));
    NetlinkBytes out;
    out.nest(CTA_TUPLE_IP, ip).nest(CTA_TUPLE_PROTO, transport);
    return out;
  }
};

inline constexpr std::uint16_t kCtNew = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
inline constexpr std::uint16_t kCtDelete = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;

}  // namespace lmn
