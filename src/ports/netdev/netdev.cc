// SPDX-License-Identifier: Apache-2.0
//
// One rtnetlink request and its answer. Tested by netdev_test.cc.
#include "ports/netdev/netdev.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/byte_reader.h"
#include "base/file.h"
#include "base/unique_fd.h"

namespace lmn {
namespace {

constexpr std::size_t kAnswerBytesMax = 32768;  // what one RTM_NEWLINK may need, with room
constexpr std::size_t kAlignment = 4;

constexpr std::size_t aligned(std::size_t length) {
  return (length + kAlignment - 1) & ~(kAlignment - 1);
}

// A request under construction: header, fixed part, attributes.
class Request {
 public:
  template <typename Fixed>
  Request(std::uint16_t type, std::uint16_t flags, const Fixed& fixed) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
    append(&header, sizeof header);
    append(&fixed, sizeof fixed);
  }
  Request& attribute(std::uint16_t type, ByteSpan value) {
    rtattr head{};
    head.rta_type = type;
    head.rta_len = static_cast<std::uint16_t>(sizeof head + value.size());
    append(&head, sizeof head);
    append(value.data(), value.size());
    return *this;
  }
  // The finished message, its length filled in.
  ByteSpan finish() {
    store_unaligned(bytes_.data(), static_cast<std::uint32_t>(bytes_.size()));
    return bytes_;
  }

 private:
  void append(const void* from, std::size_t count) {
    const auto* bytes = static_cast<const std::uint8_t*>(from);
    bytes_.insert(bytes_.end(), bytes, bytes + count);
    bytes_.resize(aligned(bytes_.size()));
  }
  std::vector<std::uint8_t> bytes_;
};

// A link request starts with this.
ifinfomsg link_message(std::uint32_t ifindex) {
  ifinfomsg message{};
  message.ifi_family = AF_UNSPEC;
  message.ifi_index = static_cast<int>(ifindex);
  return message;
}

std::unexpected<Error> netlink_error(std::string_view what, int errno_value) {
  Error error = system_error(what, errno_value);
  if (error.code == ErrorCode::kPermission) error.remedy = "needs CAP_NET_ADMIN";
  return make_error(std::move(error));
}

// Sends the request and gives the first answer (an acknowledgement gives its empty body).
Result<std::vector<std::uint8_t>> transact(std::string_view what, Request& request) {
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd.is_open()) return netlink_error(what, errno);
  const ByteSpan message = request.finish();
  if (::send(fd.get(), message.data(), message.size(), 0) < 0) return netlink_error(what, errno);
  std::vector<std::uint8_t> answer(kAnswerBytesMax);
  const ssize_t got = ::recv(fd.get(), answer.data(), answer.size(), 0);
  if (got < 0) return netlink_error(what, errno);
  answer.resize(static_cast<std::size_t>(got));
  ByteReader reader(answer, std::endian::native);
  const auto length = reader.u32();
  const auto type = reader.u16();
  if (!length || !type) return netlink_error(what, EPROTO);
  if (*type == NLMSG_ERROR) {
    reader.seek(sizeof(nlmsghdr));
    const auto code = reader.u32();
    if (!code) return netlink_error(what, EPROTO);
    if (*code != 0) return netlink_error(what, -static_cast<int>(*code));
  }
  return answer;
}

Result<void> change(std::string_view what, Request& request) {
  LMN_TRY([[maybe_unused]] const auto answer, transact(what, request));
  return {};
}

std::uint32_t u32_value(ByteSpan value) {
  return value.size() >= 4 ? load_unaligned<std::uint32_t>(value.data()) : 0;
}

ByteSpan as_bytes(const void* from, std::size_t count) {
  return {static_cast<const std::uint8_t*>(from), count};
}

}  // namespace

Result<NetdevFacts> read_netdev(const std::string& name) {
  Request request(RTM_GETLINK, 0, link_message(0));
  request.attribute(IFLA_IFNAME, as_bytes(name.c_str(), name.size() + 1));
  const std::string what = fmt::format("netdev '{}'", name);
  LMN_TRY(const std::vector<std::uint8_t> answer, transact(what, request));
  NetdevFacts facts;
  facts.name = name;
  ByteReader reader(answer, std::endian::native);
  const auto head = reader.bytes(sizeof(nlmsghdr));
  const auto fixed = reader.bytes(sizeof(ifinfomsg));
  if (!head || !fixed) return netlink_error(what, EPROTO);
  ifinfomsg message{};
  std::memcpy(&message, fixed->data(), sizeof message);
  facts.ifindex = static_cast<std::uint32_t>(message.ifi_index);
  facts.link_type = message.ifi_type;
  facts.is_up = (message.ifi_flags & IFF_UP) != 0;
  while (reader.remaining() >= sizeof(rtattr)) {
    const std::uint16_t length = *reader.u16();
    const std::uint16_t type = *reader.u16();
    if (length < sizeof(rtattr)) break;
    const auto value = reader.bytes(length - sizeof(rtattr));
    if (!value) break;
    if (type == IFLA_MTU) facts.mtu = u32_value(*value);
    if (type == IFLA_MASTER) facts.master_ifindex = u32_value(*value);
    if (type == IFLA_ADDRESS && value->size() == facts.mac.size()) {
      std::ranges::copy(*value, facts.mac.begin());
    }
    reader.skip(std::min(aligned(length) - length, reader.remaining()));
  }
  return facts;
}

std::vector<std::string> read_netdev_addresses(const std::string& name) {
  std::vector<std::string> out;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return out;
  for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || name != one->ifa_name) continue;
    const int family = one->ifa_addr->sa_family;
    const void* address = nullptr;
    if (family == AF_INET) {
      address = &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr;
    } else if (family == AF_INET6) {
      address = &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
    } else {
      continue;
    }
    char text[INET6_ADDRSTRLEN];
    out.emplace_back(::inet_ntop(family, address, text, sizeof text));
  }
  ::freeifaddrs(first);
  return out;
}

bool is_forwarding(const std::string& name) {
  for (const std::string_view family : {"ipv4", "ipv6"}) {
    const auto value =
        read_file(fmt::format("/proc/sys/net/{}/conf/{}/forwarding", family, name), 16);
    if (value && !value->empty() && value->front() != '0') return true;
  }
  return false;
}

Result<InterfaceAddress> parse_interface_address(std::string_view text) {
  InterfaceAddress out;
  const std::size_t slash = text.find('/');
  const std::string host(text.substr(0, slash));
  out.family = host.find(':') != std::string::npos ? AF_INET6 : AF_INET;
  const unsigned bits = out.family == AF_INET ? 32 : 128;
  unsigned prefix = bits;
  if (slash != std::string_view::npos) {
    const char* end = text.data() + text.size();
    const auto [stop, failure] = std::from_chars(text.data() + slash + 1, end, prefix);
    if (failure != std::errc() || stop != end || prefix > bits) prefix = UINT32_MAX;
  }
  if (prefix == UINT32_MAX || ::inet_pton(out.family, host.c_str(), out.bytes.data()) != 1) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("'{}' is no interface address", text),
                      "write it as 10.0.0.1/24 or fd00::1/64");
  }
  out.prefix_length = static_cast<std::uint8_t>(prefix);
  return out;
}

Result<void> add_netdev_address(const NetdevFacts& netdev, const InterfaceAddress& address) {
  ifaddrmsg message{};
  message.ifa_family = static_cast<std::uint8_t>(address.family);
  message.ifa_prefixlen = address.prefix_length;
  message.ifa_index = netdev.ifindex;
  // A duplicate-address probe would keep a fresh IPv6 address unusable for a second; the engine's
  // own TAP has nobody who could have taken it.
  message.ifa_flags = address.family == AF_INET6 ? IFA_F_NODAD : 0;
  Request request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, message);
  const ByteSpan bytes(address.bytes.data(), address.family == AF_INET ? 4 : 16);
  request.attribute(IFA_LOCAL, bytes).attribute(IFA_ADDRESS, bytes);
  return change(fmt::format("add an address to netdev '{}'", netdev.name), request);
}

Result<void> set_netdev_mtu(const NetdevFacts& netdev, std::uint32_t mtu) {
  Request request(RTM_NEWLINK, NLM_F_ACK, link_message(netdev.ifindex));
  request.attribute(IFLA_MTU, as_bytes(&mtu, sizeof mtu));
  return change(fmt::format("set the MTU of netdev '{}' to {}", netdev.name, mtu), request);
}

Result<void> set_netdev_up(const NetdevFacts& netdev) {
  ifinfomsg message = link_message(netdev.ifindex);
  message.ifi_flags = IFF_UP;
  message.ifi_change = IFF_UP;
  Request request(RTM_NEWLINK, NLM_F_ACK, message);
  return change(fmt::format("bring netdev '{}' up", netdev.name), request);
}

NetdevState query_netdev_state(int socket_fd, std::string_view name) noexcept {
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(socket_fd, SIOCGIFFLAGS, &request) != 0) return NetdevState::kGone;
  return (request.ifr_flags & IFF_UP) != 0 ? NetdevState::kUp : NetdevState::kDown;
}

}  // namespace lmn
