// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of metadata: what the port that received a packet found out about it.
//
// As with Linux's drivers: -EOPNOTSUPP from a port that can never know, -ENODATA for a packet of
// which it does not, and then the program's variable is left alone. Three of them are LMN's own
// (include/lmn/bpf/kfuncs.h): checksum state, flow mark, header offsets. Offsets are found in the
// packet as it is at the moment of the call, so that they are right after a change of the head too:
// Ethernet, up to two VLAN tags, IPv4, IPv6 with its extension headers, TCP, UDP, SCTP, ICMP.
// Tested by table_kfuncs_test.cc. Source: Linux 6.18, net/core/xdp.c (bpf_xdp_metadata_rx_*),
// drivers/net/veth.c (answers of a driver).
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/byte_reader.h"
#include "kfuncs/bodies.h"
#include "packet/frame_meta.h"

namespace lmn {
namespace {

// 0 when `what` is known of the packet, or the errno.
int check_known(const RunContext& context, std::uint16_t what) {
  const XdpBuff& buff = *context.buff;
  if (buff.rxq == nullptr || (buff.rxq->metadata & what) == 0) return EOPNOTSUPP;
  const bool is_known = what == kMetaTime ? buff.rx_time_ns != 0 : (buff.meta.known & what) != 0;
  return is_known ? 0 : ENODATA;
}

template <typename T>
void store(std::uint64_t address, T value) {
  std::memcpy(kfunc::as_pointer<void>(address), &value, sizeof value);
}

// struct bpf_lmn_offsets.
struct Offsets {
  std::uint16_t l3 = 0;
  std::uint16_t l4 = 0;
  std::uint16_t payload = 0;
  std::uint16_t l3_protocol = 0;  // network order
  std::uint8_t l4_protocol = 0;
  std::uint8_t flags = 0;
  std::uint16_t reserved = 0;
};
static_assert(sizeof(Offsets) == 12);
constexpr std::uint8_t kHasVlan = 1u << 0;
constexpr std::uint8_t kIsFragment = 1u << 1;

// The packet's bytes, and how far they have been read.
class PacketWalk {
 public:
  explicit PacketWalk(const XdpBuff& buff) : bytes_(buff.data, buff.data_end) {}
  bool has(std::size_t at, std::size_t count) const {
    return at <= bytes_.size() && count <= bytes_.size() - at;
  }
  std::uint8_t byte(std::size_t at) const { return bytes_[at]; }
  std::uint16_t word(std::size_t at) const {
    return static_cast<std::uint16_t>(bytes_[at] << 8 | bytes_[at + 1]);
  }

 private:
  ByteSpan bytes_;
};

constexpr bool is_vlan(std::uint16_t protocol) {
  return protocol == ETH_P_8021Q || protocol == ETH_P_8021AD;
}

// Where the transport header begins, with its protocol set; 0 where there is none to be seen.
std::size_t walk_ipv4(const PacketWalk& packet, std::size_t at, Offsets& out) {
  constexpr std::uint16_t kOffsetAndMore = 0x3fff;
  constexpr std::uint16_t kOffset = 0x1fff;
  if (!packet.has(at, 20)) return 0;
  const std::size_t header = std::size_t{packet.byte(at)} % 16 * 4;
  if (packet.byte(at) >> 4 != 4 || header < 20 || !packet.has(at, header)) return 0;
  if ((packet.word(at + 6) & kOffsetAndMore) != 0) out.flags |= kIsFragment;
  out.l4_protocol = packet.byte(at + 9);
  return (packet.word(at + 6) & kOffset) != 0 ? 0 : at + header;
}

std::size_t walk_ipv6(const PacketWalk& packet, std::size_t at, Offsets& out) {
  constexpr int kExtensionsMax = 8;
  if (!packet.has(at, 40) || packet.byte(at) >> 4 != 6) return 0;
  std::uint8_t next = packet.byte(at + 6);
  at += 40;
  for (int i = 0; i < kExtensionsMax; ++i) {
    out.l4_protocol = next;
    const bool is_fragment = next == IPPROTO_FRAGMENT;
    if (!is_fragment && next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
        next != IPPROTO_DSTOPTS) {
      return at;
    }
    if (!packet.has(at, 8)) return 0;
    next = packet.byte(at);
    if (is_fragment) {
      out.flags |= kIsFragment;
      if ((packet.word(at + 2) & 0xfff8) != 0) {
        out.l4_protocol = next;
        return 0;
      }
    }
    at += is_fragment ? 8 : (std::size_t{packet.byte(at + 1)} + 1) * 8;
  }
  return 0;
}

// Bytes of the transport header; 0: not known, or not all there.
std::size_t transport_bytes(const PacketWalk& packet, std::size_t at, std::uint8_t protocol) {
  std::size_t bytes = 0;
  switch (protocol) {
    case IPPROTO_TCP:
      if (packet.has(at, 20)) bytes = std::size_t{packet.byte(at + 12)} / 16 * 4;
      if (bytes < 20) bytes = 0;
      break;
    case IPPROTO_UDP:
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      bytes = 8;
      break;
    case IPPROTO_SCTP:
      bytes = 12;
      break;
    default:
      break;
  }
  return packet.has(at, bytes) ? bytes : 0;
}

Offsets find_offsets(const XdpBuff& buff) {
  Offsets out;
  const PacketWalk packet(buff);
  std::size_t at = ETH_HLEN;
  if (!packet.has(0, at)) return out;
  std::uint16_t protocol = packet.word(12);
  for (int tags = 0; tags < 2 && is_vlan(protocol) && packet.has(at, 4); ++tags) {
    out.flags |= kHasVlan;
    protocol = packet.word(at + 2);
    at += 4;
  }
  out.l3 = static_cast<std::uint16_t>(at);
  out.l3_protocol = htons(protocol);
  std::size_t transport = 0;
  if (protocol == ETH_P_IP) transport = walk_ipv4(packet, at, out);
  if (protocol == ETH_P_IPV6) transport = walk_ipv6(packet, at, out);
  if (transport == 0 || !packet.has(transport, 1)) return out;
  const std::size_t bytes = transport_bytes(packet, transport, out.l4_protocol);
  if (bytes == 0) return out;
  out.l4 = static_cast<std::uint16_t>(transport);
  out.payload = static_cast<std::uint16_t>(transport + bytes);
  return out;
}

}  // namespace

LMN_KFUNC_BODY(bpf_xdp_metadata_rx_hash) {
  if (const int error = check_known(*context, kMetaHash); error != 0) return kfunc::failure(error);
  store(r2, context->buff->meta.hash);
  store(r3, context->buff->meta.hash_type);
  return 0;
}

LMN_KFUNC_BODY(bpf_xdp_metadata_rx_timestamp) {
  if (const int error = check_known(*context, kMetaTime); error != 0) return kfunc::failure(error);
  store(r2, context->buff->rx_time_ns);
  return 0;
}

LMN_KFUNC_BODY(bpf_xdp_metadata_rx_vlan_tag) {
  if (const int error = check_known(*context, kMetaVlan); error != 0) return kfunc::failure(error);
  store(r2, context->buff->meta.vlan_proto);
  store(r3, context->buff->meta.vlan_tci);
  return 0;
}

LMN_KFUNC_BODY(bpf_lmn_metadata_rx_csum) {
  if (const int error = check_known(*context, kMetaChecksum); error != 0) {
    return kfunc::failure(error);
  }
  store(r2, static_cast<std::uint32_t>(context->buff->meta.checksum));
  return 0;
}

LMN_KFUNC_BODY(bpf_lmn_metadata_rx_mark) {
  if (const int error = check_known(*context, kMetaMark); error != 0) return kfunc::failure(error);
  store(r2, context->buff->meta.mark);
  return 0;
}

LMN_KFUNC_BODY(bpf_lmn_metadata_rx_offsets) {
  if (kfunc::as_u32(r3) != sizeof(Offsets)) return kfunc::failure(EINVAL);
  const Offsets out = find_offsets(*context->buff);
  store(r2, out);
  return out.l3 == 0 ? kfunc::failure(ENODATA) : 0;
}

}  // namespace lmn
