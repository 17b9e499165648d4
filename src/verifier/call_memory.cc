// SPDX-License-Identifier: Apache-2.0
//
// Memory given to helpers: blocks with a size, constant strings, timers in map values.
// Tested by paths_test.cc and paths_calls_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_helper_mem_access, check_mem_size_reg,
// check_reg_const_str, process_timer_func).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"

namespace lmn {
namespace {

constexpr std::uint64_t kSizeMax = 1u << 29;  // BPF_MAX_VAR_SIZ

}  // namespace

bool Explorer::check_helper_memory(std::uint8_t index, std::uint64_t size, bool is_write,
                                   bool is_zero_allowed, CallFacts* facts) {
  const RegState& given = reg(index);
  if (given.has(kMayBeNull) && size > 0) {
    return reject(Rule::kNullCheck,
                  fmt::format("R{} invalid mem access '{}'", index, kind_words(given)));
  }
  switch (given.kind) {
    case RegKind::kPacket:
    case RegKind::kPacketMeta:
      return check_packet_region(index, given.offset, size, is_zero_allowed);
    case RegKind::kMapKey:
      if (is_write) {
        return reject(Rule::kMemoryAccess,
                      fmt::format("R{} cannot write into {}", index, kind_words(given)));
      }
      return check_region(index, given.offset, size, given.map->key_size, false,
                          Rule::kMemoryAccess, "invalid access to map key, key_size");
    case RegKind::kMapValue:
      return check_map_rights(index, given.offset, size, is_write) &&
             check_map_region(index, given.offset, size, is_zero_allowed, true);
    case RegKind::kMemory:
      if (is_write && given.has(kReadOnly)) {
        return reject(Rule::kMemoryAccess,
                      fmt::format("R{} cannot write into {}", index, kind_words(given)));
      }
      return check_region(index, given.offset, size, given.size, is_zero_allowed,
                          Rule::kMemoryAccess, "invalid access to memory, mem_size");
    case RegKind::kStack:
      return check_stack_range(index, given.offset, size, is_zero_allowed, is_write, facts);
    case RegKind::kBtfObject: {
      RegState loaded;
      return check_object_span(index, given.offset, static_cast<std::uint32_t>(size), is_write,
                               loaded);
    }
    default:
      break;
  }
  if (is_zero_allowed && size == 0 && given.is_zero()) return true;
  return reject(Rule::kCallArgument,
                fmt::format("R{} type={} expected=fp", index, kind_words(given)));
}

bool Explorer::check_size_argument(std::uint8_t index, bool is_write, bool is_zero_allowed,
                                   CallFacts& facts) {
  const RegState& size = reg(index);
  facts.size_max = size.var.whole.umax;
  if (size.var.whole.smin < 0) {
    return reject(
        Rule::kCallArgument,
        fmt::format("R{} min value is negative, either use unsigned or 'var &= const'", index));
  }
  if (size.var.whole.umin == 0 && !is_zero_allowed) {
    return reject(Rule::kCallArgument,
                  fmt::format("R{} invalid zero-sized read: u64=[{},{}]", index,
                              size.var.whole.umin, size.var.whole.umax));
  }
  if (size.var.whole.umax >= kSizeMax) {
    return reject(Rule::kCallArgument,
                  fmt::format("R{} unbounded memory access, use 'var &= const' or 'if (var < "
                              "const)'",
                              index));
  }
  const auto memory = static_cast<std::uint8_t>(index - 1);
  // Memory that is filled only in part must be initialised before.
  CallFacts* raw = size.var.is_constant() ? &facts : nullptr;
  if (!check_helper_memory(memory, size.var.whole.umax, is_write, is_zero_allowed, raw)) {
    return false;
  }
  return mark_precise(index);
}

bool Explorer::check_constant_string(std::uint8_t index) {
  const RegState& given = reg(index);
  const MapSpec& map = *given.map;
  if ((map.map_flags & BPF_F_RDONLY_PROG) == 0 || !map.is_frozen_at_load) {
    return reject(Rule::kCallArgument, fmt::format("R{} does not point to a readonly map'", index));
  }
  if (!given.var.is_constant()) {
    return reject(Rule::kCallArgument, fmt::format("R{} is not a constant address'", index));
  }
  const std::uint64_t from = static_cast<std::uint64_t>(given.offset) + given.var.constant_value();
  if (from >= map.value_size) {
    return reject(Rule::kCallArgument,
                  fmt::format("invalid access to map value, value_size={} off={} size=1",
                              map.value_size, from));
  }
  if (map.contents.size() < map.value_size) return true;  // zeros behind what was given
  const auto end = map.contents.begin() + map.value_size;
  const auto start = map.contents.begin() + static_cast<std::ptrdiff_t>(from);
  if (std::find(start, end, 0) != end) return true;
  return reject(Rule::kCallArgument, "string is not zero-terminated", {}, EINVAL);
}

// The format of bpf_snprintf is checked when the helper runs; here only that there are whole
// arguments of 8 bytes, as the kernel's own check begins.
bool Explorer::check_format(const CallFacts&) {
  const RegState& bytes = reg(5);
  if (!bytes.var.is_constant() || bytes.var.constant_value() % 8 != 0 ||
      bytes.var.constant_value() > 12 * 8) {
    return reject(Rule::kCallArgument, "Invalid format string", {}, EINVAL);
  }
  return true;
}

bool Explorer::check_timer(std::uint8_t index, const CallFacts&) {
  const RegState& given = reg(index);
  if (!given.var.is_constant()) {
    return reject(Rule::kCallArgument,
                  fmt::format("R{} doesn't have constant offset. bpf_timer has to be at the "
                              "constant offset",
                              index),
                  {}, EINVAL);
  }
  const MapField* field = fields_of(*given.map).find(MapFieldKind::kTimer);
  if (field == nullptr) {
    return reject(Rule::kCallArgument,
                  fmt::format("map '{}' has no valid bpf_timer", given.map->name), {}, EINVAL);
  }
  const std::int64_t at = given.offset + static_cast<std::int64_t>(given.var.constant_value());
  if (at == field->offset) return true;
  return reject(
      Rule::kCallArgument,
      fmt::format("off {} doesn't point to 'struct bpf_timer' that is at {}", at, field->offset),
      {}, EINVAL);
}

}  // namespace lmn
