// SPDX-License-Identifier: Apache-2.0
//
// The tap driver: a netdev whose wire is this port: what the host's stack sends into the netdev is
// received here, what is sent here the stack receives.
//
// So a TAP that carries the host's addresses is the natural pass sink, and a host behind XDP needs
// no other netdev. The device is opened without the virtio header and with all offloads off: the
// kernel then cuts super-frames, completes checksums and puts VLAN tags in before it hands a frame
// over, also for frames that a bridge brings from a veth, and a read costs less than one with the
// header (figures and the test: docs/decisions/0003-who-sees-what-on-a-netdev.md).
//
//   tap:name=lmn0,addr=10.0.0.1/24,addr=fd00::1/64
//
// One read(2) or write(2) moves one frame, which makes it the slowest kernel port per frame and the
// simplest. The netdev goes away with the port, unless `persist` keeps it.
// Invariant: a frame is read straight into the pool's memory; up to 320 bytes of tail-room are used
// to notice one that is too long.
// Not done yet: several queues.
// Threads: the worker. Tested by ports_contract_test.cc and tests/system/ports_tap_test.cc.
// Source: Linux 6.18, drivers/net/tun.c; Documentation/networking/tuntap.rst.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/unique_fd.h"
#include "ports/frame_ring.h"
#include "ports/frame_rules.h"
#include "ports/netdev/netdev.h"
#include "ports/port.h"
#include "ports/port_spec.h"

namespace lmn {
namespace {

constexpr char kDevicePath[] = "/dev/net/tun";
constexpr std::uint32_t kWatchInterval = 64;  // empty receives between two looks at the netdev

// What both queues share: the device, and whether its netdev is up.
struct TapDevice {
  UniqueFd fd;
  NetdevFacts netdev;
  NetdevState state = NetdevState::kUp;

  // Asked of the device itself, not of its name: the netdev may have been moved to another network
  // namespace or renamed (a container's interface), and we are still its wire. tun reports an error
  // when the netdev is gone, and is writable exactly when it is up.
  void watch() noexcept {
    pollfd asked{fd.get(), POLLOUT, 0};
    if (::poll(&asked, 1, 0) < 0) return;  // interrupted: what was known stays
    if ((asked.revents & POLLERR) != 0) {
      state = NetdevState::kGone;
    } else {
      state = (asked.revents & POLLOUT) != 0 ? NetdevState::kUp : NetdevState::kDown;
    }
  }
};

class TapRx final : public RxQueue {
 public:
  TapRx(TapDevice& device, FramePool& pool) : device_(device), pool_(pool) {
    info_.ifindex = device.netdev.ifindex;
  }
  std::size_t receive(FrameBatch& batch) noexcept override;
  bool is_exhausted() const noexcept override { return device_.state == NetdevState::kGone; }
  int poll_fd() const noexcept override { return device_.fd.get(); }
  std::string input_error() const override {
    if (!is_exhausted()) return {};
    return fmt::format("port 'tap': netdev '{}' is gone", device_.netdev.name);
  }

 private:
  TapDevice& device_;
  FramePool& pool_;
  std::uint32_t idle_count_ = 0;
};

std::size_t TapRx::receive(FrameBatch& batch) noexcept {
  const std::size_t before = batch.count;
  constexpr std::size_t kReadBytes = limits::kPacketBytesMax + limits::kTailroomBytes;
  while (batch.room() > 0) {
    std::uint8_t* hard_start = pool_.allocate();
    if (hard_start == nullptr) break;
    const ssize_t got = ::read(device_.fd.get(), hard_start + limits::kHeadroomBytes, kReadBytes);
    if (got < 0) {
      pool_.free(hard_start);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) device_.watch();
      break;
    }
    const Counter verdict =
        judge_rx_length(static_cast<std::uint64_t>(got), limits::kPacketBytesMax);
    if (verdict != Counter::kRxPackets) {
      pool_.free(hard_start);
      counters_.add(verdict);
      continue;
    }
    XdpBuff& buff = append_buff(batch, pool_, hard_start, info_);
    buff.data_end = buff.data + got;
  }
  const std::size_t received = batch.count - before;
  const bool is_due = device_.state == NetdevState::kDown || ++idle_count_ % kWatchInterval == 0;
  if (received == 0 && is_due) device_.watch();
  return received;
}

class TapTx final : public TxQueue {
 public:
  explicit TapTx(TapDevice& device) : device_(device), waiting_(limits::kTxPendingFrames) {}

  int check(std::uint32_t length_bytes) const noexcept override {
    return check_frame_length(device_.state == NetdevState::kUp, device_.netdev.mtu, length_bytes);
  }
  void enqueue(XdpFrame* frame) noexcept override {
    if (check(frame->length) != 0) return drop_tx_frame(frame, counters_);
    if (waiting_.is_full()) flush();
    if (!waiting_.push(frame)) drop_tx_frame(frame, counters_);
  }
  void flush() noexcept override;
  std::uint64_t pending() const noexcept override { return waiting_.size(); }
  void drop_pending() noexcept { counters_.add(Counter::kTxDropped, waiting_.clear()); }

 private:
  TapDevice& device_;
  FrameRing waiting_;
};

void TapTx::flush() noexcept {
  while (!waiting_.is_empty()) {
    XdpFrame* frame = waiting_.peek(0);
    const ssize_t wrote = ::write(device_.fd.get(), frame->data(), frame->length);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) return;  // stays, and is tried again at the next flush
    waiting_.pop();
    if (wrote < 0) {
      drop_tx_frame(frame, counters_);
      device_.watch();
      continue;
    }
    counters_.add(Counter::kTxPackets);
    counters_.add(Counter::kTxBytes, frame->length);
    free_frame(frame);
  }
}

class TapPort final : public Port {
 public:
  TapPort(const PortSpec& spec, TapDevice device, FramePool& pool)
      : device_(std::move(device)), rx_(device_, pool), tx_(device_) {
    info_.name = device_.netdev.name;
    info_.driver = spec.driver;
    info_.ifindex = device_.netdev.ifindex;
    info_.mtu = device_.netdev.mtu;
    info_.mac = device_.netdev.mac;
  }
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }
  std::vector<std::string> notices() const override {
    if (!is_forwarding(device_.netdev.name)) return {};
    return {fmt::format("forwarding is on for netdev '{}': the host routes what it gets there",
                        device_.netdev.name)};
  }
  Result<void> finish() override {
    tx_.flush();
    tx_.drop_pending();
    return {};
  }

 private:
  TapDevice device_;
  TapRx rx_;
  TapTx tx_;
};

std::unexpected<Error> tap_error(const PortSpec& spec, std::string_view what, int errno_value) {
  Error error = system_error(fmt::format("port '{}': {}", spec.text, what), errno_value);
  if (error.code == ErrorCode::kPermission) error.remedy = "needs CAP_NET_ADMIN";
  return make_error(std::move(error));
}

Result<UniqueFd> open_device(const PortSpec& spec) {
  UniqueFd fd(::open(kDevicePath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.is_open()) return fd;
  const int cause = errno;
  Error error = system_error(fmt::format("port '{}': open {}", spec.text, kDevicePath), cause);
  if (cause == ENOENT || cause == ENODEV) error.remedy = "load the kernel module tun";
  if (error.code == ErrorCode::kPermission) {
    error.remedy = fmt::format("needs the right to read and write {}", kDevicePath);
  }
  return make_error(std::move(error));
}

// Makes the netdev, or takes over a persistent one of that name; gives its real name.
Result<std::string> attach_netdev(const PortSpec& spec, int fd, std::string_view name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) {
    return spec_error(spec, fmt::format("name={}: a netdev name has at most {} characters", name,
                                        sizeof request.ifr_name - 1));
  }
  name.copy(request.ifr_name, name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(fd, TUNSETIFF, &request) != 0) {
    return tap_error(spec, fmt::format("make the TAP netdev '{}'", name), errno);
  }
  std::string real_name(request.ifr_name);
  // A persistent netdev may have been left with offloads that another program asked for.
  if (::ioctl(fd, TUNSETOFFLOAD, 0) != 0) return tap_error(spec, "turn offloads off", errno);
  const bool persists = std::ranges::find(spec.names, "persist") != spec.names.end();
  if (persists && ::ioctl(fd, TUNSETPERSIST, 1) != 0) {
    return tap_error(spec, "make the netdev persistent", errno);
  }
  return real_name;
}

Result<void> configure_netdev(const PortSpec& spec, const NetdevFacts& netdev) {
  if (find_option(spec, "mtu")) {
    LMN_TRY(const std::uint32_t mtu, mtu_option(spec, netdev.mtu));
    LMN_CHECK_OK(set_netdev_mtu(netdev, mtu));
  }
  for (const PortOption& option : spec.options) {
    if (option.key != "addr") continue;
    LMN_TRY(const InterfaceAddress address, parse_interface_address(option.value));
    LMN_CHECK_OK(add_netdev_address(netdev, address));
  }
  return set_netdev_up(netdev);
}

}  // namespace

Result<OpenedPorts> open_tap_port(const PortSpec& spec, PortResources& resources) {
  static constexpr std::string_view kKeys[] = {"mtu", "name"};
  static constexpr std::string_view kRepeatable[] = {"addr"};
  LMN_CHECK_OK(
      check_spec(spec, {.keys = kKeys, .repeatable_keys = kRepeatable, .name_count_max = 1}));
  if (!spec.names.empty() && spec.names.front() != "persist") {
    return spec_error(spec, fmt::format("unknown word '{}'", spec.names.front()));
  }
  const auto name = find_option(spec, "name");
  if (!name || name->empty()) return spec_error(spec, "name= is missing");
  for (const PortOption& option : spec.options) {
    if (option.key == "addr") LMN_CHECK_OK(parse_interface_address(option.value));
  }
  LMN_CHECK_OK(mtu_option(spec, 1500));  // before anything is made
  TapDevice device;
  LMN_TRY(device.fd, open_device(spec));
  LMN_TRY(const std::string real_name, attach_netdev(spec, device.fd.get(), *name));
  LMN_TRY(const NetdevFacts before, read_netdev(real_name));
  LMN_CHECK_OK(configure_netdev(spec, before));
  LMN_TRY(device.netdev, read_netdev(real_name));
  OpenedPorts ports;
  ports.push_back(std::make_unique<TapPort>(spec, std::move(device), *resources.pool));
  return ports;
}

}  // namespace lmn
