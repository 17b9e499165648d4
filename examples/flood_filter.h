// SPDX-License-Identifier: Apache-2.0
//
// Keys, values and counters of flood_filter.c's maps, for the program and for who fills them.
// Tested by tests/examples/flood_filter_test.cc, which fills them by it.
#pragma once

#include <linux/types.h>

// What a source is limited in, each by a rate of its own.
enum flood_class {
  FLOOD_SYN,        // TCP packets that open connections
  FLOOD_REFLECTED,  // UDP from a port that amplifies: DNS, NTP, memcached ...
  FLOOD_FRAGMENT,   // all but the first fragment: amplified answers come in such
  FLOOD_CLASSES,
};

enum flood_counter {
  PASSED_OTHER,    // nothing to say about it
  PASSED_ALLOWED,  // by the list
  PASSED_IN_RATE,
  DROPPED_DENIED,  // by the list
  DROPPED_OVER_RATE,
  DROPPED_MALFORMED,  // an IP header that cannot be
  FLOOD_COUNTERS,
};

struct flood_count {
  __u64 packets;
  __u64 bytes;
};

enum list_verdict { LISTED_ALLOW = 1, LISTED_DENY = 2 };

// Keys of the lists. The longest prefix decides, so an allowed host may lie in a denied network.
struct prefix4 {
  __u32 bits;
  __be32 address;
};

struct prefix6 {
  __u32 bits;
  __be32 address[4];
};

// An interval and no rate: who fills it divides once, not the program per packet.
struct flood_limit {
  __u64 interval_ns;  // 1,000,000,000 / packets per second; 0: no limit
  __u64 burst;        // packets that may come at once, 1 or more
};

struct bucket_key {
  __u32 kind;        // enum flood_class
  __be32 source[4];  // IPv6: the first 64 bits, for every host has that many to choose from
};

struct bucket {
  __u64 free_at_ns;  // when all that was taken is given back
};
