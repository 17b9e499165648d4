// SPDX-License-Identifier: Apache-2.0
//
// ConntrackTable as text: lines of words, as conntrack_table.h shows them. What to_text() writes
// read_text() reads. Tested by conntrack_table_test.cc.
#include <arpa/inet.h>
#include <fmt/format.h>

#include "packet/conntrack_table.h"
#include "packet/jiffies.h"
#include "packet/text_words.h"

namespace lmn {
namespace {

struct StatusWord {
  std::uint32_t bit;
  std::string_view word;
};
// Confirmed is what every connection of the table is, dying none.
constexpr StatusWord kStatusWords[] = {
    {kCtExpected, "expected"},
    {kCtSeenReply, "seen_reply"},
    {kCtAssured, "assured"},
    {kCtSourceNat, "src_nat"},
    {kCtDestinationNat, "dst_nat"},
    {kCtSequenceAdjusted, "seq_adjust"},
    {kCtSourceNatDone, "src_nat_done"},
    {kCtDestinationNatDone, "dst_nat_done"},
    {kCtFixedTimeout, "fixed_timeout"},
    {kCtTemplate, "template"},
    {kCtUntracked, "untracked"},
    {kCtHelper, "helper"},
    {kCtOffloaded, "offload"},
    {kCtHardwareOffloaded, "hw_offload"},
};

constexpr std::uint32_t kDefaultTimeoutSeconds = 600;

std::uint32_t read_status(TextWords& words) {
  std::string_view list = words.next();
  std::uint32_t status = 0;
  while (!list.empty()) {
    const std::string_view word = list.substr(0, list.find(','));
    list.remove_prefix(std::min(word.size() + 1, list.size()));
    std::uint32_t bit = 0;
    for (const StatusWord& known : kStatusWords) {
      if (known.word == word) bit = known.bit;
    }
    if (bit == 0) words.fail(fmt::format("'{}' is no status", word));
    status |= bit;
  }
  return status;
}

ConntrackTuple read_tuple(TextWords& words, std::uint8_t protocol) {
  ConntrackTuple tuple;
  IpFamily other{};
  tuple.protocol = protocol;
  tuple.source = words.endpoint(tuple.family, tuple.source_port);
  tuple.destination = words.endpoint(other, tuple.destination_port);
  if (words.error().empty() && other != tuple.family) words.fail("two ends of different families");
  return tuple;
}

ConntrackRecord read_record(TextWords& words) {
  ConntrackRecord record;
  record.timeout_s = kDefaultTimeoutSeconds;
  const bool is_udp = words.take("udp");
  if (!is_udp && !words.take("tcp")) {
    words.fail_unknown();
    return record;
  }
  const std::uint8_t protocol = is_udp ? IPPROTO_UDP : IPPROTO_TCP;
  record.original = read_tuple(words, protocol);
  record.reply = record.original.reversed();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("reply")) {
      record.reply = read_tuple(words, protocol);
      if (record.reply.family != record.original.family) words.fail("a reply of another family");
    } else if (words.take("timeout")) {
      record.timeout_s = words.number<std::uint32_t>();
    } else if (words.take("status")) {
      record.status = read_status(words);
    } else if (words.take("mark")) {
      record.mark = words.number<std::uint32_t>();
    } else if (words.take("zone")) {
      record.zone.id = words.number<std::uint16_t>();
      if (words.take("orig")) record.zone.directions = kZoneOriginal;
      if (words.take("reply-only")) record.zone.directions = kZoneReply;
    } else {
      words.fail_unknown();
    }
  }
  return record;
}

std::string endpoint_text(IpFamily family, const IpAddress& address, std::uint16_t port) {
  char text[INET6_ADDRSTRLEN];
  const bool is_ipv6 = family == IpFamily::kIpv6;
  ::inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, address.data(), text, sizeof text);
  return is_ipv6 ? fmt::format("[{}]:{}", text, ntohs(port))
                 : fmt::format("{}:{}", text, ntohs(port));
}

std::string tuple_text(const ConntrackTuple& tuple) {
  return endpoint_text(tuple.family, tuple.source, tuple.source_port) + " " +
         endpoint_text(tuple.family, tuple.destination, tuple.destination_port);
}

std::string record_text(const ConntrackRecord& record) {
  std::string out = record.original.protocol == IPPROTO_UDP ? "udp " : "tcp ";
  out += tuple_text(record.original);
  if (!(record.reply == record.original.reversed())) out += " reply " + tuple_text(record.reply);
  out += fmt::format(" timeout {}", record.timeout_s);
  std::string status;
  for (const StatusWord& known : kStatusWords) {
    if ((record.status & known.bit) != 0)
      status += (status.empty() ? "" : ",") + std::string(known.word);
  }
  if (!status.empty()) out += " status " + status;
  if (record.mark != 0) out += fmt::format(" mark {}", record.mark);
  if (record.zone.id != 0) {
    out += fmt::format(" zone {}", record.zone.id);
    if (record.zone.directions == kZoneOriginal) out += " orig";
    if (record.zone.directions == kZoneReply) out += " reply-only";
  }
  return out + "\n";
}

}  // namespace

Result<void> ConntrackTable::read_text(std::string_view text, Jiffies now) {
  return read_text_lines(text, "connections", [this, now](TextWords& words) {
    const ConntrackRecord record = read_record(words);
    if (!words.error().empty()) return;
    if (!add(record, now)) words.fail("the addresses are those of an earlier line, or no room");
  });
}

std::string ConntrackTable::to_text(Jiffies now) {
  std::string out;
  for_each(now, [&out](const ConntrackRecord& record) { out += record_text(record); });
  return out;
}

}  // namespace lmn
