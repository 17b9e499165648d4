// SPDX-License-Identifier: Apache-2.0
//
// SkBuff: a packet as programs of the kernel's network layer see it, with struct __sk_buff as their
// context.
//
// Most of the kernel's selftest programs are written for sockets, traffic control, cgroups or
// light-weight tunnels. LMN runs none of these types; its checked interpreter is compared with the
// kernel on them all the same, because what they compute is the instruction set, maps and calls.
// So what such a program sees beside those is made here, for tests, and nowhere in the product.
//
// The values are those of BPF_PROG_TEST_RUN: the packet arrives on the loopback device, its socket
// is one of no family that was just made. Packet pointers are the XdpBuff that this derives from.
//
// Which type sees which field is a table (skb.cc), from the kernel's *_is_valid_access.
// Threads: one. Tested by skb_test.cc and by lmn_selftest_retval.
// Source: Linux 6.18, net/bpf/test_run.c (bpf_prog_test_run_skb), net/core/filter.c.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "exec/interp/guest_type.h"
#include "packet/xdp_buff.h"

namespace lmn::guests {

// What the kernel has behind a pointer to a map.
using BytesOfMaps = std::map<const Map*, std::span<const std::uint8_t>>;

// struct bpf_nf_ctx: addresses of a struct nf_hook_state and of a struct sk_buff of the kernel.
struct NetfilterContext {
  std::uint64_t state = 0;
  std::uint64_t skb = 0;
};

struct SkBuff : XdpBuff {
  // Room for what programs put in front; the kernel makes more when they ask for it.
  static constexpr std::size_t kHeadroomBytes = 4096;
  static constexpr std::size_t kTailroomBytes = 512;
  static constexpr std::size_t kEthernetBytes = 14;

  // `packet` begins with its Ethernet header; `type` is a BPF_PROG_TYPE_* of guest_type().
  // REQUIRES: packet.size() >= kEthernetBytes.
  SkBuff(std::span<const std::uint8_t> packet, std::uint32_t type);
  SkBuff(const SkBuff&) = delete;
  SkBuff& operator=(const SkBuff&) = delete;

  struct __sk_buff fields = {};
  struct bpf_sock socket;
  NetfilterContext netfilter;
  const BytesOfMaps* bytes_of_maps = nullptr;
  std::uint8_t* mac_header = nullptr;
  std::uint8_t* network_header = nullptr;

  // The bytes [offset, offset + size) of the packet, or null.
  std::uint8_t* at(std::uint64_t offset, std::uint64_t size_bytes);

 private:
  void classify();

  std::vector<std::uint8_t> memory_;
  RxQueueInfo loopback_{1, 0};
};

// What programs of this type see of an SkBuff; null for a type that is not known here.
const GuestType* guest_type(std::uint32_t program_type);

}  // namespace lmn::guests
