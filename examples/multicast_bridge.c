// SPDX-License-Identifier: Apache-2.0
//
// A bridge with VLANs that sends multicast only to who asked for it. Each frame teaches where its
// sender is; it goes to the port of its receiver, to the ports of its group, or to all ports of its
// VLAN but the one it came in by.
//
// What it teaches: multicast by redirect. With BPF_F_BROADCAST bpf_redirect_map sends to every port
// in a device map, and BPF_F_EXCLUDE_INGRESS leaves out the port of arrival. One such map is one
// group; which one is looked up in a map of maps, so that groups come and go while the program
// runs:
//
//   groups[{MAC of the group, VLAN}]   -> ports that asked for the group
//   groups[{ff:ff:ff:ff:ff:ff, VLAN}]  -> ports of the VLAN: broadcasts, unknown groups and
//   stations ports                              -> VLANs that are not in `groups`, untagged frames
//   (VLAN 0) too
//
// Who fills `groups` is a program of the host's that listens to IGMP and MLD: their messages are
// passed to it. Frames of the link itself (spanning tree, LACP, LLDP) are passed, never forwarded.
//
// Where stations are: LMN has the function bpf_lmn_fdb_lookup, which knows the bridges of the host
// or those the engine was given. In Linux, and on ports that are in no such bridge, the program's
// own table `stations` does: an LRU_HASH, so a flood of forged senders cannot fill it. An entry
// with ifindex 0 is an address of the host. Linux 5.13 or later (BPF_F_BROADCAST); devices must be
// able to transmit redirected frames. Tested by tests/examples/multicast_bridge_test.cc.
#include <linux/bpf.h>
#include <linux/errno.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <lmn/bpf/kfuncs.h>

#include "headers.h"

#define PORTS_MAX 64
#define GROUPS_MAX 1024
#define STATIONS_MAX 16384
#define AGE_NS_MAX 300000000000ull
#define MLD_QUERY 130
#define MLD_DONE 132
#define MLD2_REPORT 143

enum { TO_STATION, TO_GROUP, TO_VLAN, TO_ALL, TO_HOST, NOT_FORWARDED, BRIDGE_COUNTERS };

struct place {
  __u8 mac[ETH_ALEN];
  __u16 vlan_id;  // 0: untagged
};

struct station {
  __u32 ifindex;  // 0: the host
  __u32 zero;
  __u64 heard_ns;
};

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
  __uint(max_entries, PORTS_MAX);
  __type(key, __u32);    // any number; the ifindex is a good one
  __type(value, __u32);  // ifindex
} ports SEC(".maps");

struct group_ports {
  __uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
  __uint(max_entries, PORTS_MAX);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(__u32));
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, GROUPS_MAX);
  __uint(key_size, sizeof(struct place));
  __array(values, struct group_ports);
} groups SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, STATIONS_MAX);
  __type(key, struct place);
  __type(value, struct station);
} stations SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, BRIDGE_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} bridge_cnt SEC(".maps");

static __always_inline void count(__u32 what) {
  __u64* counter = bpf_map_lookup_elem(&bridge_cnt, &what);

  if (counter) ++*counter;
}

// Messages by which hosts join and leave groups: the host listens to them.
static __always_inline int is_membership(struct xdp_md* ctx) {
  void* end = (void*)(long)ctx->data_end;
  struct headers h;
  __u8* type;

  if (walk_headers(ctx, &h) != FOUND) return 0;
  if (h.version == 4) return h.protocol == IPPROTO_IGMP;
  type = h.transport;
  if (h.protocol != IPPROTO_ICMPV6 || h.fragment == LATER_FRAGMENT || (void*)(type + 1) > end)
    return 0;
  return (*type >= MLD_QUERY && *type <= MLD_DONE) || *type == MLD2_REPORT;
}

// 01:80:c2:00:00:00 to 0f, which no bridge forwards.
static __always_inline int is_of_the_link(const __u8* mac) {
  return mac[0] == 0x01 && mac[1] == 0x80 && mac[2] == 0xc2 && !mac[3] && !mac[4] &&
         !(mac[5] & 0xf0);
}

// A bridge that LMN knows. -ENODEV: there is none here, use our own table. Else 0 or -ENOENT.
static __always_inline int ask_fdb(struct xdp_md* ctx, const struct place* sender,
                                   const struct place* receiver, __u32* ifindex) {
  struct bpf_lmn_fdb entry = {};
  int error;

  if (!bpf_lmn_fdb_lookup || !bpf_lmn_fdb_learn) return -ENODEV;
  __builtin_memcpy(entry.mac, sender->mac, ETH_ALEN);
  entry.vlan_id = sender->vlan_id;
  if (bpf_lmn_fdb_learn(ctx, &entry, sizeof(entry)) == -ENODEV) return -ENODEV;
  __builtin_memset(&entry, 0, sizeof(entry));
  __builtin_memcpy(entry.mac, receiver->mac, ETH_ALEN);
  entry.vlan_id = receiver->vlan_id;
  error = bpf_lmn_fdb_lookup(ctx, &entry, sizeof(entry));
  if (error) return -ENOENT;
  *ifindex = entry.flags & BPF_LMN_FDB_LOCAL ? 0 : entry.ifindex;
  return 0;
}

static __always_inline int ask_stations(struct xdp_md* ctx, const struct place* sender,
                                        const struct place* receiver, __u32* ifindex) {
  const struct station here = {.ifindex = ctx->ingress_ifindex, .heard_ns = bpf_ktime_get_ns()};
  struct station* known = bpf_map_lookup_elem(&stations, sender);

  if (!known) {
    if (!(sender->mac[0] & 1)) bpf_map_update_elem(&stations, sender, &here, BPF_ANY);
  } else if (known->ifindex) {  // nobody else may take an address of the host
    known->ifindex = here.ifindex;
    known->heard_ns = here.heard_ns;
  }
  known = bpf_map_lookup_elem(&stations, receiver);
  if (!known) return -ENOENT;
  if (known->ifindex && here.heard_ns - known->heard_ns > AGE_NS_MAX) return -ENOENT;
  *ifindex = known->ifindex;
  return 0;
}

// To all who want it, but not back where it came from.
static __always_inline int send_to_many(const struct place* receiver, int is_group) {
  struct place everybody = {.mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                            .vlan_id = receiver->vlan_id};
  void* members = is_group ? bpf_map_lookup_elem(&groups, receiver) : 0;

  if (members) {
    count(TO_GROUP);
    return bpf_redirect_map(members, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
  }
  members = bpf_map_lookup_elem(&groups, &everybody);
  if (members) {
    count(TO_VLAN);
    return bpf_redirect_map(members, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
  }
  count(TO_ALL);
  return bpf_redirect_map(&ports, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
}

SEC("xdp")
int multicast_bridge(struct xdp_md* ctx) {
  void* end = (void*)(long)ctx->data_end;
  struct ethhdr* ethernet = (void*)(long)ctx->data;
  struct vlan_tag* tag = (void*)(ethernet + 1);
  struct place receiver = {};
  struct place sender = {};
  __u32 ifindex = 0;
  int error;

  if ((void*)(ethernet + 1) > end) return XDP_DROP;
  __builtin_memcpy(receiver.mac, ethernet->h_dest, ETH_ALEN);
  __builtin_memcpy(sender.mac, ethernet->h_source, ETH_ALEN);
  if (ethernet->h_proto == bpf_htons(ETH_P_8021Q) && (void*)(tag + 1) <= end) {
    sender.vlan_id = bpf_ntohs(tag->control) & 0x0fff;
    receiver.vlan_id = sender.vlan_id;
  }
  if (is_of_the_link(receiver.mac) || ((receiver.mac[0] & 1) && is_membership(ctx))) {
    count(TO_HOST);
    return XDP_PASS;
  }
  error = ask_fdb(ctx, &sender, &receiver, &ifindex);
  if (error == -ENODEV) error = ask_stations(ctx, &sender, &receiver, &ifindex);
  if (error || (receiver.mac[0] & 1)) return send_to_many(&receiver, receiver.mac[0] & 1);
  if (!ifindex) {
    count(TO_HOST);
    return XDP_PASS;
  }
  if (ifindex == ctx->ingress_ifindex) {
    count(NOT_FORWARDED);
    return XDP_DROP;
  }
  count(TO_STATION);
  return bpf_redirect(ifindex, 0);
}

char LICENSE[] SEC("license") = "GPL";
