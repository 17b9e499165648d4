// SPDX-License-Identifier: Apache-2.0
//
// FdbTable::Entry: one address, shared by the sources of FdbTable. Internal to packet; the public
// API is fdb_table.h. Threads: under the table's lock. Tested by fdb_table_test.cc.
#pragma once

#include "packet/fdb_table.h"

namespace lmn {

struct FdbTable::Entry {
  std::uint32_t bridge = 0;
  std::uint32_t port = 0;
  std::uint32_t flags = 0;
  MacAddress mac{};
  std::uint16_t vlan = 0;
  std::uint64_t seen_ns = 0;
  std::uint32_t next = 0;  // position + 1 of the next one in the bucket, or of the next free one
  bool is_used = false;
  bool is_of_host = false;
  std::uint32_t reading = 0;  // of the host's: the last one that showed it
};

}  // namespace lmn
