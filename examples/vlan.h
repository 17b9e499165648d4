// SPDX-License-Identifier: Apache-2.0
//
// The IEEE 802.1Q tag as it stands in a frame, for vlan_push.c and vlan_pop.c: it follows the two
// MAC addresses, and the EtherType of what it carries follows it. The kernel's UAPI headers have no
// struct for it.
#pragma once

#include <linux/if_ether.h>
#include <linux/types.h>

#define VLAN_TAG_BYTES 4
#define VLAN_ID_MASK 0x0fff

// Both MAC addresses at once: what moves when a tag comes or goes.
// In halfwords, since that is how a frame is aligned.
struct mac_addresses {
  __be16 dst[ETH_ALEN / 2];
  __be16 src[ETH_ALEN / 2];
};

// A frame that carries a tag, from its first byte.
struct vlan_ethhdr {
  struct mac_addresses macs;
  __be16 tag_protocol;  // 0x8100, or 0x88a8 for the outer tag of a provider
  __be16 tag_control;   // priority (3 bits), drop eligible (1), VLAN id (12)
  __be16 h_proto;       // EtherType of the payload
};
