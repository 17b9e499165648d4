// SPDX-License-Identifier: Apache-2.0
//
// The packet driver: a port over a kernel netdev by AF_PACKET.
//
// It needs no driver support and no change to the netdev, but the kernel's stack still gets its own
// copy of every frame: use it on netdevs without addresses (a bump in the wire), or know that the
// host answers too; notices() says when it will. Who sees what, with measurements:
// docs/decisions/0003-who-sees-what-on-a-netdev.md.
// Tested by ports_contract_test.cc and tests/system/ports_packet_test.cc.
#include <fmt/format.h>
#include <net/if_arp.h>

#include <memory>
#include <utility>

#include "ports/netdev/netdev.h"
#include "ports/packet/packet_rx.h"
#include "ports/packet/packet_tx.h"
#include "ports/port.h"
#include "ports/port_spec.h"

namespace lmn {
namespace {

class PacketPort final : public Port, private PacketTx::Watcher {
 public:
  PacketPort(const PortSpec& spec, const NetdevFacts& netdev, FramePool& pool)
      : netdev_(netdev), rx_(netdev, pool), tx_(netdev, *this) {
    info_.name = netdev.name;
    info_.driver = spec.driver;
    info_.ifindex = netdev.ifindex;
    info_.mtu = netdev.mtu;
    info_.mac = netdev.mac;
  }
  Result<void> open() {
    LMN_CHECK_OK(rx_.open());
    return tx_.open();
  }

  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }
  std::vector<std::string> notices() const override;
  Result<void> finish() override {
    tx_.flush();
    tx_.drop_pending();
    rx_.read_statistics();
    return {};
  }

 private:
  bool is_up() const noexcept override { return rx_.state() == NetdevState::kUp; }

  NetdevFacts netdev_;
  PacketRx rx_;
  PacketTx tx_;
};

std::vector<std::string> PacketPort::notices() const {
  const std::string& name = netdev_.name;
  std::vector<std::string> out;
  if (!netdev_.is_up) out.push_back(fmt::format("netdev '{}' is down", name));
  std::string addresses;
  for (const std::string& address : read_netdev_addresses(name)) {
    addresses += (addresses.empty() ? "" : ", ") + address;
  }
  if (!addresses.empty()) {
    out.push_back(
        fmt::format("netdev '{}' has addresses ({}): the kernel's stack gets its own copy "
                    "of each frame and answers too",
                    name, addresses));
  }
  if (netdev_.master_ifindex != 0) {
    out.push_back(
        fmt::format("netdev '{}' belongs to a bridge or bond (ifindex {}): it forwards its "
                    "own copy of each frame",
                    name, netdev_.master_ifindex));
  }
  if (is_forwarding(name)) {
    out.push_back(
        fmt::format("forwarding is on for netdev '{}': the kernel routes its own copy of "
                    "frames sent to the netdev's address",
                    name));
  }
  if (!rx_.has_full_buffer()) {
    out.push_back(
        fmt::format("port '{}': the kernel grants only a small socket buffer without root: "
                    "bursts of segments to be cut (TSO) are lost in part (rx_truncated)",
                    name));
  }
  return out;
}

}  // namespace

Result<OpenedPorts> open_packet_port(const PortSpec& spec, PortResources& resources) {
  LMN_CHECK_OK(check_spec(
      spec, {.keys = {}, .repeatable_keys = {}, .name_count_min = 1, .name_count_max = 1}));
  LMN_TRY(const NetdevFacts netdev, read_netdev(spec.names.front()));
  if (netdev.link_type != ARPHRD_ETHER && netdev.link_type != ARPHRD_LOOPBACK) {
    return make_error(
        ErrorCode::kNotSupported,
        fmt::format("port '{}': netdev of link type {}, only Ethernet (1) is supported", spec.text,
                    netdev.link_type));
  }
  auto port = std::make_unique<PacketPort>(spec, netdev, *resources.pool);
  LMN_CHECK_OK(port->open());
  OpenedPorts ports;
  ports.push_back(std::move(port));
  return ports;
}

}  // namespace lmn
