// SPDX-License-Identifier: Apache-2.0
//
// Registers in words, as Linux's messages have them. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/log.c (reg_type_str, tnum_strn).
#include <fmt/format.h>

#include "verifier/explorer.h"

namespace lmn {
namespace {

std::string_view base_words(RegKind kind) {
  switch (kind) {
    case RegKind::kNone:
      return "?";
    case RegKind::kNumber:
      return "scalar";
    case RegKind::kContext:
      return "ctx";
    case RegKind::kMap:
      return "map_ptr";
    case RegKind::kMapValue:
      return "map_value";
    case RegKind::kMapKey:
      return "map_key";
    case RegKind::kPacket:
      return "pkt";
    case RegKind::kPacketMeta:
      return "pkt_meta";
    case RegKind::kPacketEnd:
      return "pkt_end";
    case RegKind::kStack:
      return "fp";
    case RegKind::kMemory:
      return "mem";
    case RegKind::kFunction:
      return "func";
    case RegKind::kSocket:
      return "sock";
    case RegKind::kSockCommon:
      return "sock_common";
    case RegKind::kTcpSock:
      return "tcp_sock";
    case RegKind::kXdpSock:
      return "xdp_sock";
    case RegKind::kBtfObject:
      return "ptr_";
    case RegKind::kDynptr:
      return "dynptr_ptr";
    case RegKind::kIterator:
      return "iter";
    case RegKind::kArena:
      return "arena";
    case RegKind::kInterruptFlag:
      return "irq_flag";
  }
  return "?";
}

}  // namespace

std::string kind_words(RegKind kind, std::uint16_t flags) {
  std::string out;
  if ((flags & kReadOnly) != 0) out += "rdonly_";
  if ((flags & kRingbufMemory) != 0) out += "ringbuf_";
  if ((flags & kUserMemory) != 0) out += "user_";
  if ((flags & kPerCpu) != 0) out += "percpu_";
  if ((flags & kRcuProtected) != 0) out += "rcu_";
  if ((flags & kUntrusted) != 0) out += "untrusted_";
  if ((flags & kTrusted) != 0) out += "trusted_";
  out += base_words(kind);
  if ((flags & kMayBeNull) != 0) out += kind == RegKind::kBtfObject ? "or_null_" : "_or_null";
  return out;
}

std::string kind_words(const RegState& reg) { return kind_words(reg.kind, reg.flags); }

std::string_view iterator_words(KfuncIterator iterator) {
  switch (iterator) {
    case KfuncIterator::kNone:
      break;
    case KfuncIterator::kNum:
      return "num";
    case KfuncIterator::kBits:
      return "bits";
    case KfuncIterator::kTask:
      return "task";
    case KfuncIterator::kTaskVma:
      return "task_vma";
    case KfuncIterator::kCss:
      return "css";
    case KfuncIterator::kCssTask:
      return "css_task";
    case KfuncIterator::kKmemCache:
      return "kmem_cache";
    case KfuncIterator::kDmabuf:
      return "dmabuf";
  }
  return "<invalid>";
}

std::string bits_words(const Tnum<64>& bits) {
  if (bits.is_constant()) return fmt::format("{}", static_cast<std::int64_t>(bits.value));
  return fmt::format("({:#x}; {:#x})", bits.value, bits.mask);
}

}  // namespace lmn
