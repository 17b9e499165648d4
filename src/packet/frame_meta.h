// SPDX-License-Identifier: Apache-2.0
//
// FrameMeta: what the receiving port found out about a frame besides its bytes.
//
// A NIC computes a hash, takes the VLAN tag out, checks sums, marks flows; a port passes on what it
// was told, and says which of it: `known` of a frame, RxQueueInfo::metadata of what the port can
// ever know. A program asks by kernel functions and hears -EOPNOTSUPP or -ENODATA for the rest. The
// time of arrival is a field of the frame itself (XdpBuff::rx_time_ns).
//
// Metadata goes with a frame from port to port inside the engine: at rest it lies at the end of the
// frame's tail-room, where no program can write (xdp_buff.h).
// Threads: a value. Tested by packet_test.cc and src/kfuncs/table_kfuncs_test.cc.
#pragma once

#include <cstdint>

namespace lmn {

// What may be known of a frame.
enum : std::uint16_t {
  kMetaHash = 1u << 0,
  kMetaTime = 1u << 1,  // XdpBuff::rx_time_ns
  kMetaVlan = 1u << 2,
  kMetaChecksum = 1u << 3,
  kMetaMark = 1u << 4,
};

// The state of a frame's checksums; the numbers are Linux's (CHECKSUM_*, include/linux/skbuff.h)
// and what programs see (include/lmn/bpf/kfuncs.h).
enum class ChecksumState : std::uint8_t {
  kNone = 0,         // nobody has looked
  kUnnecessary = 1,  // checked, and right
  kComplete = 2,     // the sum of the whole packet is known
  kPartial = 3,      // not filled in yet: it comes from this host
};

// A field counts only when `known` says so, and is left as it is otherwise: every frame has one of
// these, and most know nothing.
struct FrameMeta {
  std::uint16_t known = 0;
  std::uint16_t vlan_tci;    // priority, DEI, VLAN
  std::uint16_t vlan_proto;  // ETH_P_8021Q or ETH_P_8021AD, in network order
  ChecksumState checksum;
  std::uint32_t hash;
  std::uint32_t hash_type;  // enum xdp_rss_hash_type
  std::uint32_t mark;
};
static_assert(sizeof(FrameMeta) == 20, "lies in the tail-room of a frame at rest");

}  // namespace lmn
