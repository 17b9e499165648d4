// SPDX-License-Identifier: Apache-2.0
//
// FlowTable: established flows and where their packets go on, as the flow tables of netfilter keep
// them to forward without asking routes and connections again.
//
// A flow is one direction: device it comes in by, addresses, ports; found, it says the device, the
// frame addresses and the MTU of the way out. Programs ask by bpf_xdp_flow_lookup and get a pointer
// to the flow's image, which is laid out as the kernel's struct flow_offload_tuple_rhash in the BTF
// that they are relocated for. The table is filled by calls or from text, one flow per line:
//
//   tcp 10.0.0.1:40000 192.0.2.1:80 iif 2 oif 3 smac 02:00:00:00:00:03 dmac 02:00:00:00:00:09
//   udp [fd00::1]:53 [fd00::2]:99 iif 3 mtu 1400
//
// Not as in the kernel: flows are there until they are taken out, because who puts them in knows
// when they end.
// Invariant: images do not move. Threads: filled by one thread while nothing runs, then only read,
// by any number. Tested by flow_table_test.cc and src/kfuncs/table_kfuncs_test.cc.
// Source: Linux 6.18, include/net/netfilter/nf_flow_table.h, net/netfilter/nf_flow_table_core.c.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "packet/conntrack_table.h"

namespace lmn {

struct FlowKey {
  ConntrackTuple tuple;
  std::uint32_t ingress = 0;
  bool operator==(const FlowKey&) const = default;
};

struct Flow {
  FlowKey key;
  std::uint32_t egress = 0;
  MacAddress source_mac{};
  MacAddress destination_mac{};
  std::uint16_t mtu = 1500;
};

// Where the fields of `struct flow_offload_tuple_rhash` lie; fields that the BTF lacks have none.
struct FlowLayout {
  std::uint32_t size_bytes = 88;
  std::optional<std::uint32_t> source = 8;
  std::optional<std::uint32_t> destination = 24;
  std::optional<std::uint32_t> source_port = 40;
  std::optional<std::uint32_t> destination_port = 42;
  std::optional<std::uint32_t> ingress = 44;
  std::optional<std::uint32_t> family = 48;
  std::optional<std::uint32_t> protocol = 49;
  std::optional<std::uint32_t> mtu = 60;
  std::optional<std::uint32_t> egress = 64;
  std::optional<std::uint32_t> source_mac = 72;
  std::optional<std::uint32_t> destination_mac = 78;
  bool operator==(const FlowLayout&) const = default;
};

class FlowTable {
 public:
  explicit FlowTable(const FlowLayout& layout = {}) : layout_(layout) {}

  // Replaces a flow of the same key.
  void add(const Flow& flow);
  // Errors: kMalformed with the line's number; lines before it are added.
  Result<void> read_text(std::string_view text);
  // Another shape for the images, those that are there included.
  void set_layout(const FlowLayout& layout);
  std::size_t size() const { return flows_.size(); }

  // The flow's image, or null.
  const std::uint8_t* find(const FlowKey& key) const noexcept;

 private:
  struct KeyHash {
    std::size_t operator()(const FlowKey& key) const noexcept;
  };
  struct Stored {
    Flow flow;
    std::unique_ptr<std::uint8_t[]> image;
  };
  std::unique_ptr<std::uint8_t[]> make_image(const Flow& flow) const;

  FlowLayout layout_;
  std::unordered_map<FlowKey, Stored, KeyHash> flows_;
};

}  // namespace lmn
