// SPDX-License-Identifier: Apache-2.0
//
// Lists and trees of allocated objects: their heads and roots, the nodes in them, and who owns
// what.
//
// A program that adds an object gives it away: its reference ends, and the pointers it still has
// become non-owning: they can be read, and handed to calls that find a node's place, for as long as
// the lock over the head is held (lock.cc). Taking a node out makes a reference of it again. What
// is refcounted may be owned by the program and be in a graph at the same time.
//
// A head says by a tag of its struct what it holds: `contains:node_data:node`. So what comes out of
// a graph is known without looking at what went in. Tested by object_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (process_kf_arg_ptr_to_graph_root and _node,
// ref_convert_owning_non_owning, ref_set_non_owning, set_rbtree_add_callback_state).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

const MapField* field_at(const MapFields* fields, std::int64_t offset, MapFieldKind kind) {
  if (fields == nullptr) return nullptr;
  for (const MapField& field : fields->fields) {
    if (field.offset == offset && field.kind == kind) return &field;
  }
  return nullptr;
}

}  // namespace

bool Explorer::check_graph_head(std::size_t argument, MapFieldKind kind, KfuncFacts& facts) {
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const RegState& given = reg(index);
  const std::string_view words = map_field_name(kind);
  const auto wrong = [&](std::string what, Rule rule = Rule::kCallArgument) {
    return reject(rule, std::move(what), {}, EINVAL);
  };
  if (!check_pointer_offset(index, false)) return false;
  const bool is_value = given.kind == RegKind::kMapValue && given.flags == 0;
  if (!is_value && !is_plain_allocated(given)) {
    return wrong(fmt::format("arg#{} expected pointer to map value or allocated object", argument));
  }
  if (!is_value && given.reference == 0) return wrong("allocated object must be referenced");
  if (!given.var.is_constant()) {
    return wrong(fmt::format(
        "R{} doesn't have constant offset. {} has to be at the constant offset", index, words));
  }
  const std::int64_t at = given.offset + static_cast<std::int64_t>(given.var.constant_value());
  const MapFields* fields = fields_behind(given);
  const MapField* head = field_at(fields, at, kind);
  if (head == nullptr) return wrong(fmt::format("{} not found at offset={}", words, at));
  if (!is_lock_held_over(given)) {
    const MapField* lock = fields->find(MapFieldKind::kSpinLock);
    if (lock == nullptr) lock = fields->find(MapFieldKind::kResilientSpinLock);
    const std::string_view other =
        state_->active_locks == 0 ? "" : "held lock and object are not in the same allocation\n";
    return wrong(fmt::format("{}bpf_spin_lock at off={} must be held for {}", other,
                             lock == nullptr ? -1 : static_cast<std::int64_t>(lock->offset), words),
                 Rule::kLock);
  }
  if (head->type == 0) return wrong(fmt::format("{} does not say what it contains", words));
  facts.graph = head;
  return true;
}

bool Explorer::check_graph_node(const KfuncProto& proto, std::size_t argument, MapFieldKind kind,
                                KfuncFacts& facts) {
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const RegState& given = reg(index);
  const auto wrong = [&](std::string what) {
    return reject(Rule::kCallArgument, std::move(what), {}, EINVAL);
  };
  if (!check_pointer_offset(index, false)) return false;
  if ((proto.args[argument].flags & kKfuncArgOwned) != 0) {
    if (!is_plain_allocated(given)) {
      return wrong(fmt::format("arg#{} expected pointer to allocated object", argument));
    }
    if (given.reference == 0) return wrong("allocated object must be referenced");
  } else {
    const bool is_node = is_allocated_object(given) && !given.has(kMayBeNull);
    if (!is_node || (!given.has(kNonOwning) && given.reference == 0)) {
      return wrong(
          fmt::format("{} can only take non-owning or refcounted bpf_rb_node pointer", proto.name));
    }
    if (in_tree_callback()) return wrong(fmt::format("{} not allowed in rbtree cb", proto.name));
  }
  const std::string_view words = map_field_name(kind);
  if (!given.var.is_constant()) {
    return wrong(fmt::format(
        "R{} doesn't have constant offset. {} has to be at the constant offset", index, words));
  }
  const std::int64_t at = given.offset + static_cast<std::int64_t>(given.var.constant_value());
  if (field_at(&fields_of_type(given.target), at, kind) == nullptr) {
    return wrong(fmt::format("{} not found at offset={}", words, at));
  }
  const MapField& graph = *facts.graph;  // the head is the argument before
  const std::string_view held = options_.btf->type(graph.type).name;
  if (given.target != graph.type) {
    return wrong(fmt::format(
        "operation on {} expects arg#1 {} at offset={} in struct {}, but arg is "
        "at offset={} in struct {}",
        map_field_name(graph.kind), words, graph.node_offset, held, at, struct_name(given)));
  }
  if (at != graph.node_offset) {
    return wrong(fmt::format("arg#1 offset={}, but expected {} at offset={} in struct {}", at,
                             words, graph.node_offset, held));
  }
  facts.object = given;
  return true;
}

void Explorer::make_non_owning(RegState& reg) {
  reg.flags |= kNonOwning;
  // Whoever else owns it may drop it any time, but it is freed only after a grace period.
  const bool is_refcounted = fields_of_type(reg.target).find(MapFieldKind::kRefcount) != nullptr;
  if (is_refcounted) reg.flags |= kRcuProtected;
}

// The object of register `index` is the graph's from now on.
bool Explorer::give_to_graph(std::uint8_t index) {
  const std::uint32_t reference = reg(index).reference;
  state_->for_each_register([&](RegState& other) {
    if (other.reference != reference) return;
    other.reference = 0;
    make_non_owning(other);
  });
  return release(reference);
}

// A node of the graph, as calls return it and the order's callback gets it.
RegState Explorer::node_of(const MapField& graph) const {
  RegState out = RegState::pointer(RegKind::kBtfObject, kAllocated | kLocalType);
  out.target = graph.type;
  out.offset = static_cast<std::int32_t>(graph.node_offset);
  return out;
}

// The order of a tree's nodes, as a callback: both are in the tree as far as it is concerned.
bool Explorer::push_order_callback(const KfuncFacts& facts) {
  if (state_->frames.size() >= limits::kCallFramesMax) {
    return reject(Rule::kCallFrames,
                  fmt::format("the call stack of {} frames is too deep", state_->frames.size()));
  }
  FrameState& caller = state_->frame();
  FrameState callee;
  callee.subprogram = facts.callback;
  callee.callsite = at_;
  callee.is_callback = true;
  callee.async_entry_count = caller.async_entry_count;
  callee.is_async_callback = caller.is_async_callback;
  callee.regs[kFramePointer] = RegState::pointer(RegKind::kStack);
  callee.regs[kFramePointer].target = static_cast<std::uint32_t>(state_->frames.size());
  callee.regs[1] = callee.regs[2] = node_of(*facts.graph);
  make_non_owning(callee.regs[1]);
  make_non_owning(callee.regs[2]);
  PathState* path = push_branch(subprogram_start(facts.callback));
  if (path == nullptr) return false;
  path->frames.back().callback_depth++;
  path->frames.push_back(std::move(callee));
  ++path->callback_unroll_depth;
  caller.callback_depth = 0;
  return true;
}

}  // namespace lmn
