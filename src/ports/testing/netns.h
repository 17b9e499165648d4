// SPDX-License-Identifier: Apache-2.0
//
// Network namespaces for tests: small worlds of their own, made and forgotten with the test.
//
// unshare(2) and setns(2) move one thread, so a namespace is entered by a fresh thread, and the
// rest of the process stays where it is; child processes of such a thread (`ip ...`) are in its
// namespace. Without root the process first becomes root of a user namespace, which must happen
// while it has one thread: before the first test body makes others.
//
//   if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
//   Netns world = *Netns::create();
//   world.run([&] { ASSERT_TRUE(shell("ip link add a type veth peer name b")); ... });
//
// IPv6 is off in new namespaces, so that no router solicitation mixes with a test's frames.
// Threads: run() blocks until its thread is done. Test code only.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace lmn::testing_support {

class Netns {
 public:
  // Why this process cannot make namespaces, or nothing when it can.
  static std::optional<std::string> refusal();
  static Result<Netns> create();

  void run(const std::function<void()>& body) const;
  // A name for `ip link set X netns NAME`.
  std::string path() const;

 private:
  UniqueFd fd_;
};

// Runs a command line; true when it ends with 0. Its output goes to the test's.
bool shell(const std::string& command);
// Writes a sysctl of the calling thread's namespace: "net/ipv4/ip_forward".
bool write_sysctl(const std::string& name, const std::string& value);

// A raw socket on a netdev of the calling thread's namespace: the other end of a driver's wire.
class RawSocket {
 public:
  // All frames that come in there, none that go out. Errors: kIo, kPermission.
  static Result<RawSocket> open(const std::string& netdev);
  bool send(ByteSpan frame) const;
  // Sends a frame with the kernel asked to finish or cut it: `offload_header` is a virtio_net_hdr.
  bool send_with_offload(ByteSpan offload_header, ByteSpan frame);
  // The next frame of EtherType `type`, or of any when 0; empty after `timeout_ms` without one.
  std::vector<std::uint8_t> receive(std::uint16_t type, int timeout_ms) const;

 private:
  UniqueFd fd_;
  UniqueFd offload_fd_;
  int ifindex_ = 0;
};

// The EtherType of frames that no stack takes for its own (IEEE 802, local experimental).
inline constexpr std::uint16_t kTestEtherType = 0x88b5;
// A frame of `length` bytes (at least 14) of that type, its contents made from `seed`.
std::vector<std::uint8_t> make_test_frame(std::size_t length, std::uint32_t seed);

}  // namespace lmn::testing_support
