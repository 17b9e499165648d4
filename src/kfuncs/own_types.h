// SPDX-License-Identifier: Apache-2.0
//
// Types and functions that LMN describes in BTF of its own making, as tables.
//
// Two kinds of structs: those of the kernel's objects (nf_conn ...), in the shape of Linux 6.18 on
// x86-64 as Debian configures it, for when no other BTF says where their fields lie; and the
// arguments of LMN's own functions, which programs take from include/lmn/bpf/kfuncs.h. The
// functions are the rows of kfuncs.def that no kernel has; a test holds this list, that header and
// those rows together.
//
// A type is spelled as in C: "__u32", "struct nf_conn *", "const struct xdp_md *", "__u8[6]".
// Internal to kfuncs; the public API is kernel_types.h.
// Threads: constants. Tested by kernel_types_test.cc and tests/differential/own_kfuncs_test.cc.
// Source: Linux 6.18, include/net/netfilter/nf_conntrack.h, nf_conntrack_tuple.h, nf_flow_table.h.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lmn {

struct OwnMember {
  std::string_view type;
  std::string_view name;
  std::uint32_t offset;  // bytes
};

struct OwnStruct {
  std::string_view name;
  std::uint32_t size_bytes;
  std::span<const OwnMember> members;
  bool is_union = false;
  bool is_of_kernel = true;  // taken from the target's BTF where that has it
  // Only these members are kept up; the others that the target has are refused by name. Pointers to
  // such structs lead to them.
  bool is_partial = false;
};

struct OwnParam {
  std::string_view type;
  std::string_view name;
};

struct OwnFunction {
  std::string_view name;
  std::string_view result;
  std::span<const OwnParam> params;
};

// A struct comes before those that it is part of.
std::span<const OwnStruct> own_structs();
std::span<const OwnFunction> own_functions();

}  // namespace lmn
