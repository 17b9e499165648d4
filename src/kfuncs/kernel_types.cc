// SPDX-License-Identifier: Apache-2.0
//
// Making the graph: copied from the target where it has a struct, from own_types.h elsewhere.
// Tested by kernel_types_test.cc.
#include "kfuncs/kernel_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <string>

#include "abi/kfunc_proto.h"
#include "btf/btf_writer.h"
#include "kfuncs/own_types.h"
#include "packet/run_context.h"

namespace lmn {
namespace {

constexpr std::string_view kStructPrefix = "struct ";
constexpr std::string_view kUnionPrefix = "union ";
constexpr std::string_view kConstPrefix = "const ";

struct BaseType {
  std::string_view name;
  std::uint32_t size_bytes;
  bool is_signed;
};
constexpr BaseType kBaseTypes[] = {
    {"__u8", 1, false},          {"__u16", 2, false},  {"__u32", 4, false},  {"__u64", 8, false},
    {"__s32", 4, true},          {"__be16", 2, false}, {"__be32", 4, false}, {"int", 4, true},
    {"unsigned long", 8, false}, {"char", 1, true},
};

class TypeMaker {
 public:
  explicit TypeMaker(const Btf* target) : target_(target) {}

  Result<std::shared_ptr<const Btf>> make() {
    index_ = writer_.add_int("unsigned int", 4, 0);
    for (const BaseType& base : kBaseTypes) {
      by_spelling_[std::string(base.name)] =
          writer_.add_int(base.name, base.size_bytes, base.is_signed ? 1 : 0);
    }
    by_spelling_["void"] = 0;
    for (const OwnStruct& own : own_structs()) {
      const std::string spelling =
          std::string(own.is_union ? kUnionPrefix : kStructPrefix) + std::string(own.name);
      // What was copied for the structs before leads nowhere; from here on pointers may.
      if (own.is_partial) copies_.clear();
      by_spelling_[spelling] = own.is_of_kernel ? copy_or_make(own) : make_own(own);
    }
    for (const OwnFunction& function : own_functions()) {
      std::vector<BtfParam> params;
      for (const OwnParam& param : function.params)
        params.push_back({param.name, id_of(param.type)});
      writer_.add_function(function.name, id_of(function.result), params);
    }
    return parse_btf(writer_.finish());
  }

 private:
  // The id of a type spelled in C; made when it is met first.
  std::uint32_t id_of(std::string_view spelling) {
    const auto known = by_spelling_.find(std::string(spelling));
    if (known != by_spelling_.end()) return known->second;
    const std::uint32_t id = make_spelled(spelling);
    by_spelling_[std::string(spelling)] = id;
    return id;
  }

  std::uint32_t make_spelled(std::string_view spelling) {
    if (spelling.ends_with(" *")) {
      return writer_.add_reference(BtfKind::kPtr, {},
                                   id_of(spelling.substr(0, spelling.size() - 2)));
    }
    if (spelling.ends_with("]")) {
      const std::size_t open = spelling.find('[');
      std::uint32_t count = 0;
      std::from_chars(spelling.data() + open + 1, spelling.data() + spelling.size() - 1, count);
      return writer_.add_array({id_of(spelling.substr(0, open)), index_, count});
    }
    if (spelling.starts_with(kConstPrefix)) {
      return writer_.add_reference(BtfKind::kConst, {},
                                   id_of(spelling.substr(kConstPrefix.size())));
    }
    // A struct that only pointers lead to.
    return writer_.add_reference(BtfKind::kFwd, spelling.substr(kStructPrefix.size()), 0);
  }

  std::uint32_t make_own(const OwnStruct& own) {
    std::vector<BtfMember> members;
    for (const OwnMember& member : own.members) {
      members.push_back({member.name, id_of(member.type), member.offset * 8});
    }
    return writer_.add_composite(own.is_union ? BtfKind::kUnion : BtfKind::kStruct, own.name,
                                 own.size_bytes, members);
  }

  std::uint32_t copy_or_make(const OwnStruct& own) {
    const BtfKind kind = own.is_union ? BtfKind::kUnion : BtfKind::kStruct;
    if (target_ != nullptr) {
      if (const auto id = target_->find_by_name(own.name, kind)) return copy(*id);
    }
    return make_own(own);
  }

  // The same type in the new graph, with all that it holds by value. Nesting is bounded by what
  // parsed BTF guarantees.
  std::uint32_t copy(std::uint32_t id) {
    if (id == 0) return 0;
    if (const auto known = copies_.find(id); known != copies_.end()) return known->second;
    const BtfType& type = target_->type(id);
    const std::uint32_t made = copy_new(type);
    copies_[id] = made;
    return made;
  }

  std::uint32_t copy_new(const BtfType& type) {
    switch (type.kind) {
      case BtfKind::kInt:
        return writer_.add_int(type.name, type.size, type.int_info().encoding);
      case BtfKind::kStruct:
      case BtfKind::kUnion:
        return copy_composite(type, find_partial(type.name));
      case BtfKind::kArray: {
        BtfArray array = type.array();
        array.element_type = copy(array.element_type);
        array.index_type = index_;
        return writer_.add_array(array);
      }
      case BtfKind::kTypedef:
        return writer_.add_reference(type.kind, type.name, copy(type.type));
      case BtfKind::kEnum:
        return writer_.add_enum(type.name, {});
      case BtfKind::kVolatile:
      case BtfKind::kConst:
      case BtfKind::kRestrict:
      case BtfKind::kTypeTag:
      case BtfKind::kDeclTag:
        return copy(type.type);
      case BtfKind::kPtr:
        return writer_.add_reference(BtfKind::kPtr, {}, pointee_of(type));
      default:
        return writer_.add_int("opaque", type.size == 8 ? 8 : 4, 0);
    }
  }

  // With `kept`, members that it does not name become kUnkeptTypeName.
  std::uint32_t copy_composite(const BtfType& type, const OwnStruct* kept) {
    std::vector<BtfMember> members;
    for (BtfMember member : target_->members(type)) {
      if (kept != nullptr && !keeps(*kept, member)) {
        const auto size = target_->resolve_size(member.type);
        if (member.bitfield_size != 0 || !size || *size == 0) continue;
        member.type = unkept(static_cast<std::uint32_t>(*size));
      } else if (kept != nullptr && member.name.empty()) {
        const std::uint32_t id = target_->skip_modifiers_and_typedefs(member.type);
        member.type = copy_composite(target_->type(id), kept);
      } else {
        member.type = copy(member.type);
      }
      members.push_back(member);
    }
    return writer_.add_composite(type.kind, type.name, type.size, members);
  }

  static const OwnStruct* find_partial(std::string_view name) {
    for (const OwnStruct& own : own_structs()) {
      if (own.is_partial && own.name == name) return &own;
    }
    return nullptr;
  }

  // Whether a member, or one of those of an anonymous struct, is one that is named.
  bool keeps(const OwnStruct& own, const BtfMember& member) const {
    if (!member.name.empty()) {
      return std::ranges::find(own.members, member.name, &OwnMember::name) != own.members.end();
    }
    const BtfType& inner = target_->type(target_->skip_modifiers_and_typedefs(member.type));
    return inner.is_composite() &&
           std::ranges::any_of(target_->members(inner),
                               [&](const BtfMember& nested) { return keeps(own, nested); });
  }

  std::uint32_t unkept(std::uint32_t size_bytes) {
    const std::string bytes = fmt::format("__u8[{}]", size_bytes);
    const auto [at, is_new] = unkept_.try_emplace(size_bytes);
    if (is_new) {
      at->second = writer_.add_reference(BtfKind::kTypedef, kUnkeptTypeName, id_of(bytes));
    }
    return at->second;
  }

  // What a pointer leads to: a struct that is kept up and was made before, else nothing.
  std::uint32_t pointee_of(const BtfType& pointer) const {
    const BtfType& type = target_->type(target_->skip_modifiers_and_typedefs(pointer.type));
    if (type.kind != BtfKind::kStruct || find_partial(type.name) == nullptr) return 0;
    const auto made = by_spelling_.find(std::string(kStructPrefix) + std::string(type.name));
    return made != by_spelling_.end() ? made->second : 0;
  }

  const Btf* target_;
  BtfWriter writer_;
  std::uint32_t index_ = 0;
  std::map<std::string, std::uint32_t> by_spelling_;
  std::map<std::uint32_t, std::uint32_t> copies_;
  std::map<std::uint32_t, std::uint32_t> unkept_;  // by size
};

// The struct behind the context says what is now whenever it is looked at.
void refresh_context(RunContext& context, void* /*object*/) noexcept {
  if (context.kernel_objects != nullptr) context.kernel_objects->context_object(context);
}

// A field by its path ("tuplehash.tuple.src.u3"), in bytes from the beginning of the struct; the
// first element of arrays.
std::optional<std::uint32_t> offset_of(const Btf& types, std::string_view name,
                                       std::string_view path) {
  const auto found = types.find_by_name(name, BtfKind::kStruct);
  if (!found) return std::nullopt;
  std::uint32_t id = *found;
  std::uint32_t bits = 0;
  while (!path.empty()) {
    const std::string_view word = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(word.size() + 1, path.size()));
    if (types.type(id).kind == BtfKind::kArray) {
      id = types.skip_modifiers_and_typedefs(types.type(id).array().element_type);
    }
    if (!types.type(id).is_composite()) return std::nullopt;
    const auto member = types.find_member(types.type(id), word);
    if (!member) return std::nullopt;
    bits += member->bit_offset;
    id = types.skip_modifiers_and_typedefs(member->type);
  }
  return bits / 8;
}

// Fields that every nf_conn has.
constexpr std::string_view kNfConnPaths[] = {
    "ct_general.use",
    "timeout",
    "zone",
    "tuplehash.tuple.src.u3",
    "tuplehash.tuple.src.u",
    "tuplehash.tuple.src.l3num",
    "tuplehash.tuple.dst.u3",
    "tuplehash.tuple.dst.u",
    "tuplehash.tuple.dst.protonum",
    "tuplehash.tuple.dst.dir",
    "status",
};

void give_back_connection(RunContext& context, void* image) noexcept {
  if (auto* connection = context.conntrack->at(image)) context.conntrack->release(*connection);
}

}  // namespace

Result<std::shared_ptr<const Btf>> make_kernel_types(const Btf* target) {
  LMN_TRY(std::shared_ptr<const Btf> types, TypeMaker(target).make());
  for (const std::string_view path : kNfConnPaths) {
    if (offset_of(*types, "nf_conn", path)) continue;
    return make_error(ErrorCode::kMalformed,
                      fmt::format("the target's struct nf_conn has no field {}", path));
  }
  return types;
}

NfConnLayout nf_conn_layout(const Btf& types) {
  const auto at = [&types](std::string_view path) {
    return offset_of(types, "nf_conn", path).value_or(0);
  };
  NfConnLayout layout;
  layout.size_bytes = types.type(*types.find_by_name("nf_conn", BtfKind::kStruct)).size;
  layout.use = at("ct_general.use");
  layout.timeout = at("timeout");
  layout.zone = at("zone");
  layout.status = at("status");
  layout.mark = offset_of(types, "nf_conn", "mark");
  layout.tuples[0] = at("tuplehash.tuple");
  const BtfType& hash =
      types.type(*types.find_by_name("nf_conntrack_tuple_hash", BtfKind::kStruct));
  layout.tuples[1] = layout.tuples[0] + hash.size;
  layout.source = at("tuplehash.tuple.src.u3") - layout.tuples[0];
  layout.source_port = at("tuplehash.tuple.src.u") - layout.tuples[0];
  layout.family = at("tuplehash.tuple.src.l3num") - layout.tuples[0];
  layout.destination = at("tuplehash.tuple.dst.u3") - layout.tuples[0];
  layout.destination_port = at("tuplehash.tuple.dst.u") - layout.tuples[0];
  layout.protocol = at("tuplehash.tuple.dst.protonum") - layout.tuples[0];
  layout.direction = at("tuplehash.tuple.dst.dir") - layout.tuples[0];
  return layout;
}

DeviceLayout device_layout(const Btf& types) {
  const auto at = [&types](std::string_view name, std::string_view path) {
    return offset_of(types, name, path);
  };
  const auto size_of = [&types](std::string_view name) {
    const auto id = types.find_by_name(name, BtfKind::kStruct);
    return id ? types.type(*id).size : 0;
  };
  DeviceLayout layout;
  layout.buffer_bytes = size_of("xdp_buff");
  layout.data = at("xdp_buff", "data");
  layout.data_end = at("xdp_buff", "data_end");
  layout.data_meta = at("xdp_buff", "data_meta");
  layout.data_hard_start = at("xdp_buff", "data_hard_start");
  layout.receive_queue = at("xdp_buff", "rxq");
  layout.transmit_queue = at("xdp_buff", "txq");
  layout.frame_size = at("xdp_buff", "frame_sz");
  layout.receive_queue_bytes = size_of("xdp_rxq_info");
  layout.receive_device = at("xdp_rxq_info", "dev");
  layout.queue_index = at("xdp_rxq_info", "queue_index");
  layout.transmit_queue_bytes = size_of("xdp_txq_info");
  layout.transmit_device = at("xdp_txq_info", "dev");
  layout.device_bytes = size_of("net_device");
  layout.ifindex = at("net_device", "ifindex");
  layout.mtu = at("net_device", "mtu");
  layout.name = at("net_device", "name");
  layout.device_net = at("net_device", "nd_net.net");
  layout.net_bytes = size_of("net");
  layout.inum = at("net", "ns.inum");
  return layout;
}

FlowLayout flow_layout(const Btf& types) {
  constexpr std::string_view kName = "flow_offload_tuple_rhash";
  const auto at = [&](std::string_view path) { return offset_of(types, kName, path); };
  FlowLayout layout;
  layout.size_bytes = types.type(*types.find_by_name(kName, BtfKind::kStruct)).size;
  layout.source = at("tuple.src_v6");
  layout.destination = at("tuple.dst_v6");
  layout.source_port = at("tuple.src_port");
  layout.destination_port = at("tuple.dst_port");
  layout.ingress = at("tuple.iifidx");
  layout.family = at("tuple.l3proto");
  layout.protocol = at("tuple.l4proto");
  layout.mtu = at("tuple.mtu");
  layout.egress = at("tuple.out.ifidx");
  layout.source_mac = at("tuple.out.h_source");
  layout.destination_mac = at("tuple.out.h_dest");
  return layout;
}

std::vector<KernelStruct> kernel_structs(const Btf& types) {
  std::vector<KernelStruct> structs;
  for (const std::string_view name : {"nf_conn", "nf_conn___init"}) {
    const NfConnLayout layout = nf_conn_layout(types);
    KernelStruct made{std::string(name), layout.size_bytes, {}, give_back_connection};
    if (layout.mark) made.writable.push_back({*layout.mark, 4});
    structs.push_back(std::move(made));
  }
  const auto flow = types.find_by_name("flow_offload_tuple_rhash", BtfKind::kStruct);
  if (flow) structs.push_back({"flow_offload_tuple_rhash", types.type(*flow).size, {}, nullptr});
  const auto buffer = types.find_by_name("xdp_buff", BtfKind::kStruct);
  if (buffer) {
    structs.push_back({"xdp_buff", types.type(*buffer).size, {}, nullptr, refresh_context});
  }
  return structs;
}

}  // namespace lmn
