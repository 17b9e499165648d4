// SPDX-License-Identifier: Apache-2.0
//
// The bodies, in the order of their rows. Tested by skb_test.cc and by lmn_selftest_retval.
#include "guests/skb_helpers.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "guests/owner_storage.h"
#include "guests/skb.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "packet/guest_call.h"

namespace lmn::guests {
namespace {

using guest::as_pointer;
using guest::as_u32;
using guest::failure;

constexpr HelperArg kAny{ArgKind::kAnything};
constexpr HelperArg kCtx{ArgKind::kPtrToCtx};
constexpr HelperArg kMap{ArgKind::kConstMapPtr};
constexpr HelperArg kMem{ArgKind::kPtrToMem, kArgRdonly};
constexpr HelperArg kMemUninit{ArgKind::kPtrToMem, kArgUninit | kArgWrite};
constexpr HelperArg kSize{ArgKind::kConstSize};
constexpr HelperArg kSock{ArgKind::kPtrToSockCommon};
constexpr HelperArg kValueOrNull{ArgKind::kPtrToMapValue, kArgMaybeNull};

SkBuff& skb_of(RunContext& context) { return static_cast<SkBuff&>(*context.buff); }
std::uint64_t address_of(const void* object) { return reinterpret_cast<std::uintptr_t>(object); }

std::uint64_t skb_store_bytes(std::uint64_t, std::uint64_t offset, std::uint64_t from,
                              std::uint64_t size, std::uint64_t flags,
                              RunContext* context) noexcept {
  if ((flags & ~std::uint64_t{BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH}) != 0) {
    return failure(EINVAL);
  }
  SkBuff& skb = skb_of(*context);
  std::uint8_t* to = as_u32(offset) > INT_MAX ? nullptr : skb.at(as_u32(offset), as_u32(size));
  if (to == nullptr) return failure(EFAULT);
  std::memcpy(to, as_pointer<const void>(from), as_u32(size));
  if ((flags & BPF_F_INVALIDATE_HASH) != 0) skb.fields.hash = 0;
  ++context->packet_generation;
  return 0;
}

std::uint64_t skb_load_bytes(std::uint64_t, std::uint64_t offset, std::uint64_t to,
                             std::uint64_t size, std::uint64_t, RunContext* context) noexcept {
  const std::uint32_t count = as_u32(size);
  SkBuff& skb = skb_of(*context);
  const std::uint8_t* from = as_u32(offset) > INT_MAX ? nullptr : skb.at(as_u32(offset), count);
  if (from == nullptr) {
    std::memset(as_pointer<void>(to), 0, count);
    return failure(EFAULT);
  }
  std::memcpy(as_pointer<void>(to), from, count);
  return 0;
}

// The kernel's is a keyed hash of the flow, the same for all packets of it, and never 0. What it
// is keyed with nobody knows, so no program can depend on more than that.
std::uint64_t get_hash_recalc(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                              std::uint64_t, RunContext* context) noexcept {
  constexpr std::uint32_t kPrime = 16777619;
  constexpr std::size_t kIpv4Bytes = 20;
  SkBuff& skb = skb_of(*context);
  if (skb.fields.hash != 0) return skb.fields.hash;
  std::uint32_t hash = 2166136261u ^ skb.fields.protocol;
  const auto mix = [&hash](std::span<const std::uint8_t> bytes) {
    for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * kPrime;
  };
  const auto payload_bytes = static_cast<std::size_t>(skb.data_end - skb.network_header);
  if (skb.fields.protocol == htons(ETH_P_IP) && payload_bytes >= kIpv4Bytes) {
    const std::uint8_t* ip = skb.network_header;
    const std::size_t header_bytes = (ip[0] & 15u) * std::size_t{4};
    mix({ip + 9, 1});
    mix({ip + 12, 8});
    const bool has_ports = ip[9] == IPPROTO_TCP || ip[9] == IPPROTO_UDP;
    if (has_ports && payload_bytes >= header_bytes + 4) mix({ip + header_bytes, 4});
  }
  skb.fields.hash = std::max(hash, 1u);
  return skb.fields.hash;
}

// Only a packet whose sum the device has computed has one to update; those of a test run have none.
std::uint64_t csum_update(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                          RunContext*) noexcept {
  return failure(guest::kEnotsupp);
}

std::uint64_t skb_change_head(std::uint64_t, std::uint64_t head_room, std::uint64_t flags,
                              std::uint64_t, std::uint64_t, RunContext* context) noexcept {
  constexpr std::uint64_t kSkbBytesMax = 65536;
  SkBuff& skb = skb_of(*context);
  const std::uint32_t added = as_u32(head_room);
  if (flags != 0 || std::uint64_t{skb.length()} + added > kSkbBytesMax) return failure(EINVAL);
  if (added > static_cast<std::uint64_t>(skb.data - skb.hard_start)) return failure(ENOMEM);
  skb.data -= added;
  std::memset(skb.data, 0, added);
  skb.data_meta = skb.data;
  skb.mac_header = skb.data;
  ++context->packet_generation;
  return 0;
}

std::uint64_t get_local_storage(std::uint64_t map, std::uint64_t, std::uint64_t, std::uint64_t,
                                std::uint64_t, RunContext* context) noexcept {
  // A test run has a storage of its own; nothing else runs in that cgroup.
  auto& storage = *as_pointer<OwnerStorage>(map);
  return address_of(storage.find_or_create(nullptr, nullptr, context->cpu));
}

bool is_full_socket(const struct bpf_sock& socket) {
  constexpr std::uint32_t kTimeWait = 6;
  constexpr std::uint32_t kNewSynRecv = 12;
  return socket.state != kTimeWait && socket.state != kNewSynRecv;
}

std::uint64_t sk_fullsock(std::uint64_t socket, std::uint64_t, std::uint64_t, std::uint64_t,
                          std::uint64_t, RunContext*) noexcept {
  return is_full_socket(*as_pointer<const struct bpf_sock>(socket)) ? socket : 0;
}

// The table of sockets has no TCP state, and the socket of a test run is none of TCP's.
std::uint64_t tcp_sock(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                       RunContext*) noexcept {
  return 0;
}

std::uint64_t sk_storage_get(std::uint64_t map, std::uint64_t socket, std::uint64_t value,
                             std::uint64_t flags, std::uint64_t, RunContext* context) noexcept {
  auto& storage = *as_pointer<OwnerStorage>(map);
  const auto* owner = as_pointer<const struct bpf_sock>(socket);
  if (owner == nullptr || !is_full_socket(*owner)) return 0;
  if ((flags & ~std::uint64_t{BPF_SK_STORAGE_GET_F_CREATE}) != 0) return 0;
  void* found = storage.find(owner, context->cpu);
  if (found != nullptr || (flags & BPF_SK_STORAGE_GET_F_CREATE) == 0) return address_of(found);
  return address_of(storage.find_or_create(owner, as_pointer<const void>(value), context->cpu));
}

std::uint64_t sk_storage_delete(std::uint64_t map, std::uint64_t socket, std::uint64_t,
                                std::uint64_t, std::uint64_t, RunContext*) noexcept {
  if (socket == 0) return failure(EINVAL);
  return as_pointer<OwnerStorage>(map)->remove(as_pointer<const void>(socket)) ? 0
                                                                               : failure(ENOENT);
}

struct Row {
  HelperProto proto;
  HelperFn body;
};

constexpr std::uint16_t kPacket = kHelperPktAccess;
constexpr std::uint16_t kMoves = kHelperChangesPacket;
constexpr std::uint16_t kOrNull = kArgMaybeNull;

constexpr Row row(std::uint32_t id, std::string_view name, HelperFn body, std::uint16_t flags,
                  RetKind ret, std::uint16_t ret_flags, std::array<HelperArg, 5> args) {
  return {{id, name, flags, ret, ret_flags, args, ""}, body};
}

constexpr RetKind kInt = RetKind::kInteger;

constexpr Row kRows[] = {
    row(BPF_FUNC_skb_store_bytes, "bpf_skb_store_bytes", skb_store_bytes, kMoves, kInt, 0,
        {kCtx, kAny, kMem, kSize, kAny}),
    row(BPF_FUNC_skb_load_bytes, "bpf_skb_load_bytes", skb_load_bytes, 0, kInt, 0,
        {kCtx, kAny, kMemUninit, kSize}),
    row(BPF_FUNC_get_hash_recalc, "bpf_get_hash_recalc", get_hash_recalc, 0, kInt, 0, {kCtx}),
    row(BPF_FUNC_csum_update, "bpf_csum_update", csum_update, 0, kInt, 0, {kCtx, kAny}),
    row(BPF_FUNC_skb_change_head, "bpf_skb_change_head", skb_change_head, kMoves, kInt, 0,
        {kCtx, kAny, kAny}),
    row(BPF_FUNC_get_local_storage, "bpf_get_local_storage", get_local_storage, 0,
        RetKind::kPtrToMapValue, 0, {kMap, kAny}),
    row(BPF_FUNC_sk_fullsock, "bpf_sk_fullsock", sk_fullsock, 0, RetKind::kPtrToSocket, kOrNull,
        {kSock}),
    row(BPF_FUNC_tcp_sock, "bpf_tcp_sock", tcp_sock, kPacket, RetKind::kPtrToTcpSock, kOrNull,
        {kSock}),
    row(BPF_FUNC_sk_storage_get, "bpf_sk_storage_get", sk_storage_get, 0, RetKind::kPtrToMapValue,
        kOrNull, {kMap, kSock, kValueOrNull, kAny}),
    row(BPF_FUNC_sk_storage_delete, "bpf_sk_storage_delete", sk_storage_delete, 0, kInt, 0,
        {kMap, kSock}),
};

std::vector<HelperProto> all_protos() {
  const auto product = lmn::helper_protos();
  std::vector<HelperProto> all(product.begin(), product.end());
  for (const Row& one : kRows) {
    const auto is_same = [&one](const HelperProto& proto) { return proto.id == one.proto.id; };
    if (std::ranges::none_of(all, is_same)) all.push_back(one.proto);
  }
  std::ranges::sort(all, {}, &HelperProto::id);
  return all;
}

constexpr std::string_view kDynptrFromSkb = "bpf_dynptr_from_skb";
// The same on the same bytes, for another context.
constexpr std::string_view kDynptrFromXdp = "bpf_dynptr_from_xdp";

std::vector<KfuncProto> all_kfunc_protos() {
  const auto product = lmn::kfunc_protos();
  std::vector<KfuncProto> all(product.begin(), product.end());
  std::erase_if(all, [](const KfuncProto& proto) { return proto.name == kDynptrFromSkb; });
  const auto like = std::ranges::find(product, kDynptrFromXdp, &KfuncProto::name);
  if (like != product.end()) {
    KfuncProto proto = *like;
    proto.name = kDynptrFromSkb;
    proto.args[0] = {.kind = KfuncArgKind::kMem, .flags = kKfuncArgReadOnly, .fixed_size = 1};
    all.push_back(proto);
  }
  std::ranges::sort(all, {}, &KfuncProto::name);
  return all;
}

}  // namespace

std::span<const KfuncProto> kfunc_protos() {
  static const std::vector<KfuncProto> all = all_kfunc_protos();
  return all;
}

HelperFn kfunc_function(std::string_view name) noexcept {
  return lmn::kfunc_function(name == kDynptrFromSkb ? kDynptrFromXdp : name);
}

std::span<const HelperProto> helper_protos() {
  static const std::vector<HelperProto> all = all_protos();
  return all;
}

HelperFn helper_function(std::uint32_t id) noexcept {
  if (HelperFn body = lmn::helper_function(id); body != nullptr) return body;
  for (const Row& one : kRows) {
    if (one.proto.id == id) return one.body;
  }
  return nullptr;
}

}  // namespace lmn::guests
