// SPDX-License-Identifier: Apache-2.0
//
// Packets as the kernel's test run makes them, and the table of their fields. Tested by skb_test.cc
// and by lmn_selftest_retval.
#include "guests/skb.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/byte_reader.h"
#include "guests/kernel_structs.h"

namespace lmn::guests {
namespace {

// Program types with one set of rights.
enum : std::uint8_t {
  kNobody = 0,
  kSocketFilter = 1u << 0,
  kTrafficControl = 1u << 1,
  kCgroup = 1u << 2,
  kTunnel = 1u << 3,
  kEverybody = kSocketFilter | kTrafficControl | kCgroup | kTunnel,
  kDirect = kTrafficControl | kCgroup | kTunnel,  // hold packet pointers
  kClassic = kSocketFilter | kTrafficControl,     // have LD_ABS and LD_IND
};

struct Row {
  GuestField field;
  std::uint8_t readers;
  std::uint8_t writers;
};

using Kind = GuestField::Kind;
using Parts = GuestField::Parts;

constexpr Row number(std::string_view name, std::size_t offset, std::size_t size_bytes,
                     std::uint8_t readers, std::uint8_t writers, Parts parts = Parts::kLoaded,
                     std::uint32_t stored_bytes = 0) {
  GuestField field{name, static_cast<std::uint32_t>(offset),
                   static_cast<std::uint32_t>(size_bytes)};
  field.parts = parts;
  field.stored_bytes = stored_bytes;
  return {field, readers, writers};
}

constexpr Row pointer(std::string_view name, std::size_t offset, std::size_t size_bytes, Kind kind,
                      std::uint8_t readers) {
  GuestField field{name, static_cast<std::uint32_t>(offset),
                   static_cast<std::uint32_t>(size_bytes)};
  field.kind = kind;
  if (kind == Kind::kMemory) field.target_bytes = sizeof(struct bpf_sock);
  if (kind == Kind::kLength) field.parts = Parts::kLoaded;
  return {field, readers, kNobody};
}

#define LMN_SKB(name) #name, offsetof(struct __sk_buff, name), sizeof(__sk_buff::name)

constexpr Row kRows[] = {
    pointer(LMN_SKB(len), Kind::kLength, kEverybody),
    number(LMN_SKB(pkt_type), kEverybody, kNobody, Parts::kLoaded, 1),
    number(LMN_SKB(mark), kEverybody, kDirect),
    number(LMN_SKB(queue_mapping), kEverybody, kTrafficControl, Parts::kLoaded, 2),
    number(LMN_SKB(protocol), kEverybody, kNobody, Parts::kLoaded, 2),
    number(LMN_SKB(vlan_present), kEverybody, kNobody),
    number(LMN_SKB(vlan_tci), kEverybody, kNobody, Parts::kLoaded, 2),
    number(LMN_SKB(vlan_proto), kEverybody, kNobody, Parts::kLoaded, 2),
    number(LMN_SKB(priority), kEverybody, kDirect),
    number(LMN_SKB(ingress_ifindex), kEverybody, kNobody),
    number(LMN_SKB(ifindex), kEverybody, kNobody),
    number(LMN_SKB(tc_index), kEverybody, kTrafficControl, Parts::kLoaded, 2),
    number(LMN_SKB(cb), kEverybody, kEverybody, Parts::kLoadedAndStored),
    number(LMN_SKB(hash), kEverybody, kNobody),
    number(LMN_SKB(tc_classid), kTrafficControl, kTrafficControl, Parts::kLoaded, 2),
    pointer(LMN_SKB(data), Kind::kPacketData, kDirect),
    pointer(LMN_SKB(data_end), Kind::kPacketEnd, kDirect),
    number(LMN_SKB(napi_id), kEverybody, kNobody),
    number(LMN_SKB(family), kCgroup, kNobody, Parts::kLoaded, 2),
    number(LMN_SKB(remote_ip4), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(local_ip4), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(remote_ip6[0]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(remote_ip6[1]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(remote_ip6[2]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(remote_ip6[3]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(local_ip6[0]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(local_ip6[1]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(local_ip6[2]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(local_ip6[3]), kCgroup, kNobody, Parts::kNone),
    number(LMN_SKB(remote_port), kCgroup, kNobody),
    number(LMN_SKB(local_port), kCgroup, kNobody),
    pointer(LMN_SKB(data_meta), Kind::kPacketMeta, kTrafficControl),
    number(LMN_SKB(tstamp), kTrafficControl | kCgroup, kTrafficControl | kCgroup, Parts::kNone),
    number(LMN_SKB(wire_len), kTrafficControl, kNobody),
    number(LMN_SKB(gso_segs), kEverybody, kNobody, Parts::kLoaded, 2),
    pointer(LMN_SKB(sk), Kind::kMemory, kEverybody),
    number(LMN_SKB(gso_size), kEverybody, kNobody, Parts::kLoaded, 2),
    number(LMN_SKB(tstamp_type), kTrafficControl, kNobody, Parts::kNone),
    number(LMN_SKB(hwtstamp), kTrafficControl | kCgroup, kNobody, Parts::kNone),
};

#undef LMN_SKB

std::uint8_t* context_of(XdpBuff& buff) noexcept {
  return reinterpret_cast<std::uint8_t*>(&static_cast<SkBuff&>(buff).fields);
}

std::span<const std::uint8_t> map_bytes(XdpBuff& buff, const Map& map) noexcept {
  const BytesOfMaps* maps = static_cast<SkBuff&>(buff).bytes_of_maps;
  const auto found = maps == nullptr ? BytesOfMaps::const_iterator{} : maps->find(&map);
  return maps == nullptr || found == maps->end() ? std::span<const std::uint8_t>() : found->second;
}

// From these offsets on a classic load counts from a header (linux/filter.h, SKF_*_OFF).
constexpr std::int32_t kFromNetwork = -0x100000;
constexpr std::int32_t kFromLink = -0x200000;

bool read_packet(const XdpBuff& buff, std::int32_t offset, std::span<std::uint8_t> out) noexcept {
  const auto& skb = static_cast<const SkBuff&>(buff);
  const std::uint8_t* from = skb.data + offset;
  if (offset < 0) {
    if (offset < kFromLink) return false;
    from = offset >= kFromNetwork ? skb.network_header + (offset - kFromNetwork)
                                  : skb.mac_header + (offset - kFromLink);
  }
  if (from < skb.hard_start || from > skb.data_end) return false;
  if (static_cast<std::size_t>(skb.data_end - from) < out.size()) return false;
  std::memcpy(out.data(), from, out.size());
  return true;
}

// A type's fields and what the interpreter is told of them.
class Type {
 public:
  explicit Type(std::uint8_t who) {
    for (const Row& row : kRows) {
      if ((row.readers & who) == 0) continue;
      fields_.push_back(row.field);
      fields_.back().is_writable = (row.writers & who) != 0;
    }
    guest_ = {fields_, sizeof(struct __sk_buff), context_of, read_packet, map_bytes};
    if ((who & kClassic) == 0) guest_.read_packet = nullptr;
  }
  const GuestType* guest() const { return &guest_; }

 private:
  std::vector<GuestField> fields_;
  GuestType guest_;
};

// Netfilter programs get structs of the kernel, of which as much can be read as there is.
class NetfilterType {
 public:
  NetfilterType() {
    const auto state = KernelImage::of("nf_hook_state");
    const auto skb = KernelImage::of("sk_buff");
    if (!state || !skb) return;
    add("state", offsetof(NetfilterContext, state), *state);
    add("skb", offsetof(NetfilterContext, skb), *skb);
    guest_ = {fields_, sizeof(NetfilterContext), context, nullptr, map_bytes};
  }
  // Null where the kernel does not show its types.
  const GuestType* guest() const { return fields_.empty() ? nullptr : &guest_; }

 private:
  void add(std::string_view name, std::size_t offset, const KernelImage& image) {
    GuestField field{name, static_cast<std::uint32_t>(offset), sizeof(std::uint64_t)};
    field.kind = Kind::kMemory;
    field.target_bytes = static_cast<std::uint32_t>(image.bytes().size());
    fields_.push_back(field);
  }
  static std::uint8_t* context(XdpBuff& buff) noexcept {
    return reinterpret_cast<std::uint8_t*>(&static_cast<SkBuff&>(buff).netfilter);
  }

  std::vector<GuestField> fields_;
  GuestType guest_;
};

// A type whose programs get no context that they could look into.
constexpr GuestType kNoContext = {{}, 0, nullptr, nullptr, map_bytes};

std::uint8_t who_is(std::uint32_t program_type) {
  switch (program_type) {
    case BPF_PROG_TYPE_SOCKET_FILTER:
      return kSocketFilter;
    case BPF_PROG_TYPE_SCHED_CLS:
    case BPF_PROG_TYPE_SCHED_ACT:
      return kTrafficControl;
    case BPF_PROG_TYPE_CGROUP_SKB:
      return kCgroup;
    case BPF_PROG_TYPE_LWT_IN:
    case BPF_PROG_TYPE_LWT_OUT:
    case BPF_PROG_TYPE_LWT_XMIT:
      return kTunnel;
    default:
      return kNobody;
  }
}

}  // namespace

SkBuff::SkBuff(std::span<const std::uint8_t> packet, std::uint32_t type)
    : memory_(kHeadroomBytes + packet.size() + kTailroomBytes) {
  constexpr std::uint32_t kTcpClose = 7;
  hard_start = memory_.data();
  frame_bytes = static_cast<std::uint32_t>(memory_.size());
  rxq = &loopback_;
  mac_header = hard_start + kHeadroomBytes;
  network_header = mac_header + kEthernetBytes;
  std::ranges::copy(packet, mac_header);
  // Only what lies below the network layer is given the Ethernet header.
  const bool sees_ethernet = who_is(type) == kTrafficControl || type == BPF_PROG_TYPE_NETFILTER;
  data = sees_ethernet ? mac_header : network_header;
  data_meta = data;
  data_end = mac_header + packet.size();
  std::memset(&socket, 0, sizeof socket);  // also what lies between its members: it can be read
  socket.state = kTcpClose;
  socket.rx_queue_mapping = -1;
  fields.ifindex = loopback_.ifindex;
  const auto address = reinterpret_cast<std::uintptr_t>(&socket);
  std::memcpy(&fields.sk, &address, sizeof address);
  classify();
}

// As eth_type_trans: whose packet it is, and of which protocol.
void SkBuff::classify() {
  // The loopback device's own address and its broadcast address are both zero.
  constexpr std::array<std::uint8_t, ETH_ALEN> kLoopback{};
  const std::span<const std::uint8_t> destination(mac_header, ETH_ALEN);
  if (std::ranges::equal(destination, kLoopback)) {
    fields.pkt_type = PACKET_HOST;
  } else {
    fields.pkt_type = (destination[0] & 1) != 0 ? PACKET_MULTICAST : PACKET_OTHERHOST;
  }
  const auto ethertype = load_unaligned<std::uint16_t>(mac_header + 2 * ETH_ALEN, std::endian::big);
  const std::size_t payload_bytes = static_cast<std::size_t>(data_end - network_header);
  std::uint16_t protocol = ethertype;
  if (ethertype < ETH_P_802_3_MIN) {
    const bool is_raw =
        payload_bytes >= 2 && network_header[0] == 0xff && network_header[1] == 0xff;
    protocol = is_raw ? ETH_P_802_3 : ETH_P_802_2;
  }
  fields.protocol = htons(protocol);
  constexpr std::size_t kIpv4Bytes = 20;
  if (protocol != ETH_P_IP || payload_bytes < kIpv4Bytes) return;
  socket.family = fields.family = AF_INET;
  std::memcpy(&fields.local_ip4, network_header + 12, 4);
  std::memcpy(&fields.remote_ip4, network_header + 16, 4);
  socket.src_ip4 = fields.local_ip4;
  socket.dst_ip4 = fields.remote_ip4;
}

std::uint8_t* SkBuff::at(std::uint64_t offset, std::uint64_t size_bytes) {
  if (offset > length() || size_bytes > length() - offset) return nullptr;
  return data + offset;
}

const GuestType* guest_type(std::uint32_t program_type) {
  static const Type filter(kSocketFilter);
  static const Type control(kTrafficControl);
  static const Type cgroup(kCgroup);
  static const Type tunnel(kTunnel);
  static const NetfilterType netfilter;
  if (program_type == BPF_PROG_TYPE_SYSCALL) return &kNoContext;
  if (program_type == BPF_PROG_TYPE_NETFILTER) return netfilter.guest();
  switch (who_is(program_type)) {
    case kSocketFilter:
      return filter.guest();
    case kTrafficControl:
      return control.guest();
    case kCgroup:
      return cgroup.guest();
    case kTunnel:
      return tunnel.guest();
    default:
      return nullptr;
  }
}

}  // namespace lmn::guests
