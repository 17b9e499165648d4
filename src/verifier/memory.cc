// SPDX-License-Identifier: Apache-2.0
//
// Loads, stores and atomics: where each kind of pointer may be read and written, and what a load
// gives. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_mem_access and what it calls, check_atomic);
// net/core/filter.c (xdp_is_valid_access).
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>

#include "verifier/explorer.h"

namespace lmn {
namespace {

constexpr std::string_view kNegative =
    "R{} min value is negative, either use unsigned index or do a if (index >=0) check.";

bool lies_within(std::int64_t offset, std::uint64_t size, std::uint64_t region,
                 bool is_zero_allowed) {
  if (size == 0 && !is_zero_allowed) return false;
  return offset >= 0 && static_cast<std::uint64_t>(offset) + size <= region;
}

Scalar narrowed(std::uint32_t size, bool is_sign_extending) {
  if (!is_sign_extending) return Scalar::of_width(static_cast<int>(size * 8));
  switch (size) {
    case 1:
      return sign_extended<8>(Scalar::unknown());
    case 2:
      return sign_extended<16>(Scalar::unknown());
    default:
      return sign_extended<32>(Scalar::unknown());
  }
}

// A read of `size` bytes at `offset` within the field [from, from + field_size), aligned.
bool is_part(std::int64_t offset, std::uint32_t size, std::size_t from, std::size_t field_size) {
  const auto start = static_cast<std::int64_t>(from);
  return offset >= start && offset + size <= start + static_cast<std::int64_t>(field_size) &&
         size <= field_size;
}

bool is_sock_field(std::int64_t offset, std::uint32_t size) {
  constexpr std::size_t kPort = offsetof(struct bpf_sock, dst_port);
  if (offset >= static_cast<std::int64_t>(kPort) && offset < static_cast<std::int64_t>(kPort + 4)) {
    // 16 bits, which older programs read as 32.
    return size == 4 || is_part(offset, size, kPort, 2);
  }
  const bool is_whole_only =
      offset < static_cast<std::int64_t>(offsetof(struct bpf_sock, family)) ||
      (offset >= static_cast<std::int64_t>(offsetof(struct bpf_sock, mark)) &&
       offset < static_cast<std::int64_t>(offsetof(struct bpf_sock, src_ip4)));
  return size == 4 || (!is_whole_only && size < 4);
}

// Source: Linux 6.18, net/core/filter.c (bpf_sock_is_valid_access and its like).
bool is_socket_field(RegKind kind, std::int64_t offset, std::uint32_t size) {
  if (offset < 0 || offset % size != 0) return false;
  const auto lies_in = [&](std::size_t from, std::size_t end) {
    return offset >= static_cast<std::int64_t>(from) && offset < static_cast<std::int64_t>(end);
  };
  switch (kind) {
    case RegKind::kSocket:
      return lies_in(0, sizeof(struct bpf_sock)) && is_sock_field(offset, size);
    case RegKind::kSockCommon:
      return lies_in(0, sizeof(struct bpf_sock)) && is_sock_field(offset, size) &&
             !lies_in(offsetof(struct bpf_sock, type), offsetof(struct bpf_sock, src_ip4));
    case RegKind::kTcpSock: {
      const bool is_wide = offset == offsetof(struct bpf_tcp_sock, bytes_received) ||
                           offset == offsetof(struct bpf_tcp_sock, bytes_acked);
      return lies_in(0, sizeof(struct bpf_tcp_sock)) && size == (is_wide ? 8u : 4u);
    }
    case RegKind::kXdpSock:
      return offset == offsetof(struct bpf_xdp_sock, queue_id) && size == 4;
    default:
      return false;
  }
}

}  // namespace

void Explorer::write_unknown(const MemoryAccess& access) {
  if (access.value < 0 || access.is_write) return;
  reg(static_cast<std::uint8_t>(access.value)) =
      RegState::number(narrowed(access.size, access.is_sign_extending));
}

// One instruction is translated once: what the context and objects of the kernel look like inside
// is not what they look like to programs.
bool Explorer::note_pointer(const RegState& pointer) {
  const auto is_particular = [](RegKind kind) {
    switch (kind) {
      case RegKind::kContext:
      case RegKind::kSocket:
      case RegKind::kSockCommon:
      case RegKind::kTcpSock:
      case RegKind::kXdpSock:
      case RegKind::kBtfObject:
      case RegKind::kArena:
        return true;
      default:
        return false;
    }
  };
  InsnFacts& facts = facts_.insns[at_];
  if (facts.pointer != RegKind::kNone && facts.pointer != pointer.kind) {
    facts.has_several_pointers = true;
    if (is_particular(facts.pointer) || is_particular(pointer.kind)) {
      return reject(Rule::kMemoryAccess, "same insn cannot be used with different pointers", {},
                    EINVAL);
    }
  }
  facts.pointer = pointer.kind;
  return true;
}

void Explorer::note_place(const RegState& pointer, std::int64_t offset) {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int32_t>::min();
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  constexpr int kAlignmentBitsMax = 12;
  const std::int64_t base = pointer.offset + offset;
  const auto from = static_cast<std::int32_t>(
      std::clamp(base + std::clamp(pointer.var.whole.smin, kLeast, kMost), kLeast, kMost));
  const auto to = static_cast<std::int32_t>(
      std::clamp(base + std::clamp(pointer.var.whole.smax, kLeast, kMost), kLeast, kMost));
  const Tnum<64> at = pointer.var.bits + Tnum<64>::constant(static_cast<std::uint64_t>(base));
  const auto alignment = static_cast<std::uint16_t>(
      1u << std::min(kAlignmentBitsMax, std::countr_zero(at.value | at.mask)));
  InsnFacts& facts = facts_.insns[at_];
  const bool is_first = facts.alignment == 0;
  facts.alignment = is_first ? alignment : std::min(facts.alignment, alignment);
  facts.offset_min = is_first ? from : std::min(facts.offset_min, from);
  facts.offset_max = is_first ? to : std::max(facts.offset_max, to);
}

bool Explorer::check_access(const MemoryAccess& access) {
  const RegState& pointer = reg(access.pointer);
  if (access.insn != nullptr && pointer.is_pointer()) {
    if (!note_pointer(pointer)) return false;
    note_place(pointer, access.offset);
  }
  if (!check_alignment(pointer, access)) return false;
  if (access.is_write && access.value >= 0 && pointer.kind != RegKind::kStack &&
      is_leak(reg(static_cast<std::uint8_t>(access.value)))) {
    const std::string_view where = pointer.kind == RegKind::kMapValue  ? "map"
                                   : pointer.kind == RegKind::kPacket  ? "packet"
                                   : pointer.kind == RegKind::kContext ? "ctx"
                                                                       : "mem";
    return reject(Rule::kPointerLeak, fmt::format("R{} leaks addr into {}", access.value, where));
  }
  if (access.is_write && pointer.kind != RegKind::kStack) {
    stack_use_.note_write(*state_, at_, state_->frame_index(), 0);
  }
  switch (pointer.kind) {
    case RegKind::kMapKey:
    case RegKind::kMemory:
      return access_memory(access);
    case RegKind::kMapValue:
      return access_map_value(access);
    case RegKind::kContext:
      return access_context(access);
    case RegKind::kPacket:
    case RegKind::kPacketMeta:
      return access_packet(access);
    case RegKind::kStack:
      return access_stack(access);
    case RegKind::kSocket:
    case RegKind::kSockCommon:
    case RegKind::kTcpSock:
    case RegKind::kXdpSock:
      return access_object(access);
    case RegKind::kMap:
      return access_map_struct(access);
    case RegKind::kBtfObject:
      return access_btf_object(access);
    case RegKind::kNone:
    case RegKind::kNumber:
    case RegKind::kPacketEnd:
    case RegKind::kFunction:
    case RegKind::kDynptr:
    case RegKind::kIterator:
    case RegKind::kInterruptFlag:
      break;
    case RegKind::kArena:
      return access_arena(access);
  }
  return reject(pointer.is_pointer() ? Rule::kMemoryAccess : Rule::kNotAPointer,
                fmt::format("R{} invalid mem access '{}'", access.pointer, kind_words(pointer)));
}

// x86 reads packets at any address, so only the stack and memory the kernel's own code touches must
// be aligned; atomics everywhere.
bool Explorer::check_alignment(const RegState& pointer, const MemoryAccess& access) {
  bool is_strict = access.is_exact_alignment_needed || pointer.kind == RegKind::kStack ||
                   (program_.spec().prog_flags & BPF_F_STRICT_ALIGNMENT) != 0;
  // What a helper does byte by byte needs none.
  if (access.insn == nullptr && !access.is_exact_alignment_needed) is_strict = false;
  if (!is_strict || access.size <= 1) return true;
  Tnum<64> at = pointer.var.bits +
                Tnum<64>::constant(static_cast<std::uint64_t>(pointer.offset + access.offset));
  // The packet's first byte lies where the network stack wants its addresses aligned.
  const bool is_packet = pointer.is_packet();
  if (is_packet) at = at + Tnum<64>::constant(2);
  if (at.is_aligned(access.size)) return true;
  if (is_packet) {
    return reject(
        Rule::kPacketBounds,
        fmt::format("misaligned packet access off 2+{}+{}+{} size {}", bits_words(pointer.var.bits),
                    pointer.offset, access.offset, access.size));
  }
  const std::string_view where = pointer.kind == RegKind::kStack      ? "stack "
                                 : pointer.kind == RegKind::kMapValue ? "value "
                                 : pointer.kind == RegKind::kContext  ? "context "
                                                                      : "";
  return reject(
      pointer.kind == RegKind::kStack ? Rule::kStackAccess : Rule::kMemoryAccess,
      fmt::format("misaligned {}access off {}+{}+{} size {}", where, bits_words(pointer.var.bits),
                  pointer.offset, access.offset, access.size));
}

bool Explorer::check_region(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                            std::uint64_t region, bool is_zero_allowed, Rule rule,
                            std::string_view message) {
  const RegState& pointer = reg(index);
  const std::int64_t least = pointer.var.whole.smin;
  const std::uint64_t most = pointer.var.whole.umax;
  const bool is_unbounded_below = least == std::numeric_limits<std::int64_t>::min();
  if (least < 0 && (is_unbounded_below || least <= -kOffsetMax * 4 || least + offset < 0)) {
    return reject(rule, fmt::format(kNegative, index));
  }
  const auto words = [&](std::int64_t at, std::string_view which) {
    return fmt::format("{}={} off={} size={}\nR{} {} value is outside of the allowed memory range",
                       message, region, at, size, index, which);
  };
  if (!lies_within(least + offset, size, region, is_zero_allowed)) {
    return reject(rule, words(least + offset, "min"));
  }
  if (most >= static_cast<std::uint64_t>(kOffsetMax)) {
    return reject(rule, fmt::format("R{} unbounded memory access, make sure to bounds check any "
                                    "such access",
                                    index));
  }
  const std::int64_t last = static_cast<std::int64_t>(most) + offset;
  if (!lies_within(last, size, region, is_zero_allowed)) return reject(rule, words(last, "max"));
  return true;
}

// --- map values

bool Explorer::check_map_rights(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                                bool is_write) {
  const MapSpec& map = *reg(index).map;
  const std::int64_t at = offset + static_cast<std::int64_t>(reg(index).var.bits.value);
  if (is_write && (map.map_flags & BPF_F_RDONLY_PROG) != 0) {
    return reject(Rule::kMapAccess,
                  fmt::format("write into map forbidden, value_size={} off={} size={}",
                              map.value_size, at, size));
  }
  if (!is_write && (map.map_flags & BPF_F_WRONLY_PROG) != 0) {
    return reject(Rule::kMapAccess,
                  fmt::format("read from map forbidden, value_size={} off={} size={}",
                              map.value_size, at, size));
  }
  return true;
}

bool Explorer::check_map_region(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                                bool is_zero_allowed, bool is_by_helper) {
  const RegState& pointer = reg(index);
  if (!check_region(index, offset, size, pointer.map->value_size, is_zero_allowed, Rule::kMapAccess,
                    "invalid access to map value, value_size")) {
    return false;
  }
  const MapFields& fields = fields_of(*pointer.map);
  if (fields.fields.empty()) return true;
  const std::int64_t from = pointer.var.whole.smin + offset;
  const std::uint64_t span =
      pointer.var.whole.umax - static_cast<std::uint64_t>(pointer.var.whole.smin) + size;
  const MapField* field = fields.overlapping(from, span);
  if (field == nullptr) return true;
  if (field->kind == MapFieldKind::kKptr) {
    return check_kptr_place(index, *field, offset, size, is_by_helper);
  }
  return reject(Rule::kMapField, fmt::format("{} cannot be accessed directly by load/store",
                                             map_field_name(field->kind)));
}

std::optional<std::uint64_t> Explorer::read_frozen(const MapSpec& map, std::uint64_t offset,
                                                   std::uint32_t size,
                                                   bool is_sign_extending) const {
  const bool is_constant = (map.map_flags & BPF_F_RDONLY_PROG) != 0 && map.is_frozen_at_load;
  if (!is_constant || map.type != BPF_MAP_TYPE_ARRAY || map.max_entries != 1) return std::nullopt;
  std::uint64_t value = 0;
  for (std::uint32_t i = 0; i < size; ++i) {
    const std::uint64_t at = offset + i;
    const std::uint64_t byte = at < map.contents.size() ? map.contents[at] : 0;
    value |= byte << (8 * i);
  }
  if (is_sign_extending) {
    const unsigned shift = 64 - 8 * size;
    value = static_cast<std::uint64_t>(static_cast<std::int64_t>(value << shift) >> shift);
  }
  return value;
}

bool Explorer::access_map_value(const MemoryAccess& access) {
  const RegState pointer = reg(access.pointer);
  if (pointer.has(kMayBeNull)) {
    return reject(Rule::kNullCheck,
                  fmt::format("R{} invalid mem access '{}'", access.pointer, kind_words(pointer)));
  }
  const std::int64_t offset = access.offset + pointer.offset;
  if (!check_map_rights(access.pointer, offset, access.size, access.is_write)) return false;
  if (!check_map_region(access.pointer, offset, access.size, false, false)) return false;
  if (pointer.var.is_constant()) {
    const std::int64_t at = offset + static_cast<std::int64_t>(pointer.var.constant_value());
    const MapField* field = fields_of(*pointer.map).overlapping(at, access.size);
    if (field != nullptr) return access_kptr(access, *field);
  }
  if (access.is_write || access.value < 0) return true;
  if (pointer.var.is_constant()) {
    const std::uint64_t at = static_cast<std::uint64_t>(offset) + pointer.var.constant_value();
    const auto value = read_frozen(*pointer.map, at, access.size, access.is_sign_extending);
    if (value) {
      reg(static_cast<std::uint8_t>(access.value)) = RegState::constant(*value);
      return true;
    }
  }
  write_unknown(access);
  return true;
}

// --- blocks of memory

bool Explorer::access_memory(const MemoryAccess& access) {
  const RegState& pointer = reg(access.pointer);
  if (pointer.has(kMayBeNull)) {
    return reject(Rule::kNullCheck,
                  fmt::format("R{} invalid mem access '{}'", access.pointer, kind_words(pointer)));
  }
  const bool is_key = pointer.kind == RegKind::kMapKey;
  if (access.is_write && is_key) {
    return reject(Rule::kMemoryAccess,
                  fmt::format("write to change key R{} not allowed", access.pointer));
  }
  if (access.is_write && pointer.has(kReadOnly)) {
    return reject(Rule::kMemoryAccess,
                  fmt::format("R{} cannot write into {}", access.pointer, kind_words(pointer)));
  }
  const std::uint64_t size = is_key ? pointer.map->key_size : pointer.size;
  if (!check_region(
          access.pointer, access.offset + pointer.offset, access.size, size, false,
          Rule::kMemoryAccess,
          is_key ? "invalid access to map key, key_size" : "invalid access to memory, mem_size")) {
    return false;
  }
  write_unknown(access);
  return true;
}

// Sockets: their documented fields can be read, whole or a part.
bool Explorer::access_object(const MemoryAccess& access) {
  const RegState& pointer = reg(access.pointer);
  if (access.is_write) {
    return reject(Rule::kMemoryAccess,
                  fmt::format("R{} cannot write into {}", access.pointer, kind_words(pointer)));
  }
  if (pointer.has(kMayBeNull)) {
    return reject(Rule::kNullCheck,
                  fmt::format("R{} invalid mem access '{}'", access.pointer, kind_words(pointer)));
  }
  if (!pointer.var.is_constant() || pointer.var.constant_value() != 0) {
    return check_fixed_offset(access.pointer);
  }
  const std::int64_t offset = access.offset + pointer.offset;
  if (is_socket_field(pointer.kind, offset, access.size)) {
    write_unknown(access);
    return true;
  }
  return reject(Rule::kMemoryAccess,
                fmt::format("R{} invalid {} access off={} size={}", access.pointer,
                            kind_words(pointer), offset, access.size));
}

// --- the context

bool Explorer::check_fixed_offset(std::uint8_t index) {
  const RegState& pointer = reg(index);
  const std::string words = kind_words(pointer);
  if (pointer.offset < 0) {
    return reject(Rule::kMemoryAccess, fmt::format("negative offset {} ptr R{} off={} disallowed",
                                                   words, index, pointer.offset));
  }
  if (pointer.offset != 0) {
    return reject(Rule::kMemoryAccess,
                  fmt::format("dereference of modified {} ptr R{} off={} disallowed", words, index,
                              pointer.offset));
  }
  if (pointer.var.is_constant() && pointer.var.constant_value() == 0) return true;
  return reject(Rule::kMemoryAccess, fmt::format("variable {} access var_off={} disallowed", words,
                                                 bits_words(pointer.var.bits)));
}

bool Explorer::access_context(const MemoryAccess& access) {
  const RegState& pointer = reg(access.pointer);
  const std::string refusal =
      fmt::format("invalid bpf_context access off={} size={}", access.offset, access.size);
  if (!pointer.var.is_constant() || pointer.var.constant_value() != 0 || pointer.offset != 0) {
    return check_fixed_offset(access.pointer);
  }
  const ContextField* field =
      access.offset < 0 ? nullptr
                        : env_.find_field(static_cast<std::uint32_t>(access.offset), access.size);
  if (field == nullptr || access.is_write) return reject(Rule::kContextAccess, refusal);
  if (field->rights == ContextFieldRights::kReadDevmap &&
      program_.spec().expected_attach_type != BPF_XDP_DEVMAP) {
    return reject(Rule::kContextAccess, refusal);
  }
  RegState out = RegState::number(narrowed(access.size, access.is_sign_extending));
  switch (field->kind) {
    case ContextFieldKind::kPacketData:
      out = RegState::pointer(RegKind::kPacket);
      break;
    case ContextFieldKind::kPacketEnd:
      out = RegState::pointer(RegKind::kPacketEnd);
      break;
    case ContextFieldKind::kPacketMeta:
      out = RegState::pointer(RegKind::kPacketMeta);
      break;
    case ContextFieldKind::kIngressIfindex:
    case ContextFieldKind::kRxQueueIndex:
    case ContextFieldKind::kEgressIfindex:
      break;
  }
  // Half an address with copies of its sign is no address (CVE-2024-47702).
  if (out.is_pointer() && access.is_sign_extending) return reject(Rule::kContextAccess, refusal);
  if (access.value >= 0) reg(static_cast<std::uint8_t>(access.value)) = out;
  return true;
}

// --- the packet

bool Explorer::check_packet_region(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                                   bool is_zero_allowed) {
  const RegState& pointer = reg(index);
  if (pointer.var.whole.smin < 0) {
    return reject(Rule::kPacketBounds, fmt::format(kNegative, index));
  }
  if (pointer.range < 0) {
    return reject(Rule::kPacketBounds, fmt::format("R{} offset is outside of the packet", index),
                  {}, EINVAL);
  }
  if (lies_within(offset, size, static_cast<std::uint64_t>(pointer.range), is_zero_allowed)) {
    return true;
  }
  return reject(
      Rule::kPacketBounds,
      fmt::format("invalid access to packet, off={} size={}, R{}(id={},off={},r={})\n"
                  "R{} offset is outside of the packet",
                  offset, size, index, pointer.id, offset, pointer.range, index),
      fmt::format(
          "packet access at offset {} of {} bytes through r{}, but only {} bytes are proven",
          offset, size, index, pointer.range));
}

bool Explorer::access_packet(const MemoryAccess& access) {
  const std::int64_t offset = access.offset + reg(access.pointer).offset;
  if (!check_packet_region(access.pointer, offset, access.size, false)) return false;
  write_unknown(access);
  return true;
}

// --- atomics

bool Explorer::check_atomic(const Insn& insn) {
  MemoryAccess access;
  access.insn = &insn;
  access.offset = insn.off;
  access.size = access_size(insn.op);
  const bool is_load = writes_dst(insn.op);
  const std::uint8_t base = is_load ? insn.src : insn.dst;
  access.pointer = base;
  if (!check_readable(insn.src) || (!is_load && !check_readable(insn.dst))) return false;
  if (is_compare_exchange(insn.op) && !check_readable(0)) return false;
  const RegState& pointer = reg(base);
  const bool is_forbidden = pointer.kind == RegKind::kContext || pointer.is_packet() ||
                            pointer.kind == RegKind::kSocket ||
                            pointer.kind == RegKind::kSockCommon ||
                            pointer.kind == RegKind::kTcpSock || pointer.kind == RegKind::kXdpSock;
  const bool is_plain =
      is_load || (!writes_src(insn.op) && opcode_words::is(BPF_STORE_REL) == op_info(insn.op).imm);
  if (is_forbidden) {
    const std::string_view what = is_load ? "loads from" : "stores into";
    return reject(Rule::kMemoryAccess,
                  fmt::format("BPF_ATOMIC {} R{} {} is not allowed",
                              is_plain ? what : "stores into", base, kind_words(pointer)));
  }
  access.is_exact_alignment_needed = true;
  if (is_load) {
    access.value = insn.dst;
    return check_access(access);
  }
  if (is_leak(reg(insn.src)) && !is_plain) {
    return reject(Rule::kPointerLeak, fmt::format("R{} leaks addr into mem", insn.src));
  }
  access.is_write = true;
  if (is_plain) {
    access.value = insn.src;
    return check_access(access);
  }
  // Read, then write: what is written is a number nobody knows. What is fetched is what a load
  // would give; where it overwrites the address the write has none any more, as in Linux.
  MemoryAccess read = access;
  read.is_write = false;
  if (!check_access(read)) return false;
  const bool is_exchange = is_compare_exchange(insn.op);
  if (is_exchange || writes_src(insn.op)) {
    read.value = is_exchange ? 0 : insn.src;
    if (!check_access(read)) return false;
  }
  return check_access(access);
}

}  // namespace lmn
