// SPDX-License-Identifier: Apache-2.0
//
// The program's context, struct xdp_md, as data: which loads are allowed and what each gives.
//
// The guest's struct holds 32-bit fields, but a load of `data` gives a 64-bit pointer: context
// loads are rewritten when a program is prepared, which is why fields can be added without touching
// old bytecode. Source: Linux 6.18, net/core/filter.c, xdp_is_valid_access and
// xdp_convert_ctx_access.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace lmn {

enum class ContextFieldKind : std::uint8_t {
  kPacketData,
  kPacketEnd,
  kPacketMeta,
  kIngressIfindex,
  kRxQueueIndex,
  kEgressIfindex,
};

enum class ContextFieldRights : std::uint8_t {
  kRead,
  kReadDevmap,  // readable only with expected attach type BPF_XDP_DEVMAP
};

struct ContextField {
  std::string_view name;
  std::uint32_t offset;      // bytes in struct xdp_md
  std::uint32_t size_bytes;  // 4: the only load size allowed
  ContextFieldKind kind;
  ContextFieldRights rights;
};

inline constexpr ContextField kXdpMdFields[] = {
#define LMN_XDP_MD_FIELD(name, kind, rights)                                           \
  {#name, offsetof(struct xdp_md, name), sizeof(xdp_md::name), ContextFieldKind::kind, \
   ContextFieldRights::rights},
#include "abi/xdp_md.def"
#undef LMN_XDP_MD_FIELD
};

static_assert(sizeof(struct xdp_md) == 24, "a new xdp_md field needs a row in xdp_md.def");
static_assert(std::size(kXdpMdFields) == 6, "every field of struct xdp_md has a row");

}  // namespace lmn
