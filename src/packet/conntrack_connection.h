// SPDX-License-Identifier: Apache-2.0
//
// What the sources of ConntrackTable share: a connection's record, access to images.
//
// The record holds what finds a connection; what a program sees lies in its image, whose fields are
// at offsets that are known only when the table is made: hence the copies by memcpy.
// Internal to packet; the public API is conntrack_table.h.
// Threads: under the table's lock. Tested by conntrack_table_test.cc.
#pragma once

#include <cstring>

#include "packet/conntrack_table.h"

namespace lmn {

class ConntrackTable::Connection {
 public:
  ConntrackTuple tuples[2];
  ConntrackZone zone;
  std::uint32_t next[kListCount];
  std::uint32_t references;
  bool is_used;
  bool is_inserted;
  bool is_by_source;
  bool is_of_host;
  std::uint32_t reading;  // of the host's: the last one that showed it
};

template <typename T>
T ConntrackTable::field(Connection& connection, std::uint32_t offset) noexcept {
  T value;
  std::memcpy(&value, image(connection) + offset, sizeof value);
  return value;
}

template <typename T>
void ConntrackTable::set_field(Connection& connection, std::uint32_t offset, T value) noexcept {
  std::memcpy(image(connection) + offset, &value, sizeof value);
}

}  // namespace lmn
