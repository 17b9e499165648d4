// SPDX-License-Identifier: Apache-2.0
//
// Kernel functions that LMN offers to XDP programs beyond Linux's: bridges, metadata of packets.
//
// They are declared weak: in Linux, which does not have them, their address is null, and a program
// that asks runs in both.
//
//   if (bpf_lmn_fdb_lookup) error = bpf_lmn_fdb_lookup(ctx, &fdb, sizeof(fdb));
//
// These signatures are stable: they may get flags for what is zero now, and structs may grow at
// their end; sizes are passed, so that older programs keep their meaning.
// Include after <linux/bpf.h> and <bpf/bpf_helpers.h>.
// /
#ifndef LMN_BPF_KFUNCS_H
#define LMN_BPF_KFUNCS_H

/* --- bridges */

enum bpf_lmn_fdb_flags {
  BPF_LMN_FDB_STATIC = 1, /* does not age */
  BPF_LMN_FDB_LOCAL = 2,  /* an address of the bridge itself: for the host */
  BPF_LMN_FDB_STICKY = 4, /* does not move to another port */
};

struct bpf_lmn_fdb {
  __u8 mac[6];   /* in: the address */
  __u16 vlan_id; /* in: of the packet's tag; 0: it has none */
  __u32 ifindex; /* in: port of a bridge, 0: where the packet came in; out: where the address is */
  __u32 flags;   /* out: enum bpf_lmn_fdb_flags */
};

/* Which port of the bridge is fdb->mac behind? 0, and ifindex and flags are set.
 * -ENODEV  ifindex is no port of a bridge   -ENOENT  nobody knows: flood
 * -EINVAL  too small a struct, or no VLAN for the packet   -E2BIG  bytes behind the struct that are
 * not zero */
extern int bpf_lmn_fdb_lookup(struct xdp_md* ctx, struct bpf_lmn_fdb* fdb,
                              __u32 fdb__sz) __ksym __weak;

/* fdb->mac was heard at the port. 0, or as above and:
 * -EADDRNOTAVAIL  no address of a sender    -EPERM  the port does not learn
 * -EEXIST  the address stays where it is    -ENOSPC  no room */
extern int bpf_lmn_fdb_learn(struct xdp_md* ctx, struct bpf_lmn_fdb* fdb,
                             __u32 fdb__sz) __ksym __weak;

/* --- metadata: -EOPNOTSUPP from a port that can never know, -ENODATA when it does not for this
 * packet; the variable is then left alone */

enum bpf_lmn_csum {
  BPF_LMN_CSUM_NONE = 0,        /* nobody has looked */
  BPF_LMN_CSUM_UNNECESSARY = 1, /* checked, and right */
  BPF_LMN_CSUM_COMPLETE = 2,    /* the sum of the packet is known */
  BPF_LMN_CSUM_PARTIAL = 3,     /* not filled in yet */
};

extern int bpf_lmn_metadata_rx_csum(const struct xdp_md* ctx, __u32* state) __ksym __weak;
/* The mark that the receiver gave to the packet's flow. */
extern int bpf_lmn_metadata_rx_mark(const struct xdp_md* ctx, __u32* mark) __ksym __weak;

enum bpf_lmn_offsets_flags {
  BPF_LMN_OFFSETS_VLAN = 1,     /* tagged: l3 lies behind the tags */
  BPF_LMN_OFFSETS_FRAGMENT = 2, /* a fragment; l4 is set for the first one only */
};

/* From ctx->data on; 0: not there. */
struct bpf_lmn_offsets {
  __u16 l3;
  __u16 l4;
  __u16 payload; /* behind the l4 header */
  __be16 l3_proto;
  __u8 l4_proto;
  __u8 flags; /* enum bpf_lmn_offsets_flags */
  __u16 reserved;
};

/* Where the headers of the packet begin, as it is now. 0, -ENODATA for less than a frame's header,
 * -EINVAL for another size of the struct. */
extern int bpf_lmn_metadata_rx_offsets(const struct xdp_md* ctx, struct bpf_lmn_offsets* offsets,
                                       __u32 offsets__sz) __ksym __weak;

#endif
