// SPDX-License-Identifier: Apache-2.0
//
// The tables of kernel objects. Tested by object_test.cc.
#include "verifier/kernel_object.h"

#include <linux/bpf.h>

#include <algorithm>
#include <string>

namespace lmn {
namespace {

struct ArgumentRow {
  std::uint32_t helper;
  std::uint8_t argument;
  std::string_view name;
};
constexpr ArgumentRow kArguments[] = {
    {BPF_FUNC_get_task_stack, 1, "task_struct"},
    {BPF_FUNC_task_storage_get, 2, "task_struct"},
    {BPF_FUNC_task_storage_delete, 2, "task_struct"},
    {BPF_FUNC_task_pt_regs, 1, "task_struct"},
    {BPF_FUNC_find_vma, 1, "task_struct"},
    {BPF_FUNC_copy_from_user_task, 4, "task_struct"},
    {BPF_FUNC_cgrp_storage_get, 2, "cgroup"},
    {BPF_FUNC_cgrp_storage_delete, 2, "cgroup"},
    // These take every kind of socket, also by its type.
    {BPF_FUNC_sk_release, 1, "sock_common"},
    {BPF_FUNC_skc_to_tcp6_sock, 1, "sock_common"},
    {BPF_FUNC_skc_to_tcp_sock, 1, "sock_common"},
    {BPF_FUNC_skc_to_tcp_timewait_sock, 1, "sock_common"},
    {BPF_FUNC_skc_to_tcp_request_sock, 1, "sock_common"},
    {BPF_FUNC_skc_to_udp6_sock, 1, "sock_common"},
    {BPF_FUNC_skc_to_unix_sock, 1, "sock_common"},
    {BPF_FUNC_skc_to_mptcp_sock, 1, "sock_common"},
};

struct ResultRow {
  std::uint32_t helper;
  HelperObject object;
};
constexpr ResultRow kResults[] = {
    {BPF_FUNC_skc_to_tcp6_sock, {"tcp6_sock"}},
    {BPF_FUNC_skc_to_tcp_sock, {"tcp_sock"}},
    {BPF_FUNC_skc_to_tcp_timewait_sock, {"tcp_timewait_sock"}},
    {BPF_FUNC_skc_to_tcp_request_sock, {"tcp_request_sock"}},
    {BPF_FUNC_skc_to_udp6_sock, {"udp6_sock"}},
    {BPF_FUNC_skc_to_unix_sock, {"unix_sock"}},
    {BPF_FUNC_skc_to_mptcp_sock, {"mptcp_sock"}},
    {BPF_FUNC_get_current_task_btf, {"task_struct", kTrusted}},
    {BPF_FUNC_task_pt_regs, {"pt_regs"}},
};

// The pointers that the kernel marks in structs of its BTF named after the struct of the object.
struct SafeRow {
  std::string_view suffix;
  std::uint16_t flags;
  bool needs_rcu;
};
constexpr SafeRow kSafe[] = {
    {"__safe_trusted", kTrusted, false},
    {"__safe_trusted_or_null", kTrusted | kMayBeNull, false},
    {"__safe_rcu", kRcuProtected, true},
    {"__safe_rcu_or_null", kRcuProtected | kMayBeNull, true},
};

}  // namespace

bool is_trusted_pointer(const RegState& reg) {
  if (reg.reference != 0) return true;
  constexpr std::uint16_t kTrustful = kAllocated | kTrusted | kNonOwning;
  const std::uint16_t others = reg.flags & static_cast<std::uint16_t>(~(kTrustful | kLocalType));
  const bool is_of_kind = !struct_of_kind(reg.kind).empty();
  return others == 0 && (is_of_kind || (reg.flags & kTrustful) != 0);
}

std::string_view struct_of_kind(RegKind kind) {
  switch (kind) {
    case RegKind::kSocket:
      return "sock";
    case RegKind::kSockCommon:
      return "sock_common";
    case RegKind::kTcpSock:
      return "tcp_sock";
    case RegKind::kMap:
      return "bpf_map";
    default:
      return {};
  }
}

std::string_view helper_argument_struct(std::uint32_t helper, std::uint8_t argument) {
  for (const ArgumentRow& row : kArguments) {
    if (row.helper == helper && row.argument == argument) return row.name;
  }
  return {};
}

HelperObject helper_result(std::uint32_t helper) {
  const auto found = std::ranges::find(kResults, helper, &ResultRow::helper);
  return found == std::end(kResults) ? HelperObject{} : found->object;
}

bool is_cast_helper(std::uint32_t helper) {
  switch (helper) {
    case BPF_FUNC_tcp_sock:
    case BPF_FUNC_sk_fullsock:
    case BPF_FUNC_skc_to_tcp6_sock:
    case BPF_FUNC_skc_to_tcp_sock:
    case BPF_FUNC_skc_to_tcp_timewait_sock:
    case BPF_FUNC_skc_to_tcp_request_sock:
    case BPF_FUNC_skc_to_udp6_sock:
    case BPF_FUNC_skc_to_mptcp_sock:
      return true;
    default:
      return false;
  }
}

std::string_view struct_of_map(std::uint32_t map_type) {
  switch (map_type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_PROG_ARRAY:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
    case BPF_MAP_TYPE_CGROUP_ARRAY:
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
      return "bpf_array";
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return "bpf_htab";
    case BPF_MAP_TYPE_LPM_TRIE:
      return "lpm_trie";
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return "bpf_queue_stack";
    case BPF_MAP_TYPE_STACK_TRACE:
      return "bpf_stack_map";
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return "bpf_bloom_filter";
    case BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE_USER_RINGBUF:
      return "bpf_ringbuf_map";
    case BPF_MAP_TYPE_DEVMAP:
    case BPF_MAP_TYPE_DEVMAP_HASH:
      return "bpf_dtab";
    case BPF_MAP_TYPE_CPUMAP:
      return "bpf_cpu_map";
    case BPF_MAP_TYPE_XSKMAP:
      return "xsk_map";
    case BPF_MAP_TYPE_SOCKMAP:
      return "bpf_stab";
    case BPF_MAP_TYPE_SOCKHASH:
      return "bpf_shtab";
    case BPF_MAP_TYPE_REUSEPORT_SOCKARRAY:
      return "reuseport_array";
    case BPF_MAP_TYPE_ARENA:
      return "bpf_arena";
    default:
      return {};
  }
}

bool is_rcu_freed(std::string_view name) {
  return name == "task_struct" || name == "cgroup" || name == "bpf_cpumask" ||
         name == "bpf_crypto_ctx" || name == "prog_test_ref_kfunc";
}

MemberTrust member_trust(const Btf& types, std::uint32_t id, std::string_view name,
                         std::uint32_t pointee, bool is_in_rcu) {
  for (const SafeRow& row : kSafe) {
    if (row.needs_rcu && !is_in_rcu) continue;
    const std::string safe = std::string(types.type(id).name) + std::string(row.suffix);
    const auto found = types.find_by_name(safe, BtfKind::kStruct);
    if (!found) continue;
    for (const BtfMember& member : types.members(types.type(*found))) {
      if (member.name != name) continue;
      const BtfType& pointer = types.type(types.skip_modifiers_and_typedefs(member.type));
      if (pointer.kind != BtfKind::kPtr) continue;
      if (types.skip_modifiers_and_typedefs(pointer.type) != pointee) continue;
      return {true, row.flags};
    }
  }
  return {};
}

}  // namespace lmn
