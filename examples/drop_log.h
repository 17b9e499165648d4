// SPDX-License-Identifier: Apache-2.0
//
// What drop_log.c writes into its ring for each packet it drops, and why it may drop one: for the
// program and for whoever reads the ring.
// Tested by tests/examples/drop_log_test.cc, which reads by it.
#pragma once

#include <linux/types.h>

#define DROP_BYTES_MAX 64

enum drop_reason {
  DROP_CUT,                   // ends within a header, or the header contradicts itself
  DROP_LENGTH,                // the IP header promises more bytes than there are
  DROP_SOURCE,                // sent by a group, by nobody, or by its own receiver
  DROP_EXPIRED,               // TTL or hop limit 0
  DROP_TCP_FLAGS,             // no stack sends these: scans do
  DROP_SMALL_FRAGMENT,        // a first fragment too short for its transport header
  DROP_REASONS,               // how many
  DROPS_LOST = DROP_REASONS,  // not a reason: drops whose record found no room
  DROP_COUNTERS,
};

struct drop_record {
  __u64 time_ns;  // CLOCK_MONOTONIC
  __u32 reason;   // enum drop_reason
  __u32 ifindex;
  __u32 queue;
  __u32 packet_bytes;
  __u32 captured_bytes;
  __u32 lost_before;  // drops of this CPU without a record so far
  __u8 bytes[DROP_BYTES_MAX];
};
