// SPDX-License-Identifier: Apache-2.0
//
// Environment: the contract a program is judged by: which helpers, kernel functions, map types and
// context fields there are, and how strictly. Built by the engine from the tables of the modules;
// immutable; a value of views, so it must not outlive those tables (they are static).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "abi/helper_proto.h"
#include "abi/kfunc_proto.h"
#include "abi/map_type_info.h"
#include "abi/xdp_md.h"

namespace lmn {

class Btf;

// Who loads the program. The rules are Linux's in both cases; the kernel's Spectre-only refusals
// are in neither.
enum class Strictness : std::uint8_t {
  kTrusted,    // all capabilities: may read uninitialised stack, compare and leak pointers
  kUntrusted,  // CAP_BPF and CAP_NET_ADMIN only: none of those
};

struct Environment {
  std::span<const HelperProto> helpers;    // sorted by id
  std::span<const MapTypeInfo> map_types;  // sorted by type
  std::span<const ContextField> context;   // sorted by offset
  Strictness strictness = Strictness::kTrusted;
  std::span<const KfuncProto> kfuncs;  // sorted by name; some are known only to be refused
  // Whether packets may be read by LD_ABS and LD_IND. Linux allows it to some types, not to XDP.
  bool has_classic_access = false;
  // The types of the kernel whose objects (tasks, cgroups, its own maps) programs may look into.
  // Null where there is no kernel around the program, as in the engine: such an object is then a
  // handle that calls give and take, by the name of its type.
  const Btf* kernel_types = nullptr;
  // What the numbers of kernel types in programs count (bpf_rdonly_cast): the types that they were
  // relocated for. Null: kernel_types itself.
  const Btf* numbered_types = nullptr;

  const HelperProto* find_helper(std::uint32_t id) const;
  // A kernel function that programs may call.
  const KfuncProto* find_kfunc(std::string_view name) const;
  // The same, or one with a KfuncProto::refusal.
  const KfuncProto* find_known_kfunc(std::string_view name) const;
  const MapTypeInfo* find_map_type(std::uint32_t type) const;
  // The field a load of `size_bytes` at `offset` reads, or null: the load is not allowed.
  const ContextField* find_field(std::uint32_t offset, std::uint32_t size_bytes) const;
};

}  // namespace lmn
