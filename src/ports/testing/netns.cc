// SPDX-License-Identifier: Apache-2.0
//
// Namespaces and raw sockets for tests. Test code only.
#include "ports/testing/netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

namespace lmn::testing_support {
namespace {

bool write_text(const std::string& path, const std::string& text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.is_open() &&
         ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// Becomes root of a user namespace of its own.
std::optional<std::string> enter_user_namespace() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    return fmt::format("neither root nor allowed to make a user namespace (errno {})", errno);
  }
  write_text("/proc/self/setgroups", "deny");
  if (!write_text("/proc/self/uid_map", fmt::format("0 {} 1", uid)) ||
      !write_text("/proc/self/gid_map", fmt::format("0 {} 1", gid))) {
    return "not allowed to become root of a user namespace";
  }
  return std::nullopt;
}

std::optional<std::string> find_refusal() {
  if (::geteuid() != 0) {
    if (auto why = enter_user_namespace()) return why;
  }
  const auto world = Netns::create();
  if (!world) return world.error().to_string();
  if (std::system("ip -V > /dev/null 2>&1") != 0) return "the command ip (iproute2) is missing";
  return std::nullopt;
}

}  // namespace

std::optional<std::string> Netns::refusal() {
  static const std::optional<std::string> kRefusal = find_refusal();
  return kRefusal;
}

Result<Netns> Netns::create() {
  Netns world;
  int failure = 0;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      failure = errno;
      return;
    }
    write_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    world.fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!world.fd_.is_open()) failure = errno;
  }).join();
  if (failure != 0) return make_error(system_error("make a network namespace", failure));
  return world;
}

void Netns::run(const std::function<void()>& body) const {
  std::thread([&] {
    if (::setns(fd_.get(), CLONE_NEWNET) == 0) return body();
    fmt::print(stderr, "cannot enter a network namespace: errno {}\n", errno);
    std::abort();
  }).join();
}

std::string Netns::path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), fd_.get()); }

bool shell(const std::string& command) { return std::system(command.c_str()) == 0; }

bool write_sysctl(const std::string& name, const std::string& value) {
  return write_text("/proc/sys/" + name, value);
}

Result<RawSocket> RawSocket::open(const std::string& netdev) {
  RawSocket out;
  out.ifindex_ = static_cast<int>(::if_nametoindex(netdev.c_str()));
  out.fd_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!out.fd_.is_open()) return make_error(system_error("AF_PACKET socket", errno));
  const int one = 1;
  const int size = 64 << 20;
  ::setsockopt(out.fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
  ::setsockopt(out.fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = out.ifindex_;
  if (::bind(out.fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return make_error(system_error("bind to " + netdev, errno));
  }
  return out;
}

bool RawSocket::send(ByteSpan frame) const {
  return ::send(fd_.get(), frame.data(), frame.size(), 0) == static_cast<ssize_t>(frame.size());
}

bool RawSocket::send_with_offload(ByteSpan offload_header, ByteSpan frame) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = ifindex_;
  if (!offload_fd_.is_open()) {
    offload_fd_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(offload_fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one);
    const int size = 8 << 20;
    ::setsockopt(offload_fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  }
  std::vector<std::uint8_t> whole(offload_header.begin(), offload_header.end());
  whole.insert(whole.end(), frame.begin(), frame.end());
  return ::sendto(offload_fd_.get(), whole.data(), whole.size(), 0,
                  reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) == static_cast<ssize_t>(whole.size());
}

std::vector<std::uint8_t> RawSocket::receive(std::uint16_t type, int timeout_ms) const {
  std::vector<std::uint8_t> frame(1u << 17);
  while (true) {
    pollfd ready{fd_.get(), POLLIN, 0};
    if (::poll(&ready, 1, timeout_ms) <= 0) return {};
    const ssize_t got = ::recv(fd_.get(), frame.data(), frame.size(), MSG_DONTWAIT);
    if (got < 14) continue;
    if (type != 0 && load_unaligned<std::uint16_t>(frame.data() + 12, std::endian::big) != type) {
      continue;
    }
    frame.resize(static_cast<std::size_t>(got));
    return frame;
  }
}

std::vector<std::uint8_t> make_test_frame(std::size_t length, std::uint32_t seed) {
  std::vector<std::uint8_t> frame(length);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::uint8_t& byte : frame) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::uint8_t>(state >> 24);
  }
  const std::uint8_t addresses[] = {0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1};
  for (std::size_t i = 0; i < sizeof addresses; ++i) frame[i] = addresses[i];
  store_unaligned(frame.data() + 12, kTestEtherType, std::endian::big);
  return frame;
}

}  // namespace lmn::testing_support
