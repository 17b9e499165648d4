// SPDX-License-Identifier: Apache-2.0
//
// Preparing a program for the interpreter, slot by slot. The structural pass has judged the
// program; here every reference is nevertheless looked at once more, because the interpreter
// follows targets and indices without asking again. Tested by exec_test.cc.
#include "exec/interp/image.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <bit>

#include "btf/btf.h"
#include "btf/map_fields.h"
#include "exec/helper_table.h"
#include "exec/interp/kfunc_call.h"
#include "insn/insn_table.h"
#include "maps/arena_map.h"
#include "maps/map.h"

namespace lmn::interp {
namespace {

std::unexpected<Error> insn_error(ErrorCode code, std::uint32_t slot, const std::string& text) {
  return make_error(code, fmt::format("insn {}: {}", slot, text));
}

bool is_argument_supported(ArgKind kind) {
  switch (kind) {
    case ArgKind::kNone:
    case ArgKind::kAnything:
    case ArgKind::kConstMapPtr:
    case ArgKind::kPtrToMapKey:
    case ArgKind::kPtrToMapValue:
    case ArgKind::kPtrToMem:
    case ArgKind::kConstSize:
    case ArgKind::kConstSizeOrZero:
    case ArgKind::kConstAllocSizeOrZero:
    case ArgKind::kPtrToCtx:
    case ArgKind::kPtrToSpinLock:
    case ArgKind::kPtrToTimer:
    case ArgKind::kPtrToRingbufMem:
    case ArgKind::kPtrToFunc:
    case ArgKind::kPtrToStack:
    case ArgKind::kPtrToConstStr:
    case ArgKind::kPtrToDynptr:
    case ArgKind::kPtrToSocket:
    case ArgKind::kPtrToSockCommon:
    case ArgKind::kPtrToBtfId:
    case ArgKind::kKptrXchgDest:
    case ArgKind::kPtrToPercpuBtfId:
      return true;
  }
  return false;
}

bool is_result_supported(RetKind kind) {
  return kind == RetKind::kInteger || kind == RetKind::kVoid || kind == RetKind::kPtrToMapValue ||
         kind == RetKind::kPtrToMem || kind == RetKind::kPtrToDynptrMem ||
         kind == RetKind::kPtrToSocket || kind == RetKind::kPtrToSockCommon ||
         kind == RetKind::kPtrToTcpSock || kind == RetKind::kPtrToBtfId ||
         kind == RetKind::kPtrToPercpuObject;
}

bool is_proto_supported(const HelperProto& proto) {
  for (const HelperArg& arg : proto.args) {
    if (!is_argument_supported(arg.kind)) return false;
  }
  return is_result_supported(proto.ret);
}

}  // namespace

std::uint8_t program_rights(const Map& map, const Environment& environment) {
  std::uint8_t rights = kMayRead | kMayWrite;
  const std::uint32_t flags = map.spec().map_flags;
  if ((flags & BPF_F_RDONLY_PROG) != 0) rights &= static_cast<std::uint8_t>(~kMayWrite);
  if ((flags & BPF_F_WRONLY_PROG) != 0) rights &= static_cast<std::uint8_t>(~kMayRead);
  const MapTypeInfo* type = environment.find_map_type(map.spec().type);
  if (type != nullptr && (type->flags & kMapProgramReadOnly) != 0) {
    rights &= static_cast<std::uint8_t>(~kMayWrite);
  }
  return rights;
}

Result<ProgramImage> ProgramImage::build(const ProgramSpec& program, const Environment& environment,
                                         std::span<Map* const> maps, const HelperTable& helpers,
                                         const Btf* btf) {
  ProgramImage image(program, environment);
  image.btf_ = btf;
  for (Map* map : maps) {
    if (map != nullptr && map->spec().type == BPF_MAP_TYPE_ARENA) {
      image.arena_ = static_cast<ArenaMap*>(map);
    }
  }
  image.steps_.resize(program.insns.size() + 1);  // the last one stays kLddwHigh, which traps
  for (std::uint32_t slot = 0; slot < program.insns.size(); ++slot) {
    LMN_CHECK_OK(image.add_slot(slot, maps, helpers));
  }
  // Only now do the steps stay where they are: a function's value is the address of its first step.
  for (Constant& constant : image.constants_) {
    if (constant.shadow.kind != ValueKind::kFunction) continue;
    constant.value =
        reinterpret_cast<std::uintptr_t>(image.step_at(static_cast<std::uint32_t>(constant.value)));
    constant.shadow = Shadow::function(constant.value);
  }
  image.fill_context_loads();
  return image;
}

Result<void> ProgramImage::add_slot(std::uint32_t slot, std::span<Map* const> maps,
                                    const HelperTable& helpers) {
  const Insn& insn = program_->insns[slot];
  Step& step = steps_[slot];
  step = {insn.op, insn.dst, insn.src, insn.off, 0, insn.imm};
  switch (op_class(insn.op)) {
    case OpClass::kAlu:
    case OpClass::kByteSwap:
    case OpClass::kLoad:
    case OpClass::kStore:
    case OpClass::kAtomic:
    case OpClass::kExit:
      return {};
    case OpClass::kJump:
    case OpClass::kBranch: {
      const bool is_long = op_info(insn.op).imm.use == FieldUse::kJump;
      LMN_TRY(step.index, target(slot, is_long ? insn.imm : insn.off));
      // A jump to itself stands where an operation is refused (structure.h), or never ends.
      if (op_class(insn.op) == OpClass::kJump && step.index == slot) step.op = Op::kLddwHigh;
      return {};
    }
    case OpClass::kCall:
      return add_call(slot, helpers, step);
    case OpClass::kWide:
      return insn.op == Op::kLddw ? add_lddw(slot, maps, step) : Result<void>{};
    case OpClass::kAddrSpaceCast:
      if (arena_ != nullptr) return {};
      return insn_error(ErrorCode::kInvalidArgument, slot,
                        "addr_space_cast in a program without an arena");
    case OpClass::kLegacy:
      return {};  // traps unless the program's type has it
  }
  return insn_error(ErrorCode::kInternal, slot, "operation of no class");
}

Result<std::uint32_t> ProgramImage::target(std::uint32_t slot, std::int64_t distance) const {
  const auto to = next_slot_plus({slot}, distance);
  if (!to || to->value >= program_->insns.size()) {
    return insn_error(ErrorCode::kInvalidArgument, slot,
                      fmt::format("jump by {} leaves the program", distance));
  }
  return to->value;
}

Result<void> ProgramImage::add_lddw(std::uint32_t slot, std::span<Map* const> maps, Step& step) {
  step.index = static_cast<std::uint32_t>(constants_.size());
  const auto low = static_cast<std::uint32_t>(step.imm);
  const auto high = static_cast<std::uint32_t>(static_cast<std::uint64_t>(step.imm) >> 32);
  Constant constant;
  switch (step.src) {
    case 0:
      constant.value = static_cast<std::uint64_t>(step.imm);
      break;
    case BPF_PSEUDO_MAP_IDX:
    case BPF_PSEUDO_MAP_IDX_VALUE: {
      if (low >= maps.size() || maps[low] == nullptr) {
        return insn_error(
            ErrorCode::kInvalidArgument, slot,
            fmt::format("map {} of a program that was given {} maps", low, maps.size()));
      }
      Map& map = *maps[low];
      if (step.src == BPF_PSEUDO_MAP_IDX) {
        constant.value = reinterpret_cast<std::uintptr_t>(&map);
        constant.shadow = Shadow::map(constant.value);
        break;
      }
      if (map.spec().type == BPF_MAP_TYPE_ARENA) {
        const std::uint64_t size_bytes = std::uint64_t{map.spec().max_entries} * kMapPageBytes;
        if (high > size_bytes) {
          return make_errno_error(
              ErrorCode::kInvalidArgument, ERANGE,
              fmt::format("insn {}: byte {} of an arena of {}", slot, high, size_bytes));
        }
        constant.value = static_cast<ArenaMap&>(map).user_start() + high;
        constant.shadow = Shadow::arena(reinterpret_cast<std::uintptr_t>(&map));
        break;
      }
      const void* base = map.direct_value(0);
      if (base == nullptr || map.direct_value(high) == nullptr) {
        return make_errno_error(
            ErrorCode::kInvalidArgument, EINVAL,
            fmt::format("insn {}: map '{}' of {} bytes has no address for byte {}", slot,
                        map.spec().name, map.spec().value_size, high));
      }
      const auto address = reinterpret_cast<std::uintptr_t>(base);
      constant.value = address + high;
      constant.shadow =
          Shadow::map_value(address, map.spec().value_size, program_rights(map, environment_));
      break;
    }
    case BPF_PSEUDO_FUNC: {
      LMN_TRY(constant.value, target(slot, static_cast<std::int32_t>(low)));
      constant.shadow = Shadow::function(constant.value);
      break;
    }
    default:
      return insn_error(
          ErrorCode::kNotSupported, slot,
          fmt::format("lddw with src {}: only maps, map values and functions of the program",
                      step.src));
  }
  constants_.push_back(constant);
  return {};
}

Result<void> ProgramImage::add_call(std::uint32_t slot, const HelperTable& helpers, Step& step) {
  if (step.src == BPF_PSEUDO_CALL) {
    LMN_TRY(step.index, target(slot, step.imm));
    return {};
  }
  if (step.src == BPF_PSEUDO_KFUNC_CALL) return add_kfunc_call(slot, helpers, step);
  const auto id = static_cast<std::uint32_t>(step.imm);
  const HelperProto* proto = environment_.find_helper(id);
  if (proto == nullptr) {
    return insn_error(ErrorCode::kNotSupported, slot, fmt::format("helper {} is not offered", id));
  }
  const HelperFn body = helpers.find_body != nullptr ? helpers.find_body(id) : nullptr;
  if ((body == nullptr && id != BPF_FUNC_tail_call) || !is_proto_supported(*proto)) {
    return insn_error(ErrorCode::kNotSupported, slot, fmt::format("helper {}", proto->name));
  }
  step.index = static_cast<std::uint32_t>(helpers_.size());
  helpers_.push_back({proto, body});
  return {};
}

Result<void> ProgramImage::add_kfunc_call(std::uint32_t slot, const HelperTable& helpers,
                                          Step& step) {
  const auto position = static_cast<std::size_t>(step.imm);
  if (position >= program_->kfuncs.size()) {
    return insn_error(ErrorCode::kInvalidArgument, slot,
                      fmt::format("kernel function {} of {}", position, program_->kfuncs.size()));
  }
  const std::string& name = program_->kfuncs[position].name;
  const KfuncProto* proto = environment_.find_kfunc(name);
  if (proto == nullptr) {
    return insn_error(ErrorCode::kNotSupported, slot, fmt::format("kernel function '{}'", name));
  }
  const HelperFn body =
      helpers.find_kfunc_body != nullptr ? helpers.find_kfunc_body(name) : nullptr;
  if ((body == nullptr && !is_engine_kfunc(*proto)) || !is_kfunc_supported(*proto)) {
    return insn_error(ErrorCode::kNotSupported, slot,
                      fmt::format("kernel function '{}': its arguments or result", name));
  }
  step.index = static_cast<std::uint32_t>(kfuncs_.size());
  if (proto->args[0].kind == KfuncArgKind::kLocalTypeId && layouts_.empty()) fill_layouts();
  kfuncs_.push_back({proto, body});
  return {};
}

void ProgramImage::fill_layouts() {
  for (std::uint32_t id = 1; btf_ != nullptr && id < btf_->type_count(); ++id) {
    if (btf_->type(id).kind != BtfKind::kStruct) continue;
    ObjectLayout layout;
    layout.size_bytes = btf_->type(id).size;
    bool fits = layout.size_bytes != 0 && layout.size_bytes <= ObjectHeap::kObjectBytesMax;
    for (const MapField& field : read_map_fields(btf_, id).fields) {
      const auto offset = static_cast<std::uint16_t>(field.offset);
      switch (field.kind) {
        case MapFieldKind::kListNode:
        case MapFieldKind::kTreeNode:
          fits = fits && layout.node_count < ObjectLayout::kNodesMax;
          if (fits) layout.node_offsets[layout.node_count++] = offset;
          break;
        case MapFieldKind::kListHead:
        case MapFieldKind::kTreeRoot:
          fits = fits && layout.head_count < ObjectLayout::kHeadsMax;
          if (fits) layout.head_offsets[layout.head_count++] = offset;
          break;
        case MapFieldKind::kRefcount:
          layout.is_refcounted = true;
          break;
        case MapFieldKind::kKptr:
          if (field.kptr == KptrKind::kUntrusted || field.kptr == KptrKind::kUser) break;
          fits = fits && layout.pointer_count < ObjectLayout::kPointersMax;
          if (fits) layout.pointer_offsets[layout.pointer_count++] = offset;
          break;
        case MapFieldKind::kSpinLock:
        case MapFieldKind::kResilientSpinLock:
        case MapFieldKind::kTimer:
        case MapFieldKind::kWorkqueue:
        case MapFieldKind::kTaskWork:
          break;
      }
    }
    if (fits) layouts_.emplace(id, layout);
  }
}

const ObjectLayout* ProgramImage::layout(std::uint64_t type_id) const {
  const auto found = layouts_.find(type_id);
  return found != layouts_.end() ? &found->second : nullptr;
}

const Step* ProgramImage::find_step(std::uint64_t address) const {
  const auto base = reinterpret_cast<std::uintptr_t>(steps_.data());
  const std::uint64_t distance = address - base;
  if (address < base || distance % sizeof(Step) != 0) return nullptr;
  const std::uint64_t slot = distance / sizeof(Step);
  return slot < program_->insns.size() ? step_at(static_cast<std::uint32_t>(slot)) : nullptr;
}

void ProgramImage::fill_context_loads() {
  std::uint32_t end = 0;
  for (const ContextField& field : environment_.context) {
    end = std::max(end, field.offset + field.size_bytes);
  }
  context_loads_.resize(end);
  for (std::uint32_t offset = 0; offset < end; ++offset) {
    for (std::uint32_t log_size = 0; log_size < 4; ++log_size) {
      const ContextField* field = environment_.find_field(offset, 1u << log_size);
      if (field == nullptr) continue;
      const bool is_devmap = program_->expected_attach_type == BPF_XDP_DEVMAP;
      if (field->rights == ContextFieldRights::kReadDevmap && !is_devmap) continue;
      context_loads_[offset][log_size] = {true, field->kind};
    }
  }
}

ContextLoad ProgramImage::context_load(std::int64_t offset, std::uint32_t size_bytes) const {
  if (offset < 0 || offset >= static_cast<std::int64_t>(context_loads_.size())) return {};
  return context_loads_[static_cast<std::size_t>(offset)]
                       [static_cast<std::size_t>(std::countr_zero(size_bytes))];
}

}  // namespace lmn::interp
