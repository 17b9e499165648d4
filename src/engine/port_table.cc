// SPDX-License-Identifier: Apache-2.0
//
// PortTable. Tested by engine_test.cc.
#include "engine/port_table.h"

#include <utility>

namespace lmn {
namespace {

// As Linux numbers and sizes it (drivers/net/loopback.c).
constexpr std::uint32_t kLoopbackIfindex = 1;
constexpr std::uint32_t kLoopbackMtu = 65536;
constexpr std::string_view kLoopbackName = "lo";

}  // namespace

void PortTable::publish(std::span<const std::unique_ptr<Port>> ports) {
  auto rows = std::make_unique<Rows>();
  for (const std::unique_ptr<Port>& port : ports) {
    rows->push_back({port->info().ifindex, port->info().mtu, &port->tx_queue(), port->info().name});
  }
  rows_.store(rows.get(), std::memory_order_release);
  std::unique_ptr<const Rows> before = std::exchange(owned_, std::move(rows));
  if (before != nullptr) epoch_.retire([old = std::move(before)] {});
}

const PortTable::Row* PortTable::find(std::uint32_t ifindex) const noexcept {
  const Rows* rows = rows_.load(std::memory_order_acquire);
  if (rows == nullptr) return nullptr;
  for (const Row& row : *rows) {
    if (row.ifindex == ifindex) return &row;
  }
  return nullptr;
}

FrameSink* PortTable::find_sink(std::uint32_t ifindex) noexcept {
  const Row* row = find(ifindex);
  return row == nullptr ? nullptr : row->sink;
}

std::optional<std::uint32_t> PortTable::find_mtu(std::uint32_t ifindex) noexcept {
  if (const Row* row = find(ifindex)) return row->mtu;
  // The loopback device is always there; test runs happen on it, as the kernel's do.
  if (ifindex == kLoopbackIfindex) return kLoopbackMtu;
  return std::nullopt;
}

std::string_view PortTable::find_name(std::uint32_t ifindex) noexcept {
  if (const Row* row = find(ifindex)) return row->name;
  return ifindex == kLoopbackIfindex ? kLoopbackName : std::string_view();
}

}  // namespace lmn
