// SPDX-License-Identifier: Apache-2.0
//
// The world by Netns, TUNSETIFF and ip(8). Test code only.
#include "examples/test_world.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "ports/testing/netns.h"

extern "C" unsigned if_nametoindex(const char* name) noexcept;  // <net/if.h> fights <linux/if.h>

namespace lmn {
namespace {

UniqueFd open_tap(std::string_view name) {
  UniqueFd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  struct ifreq request = {};
  std::ranges::copy(name, request.ifr_name);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (!fd.is_open() || ::ioctl(fd.get(), TUNSETIFF, &request) != 0) return UniqueFd();
  return fd;
}

}  // namespace

bool TestWorld::ip(const std::string& arguments) {
  return testing_support::shell("ip " + arguments);
}

bool TestWorld::enable_ipv6() {
  bool is_done = true;
  for (const char* where : {"all", "default", "left", "right"}) {
    const std::string base = std::string("net/ipv6/conf/") + where;
    is_done = is_done && testing_support::write_sysctl(base + "/accept_dad", "0") &&
              testing_support::write_sysctl(base + "/disable_ipv6", "0");
  }
  return is_done;
}

std::vector<std::uint8_t> TestWorld::sent_by(std::uint32_t ifindex) const {
  std::vector<std::uint8_t> frame(2048);
  const UniqueFd& fd = ifindex == left_ ? left_fd_ : right_fd_;
  const ssize_t length = ::read(fd.get(), frame.data(), frame.size());
  frame.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return frame;
}

bool TestWorld::set_up() {
  left_fd_ = open_tap("left");
  right_fd_ = open_tap("right");
  if (!left_fd_.is_open() || !right_fd_.is_open()) return false;
  left_ = ::if_nametoindex("left");
  right_ = ::if_nametoindex("right");
  return ip("link set left address 02:00:00:00:aa:01 up") &&
         ip("link set right address 02:00:00:00:aa:02 up") && ip("link set lo up");
}

std::optional<std::string> TestWorld::visit(const std::function<void(const TestWorld&)>& body) {
  if (auto why = testing_support::Netns::refusal()) return why;
  auto netns = testing_support::Netns::create();
  if (!netns) return netns.error().to_string();
  std::optional<std::string> why;
  netns->run([&] {
    TestWorld world;
    if (!world.set_up()) {
      why = "no TAP devices here";
      return;
    }
    body(world);
  });
  return why;
}

}  // namespace lmn
