// SPDX-License-Identifier: Apache-2.0
//
// Objects by their BTF: those of the kernel, which may be read and walked from one to the next, and
// those that the program allocated, which it may also write; and both as arguments of kernel
// functions.
//
// A register of kind kBtfObject has the struct's number in `target`: of the program's BTF with
// kLocalType, else of Environment::kernel_types. Without a kernel's types the number stands for a
// name (handle_types_): the object can be given and taken, not looked into. Who may rely on the
// pointer is in its flags and its reference (kernel_object.h). Tested by object_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_ptr_to_btf_access, check_ptr_to_map_access,
// check_func_arg_reg_off, check_kfunc_args, process_kf_arg_ptr_to_btf_id).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

constexpr std::uint16_t kTrustFlags = kTrusted | kRcuProtected;

}  // namespace

// --- types

const Btf* Explorer::types_of(const RegState& reg) const {
  return reg.has(kLocalType) ? options_.btf : env_.kernel_types;
}

// The number by which registers know a struct of the kernel; 0: it has none of this name.
std::uint32_t Explorer::kernel_type(std::string_view name) {
  if (env_.kernel_types != nullptr) {
    return env_.kernel_types->find_by_name(name, BtfKind::kStruct).value_or(0);
  }
  const auto found = std::ranges::find(handle_types_, name);
  if (found != handle_types_.end()) {
    return static_cast<std::uint32_t>(found - handle_types_.begin()) + 1;
  }
  handle_types_.emplace_back(name);
  return static_cast<std::uint32_t>(handle_types_.size());
}

std::string Explorer::struct_name(const RegState& reg) const {
  if (const std::string_view name = struct_of_kind(reg.kind); !name.empty()) {
    return std::string(name);
  }
  if (const Btf* types = types_of(reg)) return std::string(types->type(reg.target).name);
  return reg.target - 1 < handle_types_.size() ? handle_types_[reg.target - 1] : std::string();
}

// "ptr_node_data", as the kernel writes the type of a register.
std::string Explorer::object_words(const RegState& reg) const {
  return kind_words(reg) + (reg.kind == RegKind::kBtfObject ? struct_name(reg) : "");
}

const MapFields& Explorer::fields_of_type(std::uint32_t id) {
  const auto [at, is_new] = type_fields_.try_emplace(id);
  if (is_new) at->second = read_map_fields(options_.btf, id);
  return at->second;
}

// The special fields of what a pointer leads to; null where it can have none.
const MapFields* Explorer::fields_behind(const RegState& reg) {
  if (reg.kind == RegKind::kMapValue) return &fields_of(*reg.map);
  return is_allocated_object(reg) ? &fields_of_type(reg.target) : nullptr;
}

bool Explorer::may_hold_lock(const RegState& reg) {
  if (reg.has(kMayBeNull)) return false;
  const MapFields* fields = fields_behind(reg);
  return fields != nullptr && (fields->find(MapFieldKind::kSpinLock) != nullptr ||
                               fields->find(MapFieldKind::kResilientSpinLock) != nullptr);
}

bool Explorer::is_of_struct(const RegState& reg, std::string_view name, bool is_strict) {
  if (env_.kernel_types == nullptr || reg.has(kLocalType)) {
    return !reg.has(kLocalType) && reg.offset == 0 && struct_name(reg) == name;
  }
  const std::uint32_t have =
      reg.kind == RegKind::kBtfObject ? reg.target : kernel_type(struct_of_kind(reg.kind));
  const std::uint32_t want = kernel_type(name);
  if (have == 0 || want == 0) return false;
  return has_struct_at({env_.kernel_types, have}, reg.offset, {env_.kernel_types, want}, is_strict,
                       true);
}

// --- arguments

// Where in its object a pointer that is given to somebody may lead.
bool Explorer::check_pointer_offset(std::uint8_t index, bool is_release) {
  const RegState& given = reg(index);
  if (is_release) {
    if (given.offset == 0) return check_fixed_offset(index);
    return reject(Rule::kReference,
                  fmt::format("R{} must have zero offset when passed to release func or trusted "
                              "arg to kfunc",
                              index),
                  {}, EINVAL);
  }
  switch (given.kind) {
    case RegKind::kNumber:
    case RegKind::kStack:
    case RegKind::kPacket:
    case RegKind::kPacketMeta:
    case RegKind::kMapKey:
    case RegKind::kMapValue:
    case RegKind::kMemory:
    case RegKind::kArena:
      return true;
    case RegKind::kBtfObject:
      break;
    default:
      return check_fixed_offset(index);
  }
  constexpr std::uint16_t kFixedOffsetFine[] = {0,
                                                kAllocated,
                                                kTrusted,
                                                kRcuProtected,
                                                kAllocated | kNonOwning,
                                                kAllocated | kNonOwning | kRcuProtected};
  const auto flags = static_cast<std::uint16_t>(given.flags & ~kLocalType);
  const bool is_fine = std::ranges::find(kFixedOffsetFine, flags) != std::end(kFixedOffsetFine);
  if (!is_fine || given.offset < 0) return check_fixed_offset(index);
  if (given.var.is_constant() && given.var.constant_value() == 0) return true;
  return reject(Rule::kMemoryAccess, fmt::format("variable {} access var_off={} disallowed",
                                                 kind_words(given), bits_words(given.var.bits)));
}

// What the flags of a kernel function demand of a pointer to an object.
bool Explorer::check_trust(const KfuncProto& proto, std::uint8_t index) {
  const bool takes_rcu = (proto.flags & kKfRcu) != 0;
  const bool wants_trust = (proto.flags & (kKfTrustedArgs | kKfRelease)) != 0;
  const RegState& given = reg(index);
  if ((!takes_rcu && !wants_trust) || is_trusted_pointer(given)) return true;
  if (!takes_rcu) {
    return reject(Rule::kCallArgument, fmt::format("R{} must be referenced or trusted", index), {},
                  EINVAL);
  }
  if (given.has(kRcuProtected)) return true;
  return reject(Rule::kCallArgument, fmt::format("R{} must be a rcu pointer", index), {}, EINVAL);
}

bool Explorer::check_object_argument(const KfuncProto& proto, std::size_t argument,
                                     KfuncFacts& facts) {
  switch (proto.args[argument].kind) {
    case KfuncArgKind::kKernelObject:
      return check_kernel_object(proto, argument);
    case KfuncArgKind::kAllocObject:
    case KfuncArgKind::kPercpuObject:
      return check_owned_object(proto, argument, facts);
    case KfuncArgKind::kRefcounted:
      return check_refcounted(argument, facts);
    case KfuncArgKind::kListHead:
      return check_graph_head(argument, MapFieldKind::kListHead, facts);
    case KfuncArgKind::kRbRoot:
      return check_graph_head(argument, MapFieldKind::kTreeRoot, facts);
    case KfuncArgKind::kListNode:
      return check_graph_node(proto, argument, MapFieldKind::kListNode, facts);
    case KfuncArgKind::kRbNode:
      return check_graph_node(proto, argument, MapFieldKind::kTreeNode, facts);
    default:
      return reject(
          Rule::kNotSupported,
          fmt::format("kernel function {}: arguments of this kind are not supported", proto.name));
  }
}

bool Explorer::check_kernel_object(const KfuncProto& proto, std::size_t argument) {
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const KfuncArg& wanted = proto.args[argument];
  const RegState& given = reg(index);
  if (given.kind != RegKind::kBtfObject && struct_of_kind(given.kind).empty()) {
    return reject(Rule::kCallArgument,
                  fmt::format("arg#{} pointer type STRUCT {} must point to scalar, or struct with "
                              "scalar",
                              argument, wanted.type_name),
                  {}, EINVAL);
  }
  const bool is_release = (proto.flags & kKfRelease) != 0 && given.reference != 0;
  if (!check_trust(proto, index) || !check_pointer_offset(index, is_release)) return false;
  constexpr std::uint16_t kSafe = kAllocated | kTrusted | kNonOwning | kLocalType;
  const bool is_unsafe = (given.flags & ~kSafe) != 0 && !given.has(kRcuProtected);
  if (given.kind == RegKind::kBtfObject && is_unsafe) {
    return reject(Rule::kCallArgument,
                  fmt::format("arg#{} is {} expected {} or socket", argument, kind_words(given),
                              kind_words(given.kind, given.flags & kSafe)),
                  {}, EINVAL);
  }
  // X and X___init are alike in their bytes, not in what may be done with them.
  const std::string have = struct_name(given);
  const std::string want(wanted.type_name);
  const bool is_strict = is_release || have == want + "___init" || want == have + "___init";
  if (is_of_struct(given, wanted.type_name, is_strict)) return true;
  return reject(
      Rule::kCallArgument,
      fmt::format("kernel function {} args#{} expected pointer to STRUCT {} but R{} has a "
                  "pointer to STRUCT {}",
                  proto.name, argument, want, index, have),
      {}, EINVAL);
}

// An allocated object that the call takes for good.
bool Explorer::check_owned_object(const KfuncProto& proto, std::size_t argument,
                                  KfuncFacts& facts) {
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const RegState& given = reg(index);
  const auto wrong = [&](std::string words) {
    return reject(Rule::kCallArgument, std::move(words), {}, EINVAL);
  };
  if (!check_trust(proto, index)) return false;
  if (!check_pointer_offset(index, given.reference != 0)) return false;
  const bool wants_percpu = proto.args[argument].kind == KfuncArgKind::kPercpuObject;
  const auto flags = static_cast<std::uint16_t>(given.flags & ~kLocalType);
  const bool is_object = given.kind == RegKind::kBtfObject;
  if (is_object && flags == kAllocated) {
    if (wants_percpu)
      return wrong(fmt::format("arg#{} expected for bpf_obj_drop_impl()", argument));
  } else if (is_object && flags == (kAllocated | kPerCpu)) {
    if (!wants_percpu) {
      return wrong(fmt::format("arg#{} expected for bpf_percpu_obj_drop_impl()", argument));
    }
  } else {
    return wrong(fmt::format("arg#{} expected pointer to allocated object", argument));
  }
  if (given.reference == 0) return wrong("allocated object must be referenced");
  facts.object = given;
  return true;
}

bool Explorer::check_refcounted(std::size_t argument, KfuncFacts& facts) {
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const RegState& given = reg(index);
  if (!check_pointer_offset(index, false)) return false;
  // Linux also takes what was protected by a section that has ended.
  if (!is_allocated_object(given) || given.has(kUntrusted)) {
    return reject(Rule::kCallArgument,
                  fmt::format("arg#{} is neither owning or non-owning ref", argument), {}, EINVAL);
  }
  if (fields_of_type(given.target).find(MapFieldKind::kRefcount) == nullptr) {
    return reject(Rule::kCallArgument,
                  fmt::format("arg#{} doesn't point to a type with bpf_refcount field", argument),
                  {}, EINVAL);
  }
  facts.object = given;
  return true;
}

// --- reading and writing

// What a pointer found in an object is: the tag says something, the object it was found in more.
std::uint16_t Explorer::trust_after_walk(const RegState& from, const StructMember& member) {
  if (from.has(kUntrusted)) return kUntrusted;
  const auto without_trust = static_cast<std::uint16_t>(member.flags & ~(kTrustFlags));
  if (!is_trusted_pointer(from) && !from.has(kRcuProtected)) return without_trust;
  const bool is_section = is_in_rcu() && !from.has(kMayBeNull);
  const MemberTrust trust =
      member_trust(*env_.kernel_types, from.target, member.name, member.type, is_section);
  if (trust.is_known) {
    const bool is_always = (trust.flags & kRcuProtected) != 0 && (trust.flags & kMayBeNull) != 0;
    const int drop = is_always ? kUntrusted : 0;
    return static_cast<std::uint16_t>((member.flags & ~drop) | trust.flags);
  }
  if (!is_section) return kUntrusted;
  // Members tagged __rcu may be null.
  if ((member.flags & kRcuProtected) != 0) {
    return static_cast<std::uint16_t>(member.flags | kMayBeNull);
  }
  return member.flags;
}

// Whether `size` bytes at `offset` of the object that `index` points to may be accessed; `loaded`
// is what a load of them gives, but for its size.
bool Explorer::check_object_span(std::uint8_t index, std::int64_t offset, std::uint32_t size,
                                 bool is_write, RegState& loaded) {
  const RegState& given = reg(index);
  const std::string name = struct_name(given);
  const auto wrong = [&](std::string words, int errno_value) {
    const Rule rule = given.has(kMayBeNull) ? Rule::kNullCheck : Rule::kMemoryAccess;
    return reject(rule, std::move(words), {}, errno_value);
  };
  const auto bad = [&](std::string_view what, std::string_view more = {}) {
    return wrong(fmt::format("R{} is ptr_{} {}: off={}{}", index, name, what, offset, more),
                 EACCES);
  };
  if (!is_trusted()) {
    return wrong(
        fmt::format("'struct {}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", name),
        EPERM);
  }
  const bool is_kernel = !given.has(kLocalType);
  if (is_kernel && !program_.spec().is_gpl_compatible()) {
    return wrong(
        fmt::format("Cannot access kernel 'struct {}' from non-GPL compatible program", name),
        EINVAL);
  }
  if (offset < 0) return bad("invalid negative access");
  if (!given.var.is_constant() || given.var.constant_value() != 0) {
    return bad("invalid variable offset", fmt::format(", var_off={}", bits_words(given.var.bits)));
  }
  if (given.has(kUserMemory)) return bad("access user memory");
  if (given.has(kPerCpu)) return bad("access percpu memory");
  const bool is_owned = is_allocated_object(given);
  const bool is_connection = name == "nf_conn" || name == "nf_conn___init";
  const bool may_write = is_owned || is_connection;
  if (is_write && (given.has(kUntrusted) || !may_write)) {
    return wrong("only read is supported", EACCES);
  }
  const Btf* types = types_of(given);
  if (types == nullptr) {
    return reject(Rule::kNotSupported,
                  fmt::format("'struct {}' is an object of the kernel, and there is none here to "
                              "look into",
                              name));
  }
  if (is_owned) {
    const MapField* field = fields_of_type(given.target).overlapping(offset, size);
    if (field != nullptr) {
      return wrong(fmt::format("direct access to {} is disallowed", map_field_name(field->kind)),
                   EACCES);
    }
  }
  if (is_write && !is_owned) {
    const auto mark = types->find_member(types->type(kernel_type("nf_conn")), "mark");
    const bool is_mark = mark && offset >= mark->bit_offset / 8 &&
                         offset + size <= mark->bit_offset / 8 + std::int64_t{4};
    if (is_mark) return true;
    return wrong(fmt::format("no write support to nf_conn at off {}", offset), EACCES);
  }
  const StructMember member = walk_struct(*types, given.target, {offset, size}, !is_owned);
  if (member.kind == StructMember::Kind::kRefused) {
    return wrong(member.problem, member.errno_value);
  }
  loaded = RegState::unknown();
  // What stands in an object of the program is a number: it may have been written as one.
  if (member.kind == StructMember::Kind::kNumber || is_owned) return true;
  const std::uint16_t flags =
      is_kernel ? trust_after_walk(given, member) : std::uint16_t{kUntrusted};
  loaded = RegState::pointer(RegKind::kBtfObject, flags);
  if (!is_kernel) loaded.flags |= kLocalType;
  loaded.target = member.type;
  return true;
}

bool Explorer::access_btf_object(const MemoryAccess& access) {
  const RegState& pointer = reg(access.pointer);
  // A pointer that may be null and is not protected is no pointer yet; reading through an
  // untrusted one faults into zeros.
  if (pointer.has(kMayBeNull)) {
    return reject(Rule::kNullCheck,
                  fmt::format("R{} invalid mem access '{}'", access.pointer, kind_words(pointer)));
  }
  RegState loaded;
  if (!check_object_span(access.pointer, access.offset + pointer.offset, access.size,
                         access.is_write, loaded)) {
    return false;
  }
  if (access.is_write || access.value < 0) return true;
  if (loaded.is_number()) {
    write_unknown(access);
    return true;
  }
  if (loaded.has(kMayBeNull)) loaded.id = new_id();
  reg(static_cast<std::uint8_t>(access.value)) = loaded;
  return true;
}

// A map as the kernel's struct: its fields can be read.
bool Explorer::access_map_struct(const MemoryAccess& access) {
  const RegState pointer = reg(access.pointer);
  const std::string_view name = struct_of_map(pointer.map->type);
  const std::uint32_t type = name.empty() || env_.kernel_types == nullptr ? 0 : kernel_type(name);
  const auto wrong = [&](std::string words, int errno_value) {
    return reject(Rule::kMemoryAccess, std::move(words), {}, errno_value);
  };
  if (type == 0) {
    const std::string words =
        access.is_write
            ? fmt::format("R{} cannot write into {}", access.pointer, kind_words(pointer))
            : fmt::format("R{} invalid mem access '{}'", access.pointer, kind_words(pointer));
    return wrong(words, EACCES);
  }
  const std::int64_t offset = access.offset + pointer.offset;
  if (!is_trusted()) {
    return wrong(
        fmt::format("'struct {}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", name),
        EPERM);
  }
  if (offset < 0) {
    return wrong(
        fmt::format("R{} is {} invalid negative access: off={}", access.pointer, name, offset),
        EACCES);
  }
  if (access.is_write) return wrong(fmt::format("only read from {} is supported", name), EACCES);
  const StructMember member = walk_struct(*env_.kernel_types, type, {offset, access.size}, true);
  if (member.kind == StructMember::Kind::kRefused) return wrong(member.problem, member.errno_value);
  if (member.kind == StructMember::Kind::kNumber) {
    write_unknown(access);
    return true;
  }
  if (access.value < 0) return true;
  RegState& out = reg(static_cast<std::uint8_t>(access.value));
  out = RegState::pointer(RegKind::kBtfObject, member.flags);
  out.target = member.type;
  return true;
}

}  // namespace lmn
