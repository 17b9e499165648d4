// SPDX-License-Identifier: Apache-2.0
//
// The table of flows. Tested by flow_table_test.cc.
#include "packet/flow_table.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "packet/text_words.h"

namespace lmn {
namespace {

template <typename T>
void put(std::uint8_t* image, std::optional<std::uint32_t> offset, const T& value) {
  if (offset) std::memcpy(image + *offset, &value, sizeof value);
}

Flow read_flow(TextWords& words) {
  Flow flow;
  ConntrackTuple& tuple = flow.key.tuple;
  IpFamily other{};
  const bool is_udp = words.take("udp");
  if (!is_udp && !words.take("tcp")) {
    words.fail_unknown();
    return flow;
  }
  tuple.protocol = is_udp ? IPPROTO_UDP : IPPROTO_TCP;
  tuple.source = words.endpoint(tuple.family, tuple.source_port);
  tuple.destination = words.endpoint(other, tuple.destination_port);
  if (words.error().empty() && other != tuple.family) words.fail("two ends of different families");
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("iif")) {
      flow.key.ingress = words.number<std::uint32_t>();
    } else if (words.take("oif")) {
      flow.egress = words.number<std::uint32_t>();
    } else if (words.take("smac")) {
      flow.source_mac = words.mac();
    } else if (words.take("dmac")) {
      flow.destination_mac = words.mac();
    } else if (words.take("mtu")) {
      flow.mtu = words.number<std::uint16_t>();
    } else {
      words.fail_unknown();
    }
  }
  if (words.error().empty() && flow.key.ingress == 0) words.fail("'iif' is missing");
  return flow;
}

}  // namespace

std::size_t FlowTable::KeyHash::operator()(const FlowKey& key) const noexcept {
  const ConntrackTuple& tuple = key.tuple;
  std::uint64_t words[4];
  std::memcpy(words, tuple.source.data(), 16);
  std::memcpy(words + 2, tuple.destination.data(), 16);
  std::uint64_t hash = std::uint64_t{key.ingress} << 40 ^ std::uint64_t{tuple.source_port} << 24 ^
                       std::uint64_t{tuple.destination_port} << 8 ^ tuple.protocol;
  for (const std::uint64_t word : words) {
    hash = (hash ^ word) * 0x9fb21c651e98df25u;
    hash ^= hash >> 32;
  }
  return hash;
}

std::unique_ptr<std::uint8_t[]> FlowTable::make_image(const Flow& flow) const {
  auto image = std::make_unique<std::uint8_t[]>(layout_.size_bytes);
  const ConntrackTuple& tuple = flow.key.tuple;
  const bool is_ipv6 = tuple.family == IpFamily::kIpv6;
  put(image.get(), layout_.source, tuple.source);
  put(image.get(), layout_.destination, tuple.destination);
  put(image.get(), layout_.source_port, tuple.source_port);
  put(image.get(), layout_.destination_port, tuple.destination_port);
  put(image.get(), layout_.ingress, flow.key.ingress);
  put(image.get(), layout_.family, static_cast<std::uint8_t>(is_ipv6 ? AF_INET6 : AF_INET));
  put(image.get(), layout_.protocol, tuple.protocol);
  put(image.get(), layout_.mtu, flow.mtu);
  put(image.get(), layout_.egress, flow.egress);
  put(image.get(), layout_.source_mac, flow.source_mac);
  put(image.get(), layout_.destination_mac, flow.destination_mac);
  return image;
}

void FlowTable::add(const Flow& flow) {
  flows_.insert_or_assign(flow.key, Stored{flow, make_image(flow)});
}

void FlowTable::set_layout(const FlowLayout& layout) {
  layout_ = layout;
  for (auto& [key, stored] : flows_) stored.image = make_image(stored.flow);
}

Result<void> FlowTable::read_text(std::string_view text) {
  return read_text_lines(text, "flows", [this](TextWords& words) {
    const Flow flow = read_flow(words);
    if (words.error().empty()) add(flow);
  });
}

const std::uint8_t* FlowTable::find(const FlowKey& key) const noexcept {
  const auto found = flows_.find(key);
  return found == flows_.end() ? nullptr : found->second.image.get();
}

}  // namespace lmn
