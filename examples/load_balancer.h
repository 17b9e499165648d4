// SPDX-License-Identifier: Apache-2.0
//
// Keys, values and counters of load_balancer.c's maps, and fill_ring(), which a loader fills the
// ring of a service by: for the program and for who fills its maps.
// Source of the ring: D. Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load
// Balancer", NSDI 2016, section 3.4.
// Tested by tests/examples/load_balancer_test.cc, which fills them by it.
#pragma once

#include <linux/types.h>

#define SERVICES_MAX 16
#define BACKENDS_MAX 256
#define RING_SLOTS 4099  // a prime, a hundred times the backends of a service or more
#define NOBODY 0xffffffffu

enum balancer_counter {
  SENT_KNOWN,    // to the backend that has the connection
  SENT_NEW,      // to the one that the ring names
  NOT_OURS,      // passed: no service, or nothing to balance
  LOST_BROKEN,   // dropped: longer than the frame
  LOST_NOBODY,   // dropped: no backend is up
  LOST_ROUTE,    // dropped: no route or no neighbour to the backend
  LOST_TOO_BIG,  // dropped: with the tunnel's header longer than the link takes
  BALANCER_COUNTERS,
};

// IPv4 addresses stand in the first word, with zeros behind.
struct service_key {
  __be32 address[4];
  __be16 port;
  __u8 protocol;
  __u8 version;
};

struct service {
  __u32 ring;  // slots ring * RING_SLOTS and following
};

enum backend_way {
  BACKEND_DOWN,
  BACKEND_TUNNEL,     // IP in IP, over any number of routers
  BACKEND_SAME_LINK,  // a new target MAC address: one hop away
};

struct backend {
  __be32 address[4];
  __u32 way;
};

struct flow {
  __be32 source[4];
  __be32 target[4];
  __be16 source_port;
  __be16 target_port;
  __u8 protocol;
  __u8 version;
  __u16 zero;
};

static inline __u32 mix32(__u32 x) {
  x = (x ^ (x >> 16)) * 0x7feb352d;
  x = (x ^ (x >> 15)) * 0x846ca68b;
  return x ^ (x >> 16);
}

// Each backend has its own order of all slots, and they take turns in picking the first free one of
// theirs. So each gets its share to a slot, and when one goes the others keep nearly all they had.
static inline void fill_ring(__u32* ring, const __u32* backends, __u32 count) {
  __u32 next[BACKENDS_MAX] = {0};
  __u32 taken = 0;

  for (__u32 i = 0; i < RING_SLOTS; i++) ring[i] = NOBODY;
  while (count > 0 && count <= BACKENDS_MAX) {
    for (__u32 i = 0; i < count; i++) {
      const __u64 offset = mix32(2 * backends[i]) % RING_SLOTS;
      const __u64 skip = mix32(2 * backends[i] + 1) % (RING_SLOTS - 1) + 1;
      __u32 slot;

      do slot = (__u32)((offset + skip * next[i]++) % RING_SLOTS);
      while (ring[slot] != NOBODY);
      ring[slot] = backends[i];
      if (++taken == RING_SLOTS) return;
    }
  }
}
