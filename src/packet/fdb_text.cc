// SPDX-License-Identifier: Apache-2.0
//
// FdbTable as text: lines of words, as fdb_table.h shows them. What to_text() writes read_text()
// reads. Tested by fdb_table_test.cc.
#include <fmt/format.h>

#include "packet/fdb_entry.h"
#include "packet/text_words.h"

namespace lmn {
namespace {

FdbBridge read_bridge(TextWords& words) {
  FdbBridge bridge;
  bridge.ifindex = words.number<std::uint32_t>();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("ageing")) {
      bridge.ageing_s = words.number<std::uint32_t>();
    } else if (words.take("vlan_filtering")) {
      bridge.filters_vlans = true;
    } else {
      words.fail_unknown();
    }
  }
  return bridge;
}

FdbPort read_port(TextWords& words) {
  FdbPort port;
  port.ifindex = words.number<std::uint32_t>();
  if (!words.take("bridge")) words.fail("'bridge' is missing");
  port.bridge = words.number<std::uint32_t>();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("pvid")) {
      port.pvid = words.number<std::uint16_t>();
    } else if (words.take("nolearn")) {
      port.learns = false;
    } else {
      words.fail_unknown();
    }
  }
  return port;
}

FdbRecord read_entry(TextWords& words) {
  FdbRecord record;
  record.mac = words.mac();
  if (!words.take("port")) words.fail("'port' is missing");
  record.port = words.number<std::uint32_t>();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("vlan")) {
      record.vlan = words.number<std::uint16_t>();
    } else if (words.take("static")) {
      record.flags |= kFdbStatic;
    } else if (words.take("local")) {
      record.flags |= kFdbLocal;
    } else if (words.take("sticky")) {
      record.flags |= kFdbSticky;
    } else {
      words.fail_unknown();
    }
  }
  return record;
}

std::string mac_text(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                     mac[4], mac[5]);
}

}  // namespace

Result<void> FdbTable::read_text(std::string_view text, std::uint64_t now_ns) {
  return read_text_lines(text, "bridge entries", [this, now_ns](TextWords& words) {
    if (words.take("bridge")) {
      const FdbBridge bridge = read_bridge(words);
      if (words.error().empty()) add_bridge(bridge);
    } else if (words.take("port")) {
      const FdbPort port = read_port(words);
      if (words.error().empty() && bridge_of(port.bridge) == nullptr) {
        words.fail(fmt::format("there is no bridge {}", port.bridge));
      }
      if (words.error().empty()) add_port(port);
    } else if (words.take("entry")) {
      const FdbRecord record = read_entry(words);
      if (!words.error().empty()) return;
      if (const auto added = add(record, now_ns); !added) words.fail(added.error().message);
    } else {
      words.fail_unknown();
    }
  });
}

std::string FdbTable::to_text(std::uint64_t now_ns) {
  const SpinGuard guard(lock_);
  std::string out;
  for (const FdbBridge& bridge : bridges_) {
    out += fmt::format("bridge {} ageing {}{}\n", bridge.ifindex, bridge.ageing_s,
                       bridge.filters_vlans ? " vlan_filtering" : "");
  }
  for (const FdbPort& port : ports_) {
    out += fmt::format("port {} bridge {} pvid {}{}\n", port.ifindex, port.bridge, port.pvid,
                       port.learns ? "" : " nolearn");
  }
  for (const Entry& entry : entries_) {
    if (!entry.is_used || is_aged(entry, now_ns)) continue;
    out += fmt::format("entry {} port {}", mac_text(entry.mac), entry.port);
    if (entry.vlan != 0) out += fmt::format(" vlan {}", entry.vlan);
    if ((entry.flags & kFdbStatic) != 0) out += " static";
    if ((entry.flags & kFdbLocal) != 0) out += " local";
    if ((entry.flags & kFdbSticky) != 0) out += " sticky";
    out += "\n";
  }
  return out;
}

}  // namespace lmn
