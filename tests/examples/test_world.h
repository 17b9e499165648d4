// SPDX-License-Identifier: Apache-2.0
//
// TestWorld: a network namespace with two open TAP devices, for examples that ask where a packet
// came in or goes out. The kernel runs test packets only "from" devices with a receive queue of
// their own, which an open TAP device has.
//
//   TestWorld::visit([&](const TestWorld& world) { runner->run_from(world.left(), packet); });
//
// Devices: left (02:00:00:00:aa:01) and right (02:00:00:00:aa:02), up, without addresses; IPv6 off
// until enable_ipv6(). Threads: visit() runs its body in a thread of its own and waits for it.
// Tested by what uses it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace lmn {

class TestWorld {
 public:
  // Runs `body` in a new world. Empty, or why there can be none here.
  static std::optional<std::string> visit(const std::function<void(const TestWorld&)>& body);

  std::uint32_t left() const { return left_; }
  std::uint32_t right() const { return right_; }
  // The next frame that was sent out by left or right; empty when there is none.
  std::vector<std::uint8_t> sent_by(std::uint32_t ifindex) const;
  // Runs `ip ARGUMENTS`; true when it ended well.
  static bool ip(const std::string& arguments);
  static bool enable_ipv6();

 private:
  bool set_up();

  UniqueFd left_fd_;
  UniqueFd right_fd_;
  std::uint32_t left_ = 0;
  std::uint32_t right_ = 0;
};

}  // namespace lmn
