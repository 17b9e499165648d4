// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of allocated objects, their lists and trees. What they work on: maps/object_heap.h.
//
// The names with and without _impl are the same functions in kernels of different age. Arguments
// that the kernel's verifier fills in (the struct's fields, the node's offset) are not needed, for
// the heap knows its objects; instead of a type's id the engine passes the type's layout.
//
// A node that is in a graph already is not added to another: the object is dropped, and the caller
// gets -EINVAL, as in the kernel.
// Tested by kfuncs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c.
#include <array>
#include <cerrno>

#include "kfuncs/bodies.h"
#include "maps/object_heap.h"

namespace lmn {
namespace {

using End = ObjectHeap::End;
using Graph = ObjectHeap::Graph;

std::uint64_t address_of(const ObjectHeap::Node* node) {
  return node == nullptr ? 0 : ObjectHeap::address_of(*node);
}

// What could not be added is dropped.
std::uint64_t added(ObjectHeap& heap, const ObjectHeap::Node& node, bool is_added) {
  if (is_added) return 0;
  heap.release(ObjectHeap::object_of(node));
  return kfunc::failure(EINVAL);
}

std::uint64_t push(RunContext& context, std::uint64_t r1, std::uint64_t r2, End end) {
  ObjectHeap& heap = *context.objects;
  ObjectHeap::Head* head = heap.head_at(r1, Graph::kList);
  ObjectHeap::Node& node = *heap.node_at(r2);
  return added(heap, node, head != nullptr && ObjectHeap::push(*head, node, end));
}

std::uint64_t pop(RunContext& context, std::uint64_t r1, End end) {
  ObjectHeap::Head* head = context.objects->head_at(r1, Graph::kList);
  return head == nullptr ? 0 : address_of(ObjectHeap::pop(*head, end));
}

std::uint64_t at_end(RunContext& context, std::uint64_t r1, End end) {
  const ObjectHeap::Head* head = context.objects->head_at(r1, Graph::kList);
  return head == nullptr ? 0 : address_of(ObjectHeap::at_end(*head, end));
}

std::uint64_t child(RunContext& context, std::uint64_t r1, std::uint64_t r2, End end) {
  const ObjectHeap::Head* head = context.objects->head_at(r1, Graph::kTree);
  const ObjectHeap::Node* node = context.objects->node_at(r2);
  return head == nullptr ? 0 : address_of(ObjectHeap::child(*head, *node, end));
}

// The program's order of two nodes.
struct Order {
  RunContext* context;
  std::uint64_t function;
};

bool is_before(void* order_of_program, const ObjectHeap::Node& node,
               const ObjectHeap::Node& other) {
  const Order& order = *static_cast<const Order*>(order_of_program);
  const std::array<std::uint64_t, 2> args = {ObjectHeap::address_of(node),
                                             ObjectHeap::address_of(other)};
  const RunContext& context = *order.context;
  return kfunc::as_u32(context.call_back(context.engine_state, order.function, args)) != 0;
}

}  // namespace

LMN_KFUNC_BODY(bpf_obj_new_impl) {
  return context->objects->allocate(*kfunc::as_pointer<const ObjectLayout>(r1));
}
LMN_KFUNC_BODY(bpf_obj_new) { return kfunc_bpf_obj_new_impl(r1, r2, r3, r4, r5, context); }

LMN_KFUNC_BODY(bpf_obj_drop_impl) {
  context->objects->release(r1);
  return 0;
}
LMN_KFUNC_BODY(bpf_obj_drop) { return kfunc_bpf_obj_drop_impl(r1, r2, r3, r4, r5, context); }

// One part for each CPU, zeroed: the kernel's may hold what an earlier object left.
LMN_KFUNC_BODY(bpf_percpu_obj_new_impl) {
  ObjectLayout layout = *kfunc::as_pointer<const ObjectLayout>(r1);
  layout.part_bytes = layout.size_bytes;
  layout.size_bytes = ObjectLayout::part_stride(layout.part_bytes) * context->cpu_count;
  return context->objects->allocate(layout);
}
LMN_KFUNC_BODY(bpf_percpu_obj_new) {
  return kfunc_bpf_percpu_obj_new_impl(r1, r2, r3, r4, r5, context);
}

LMN_KFUNC_BODY(bpf_percpu_obj_drop_impl) {
  context->objects->release(r1);
  return 0;
}
LMN_KFUNC_BODY(bpf_percpu_obj_drop) {
  return kfunc_bpf_percpu_obj_drop_impl(r1, r2, r3, r4, r5, context);
}

LMN_KFUNC_BODY(bpf_refcount_acquire_impl) { return context->objects->acquire(r1) ? r1 : 0; }
LMN_KFUNC_BODY(bpf_refcount_acquire) {
  return kfunc_bpf_refcount_acquire_impl(r1, r2, r3, r4, r5, context);
}

LMN_KFUNC_BODY(bpf_list_push_front_impl) { return push(*context, r1, r2, End::kFront); }
LMN_KFUNC_BODY(bpf_list_push_back_impl) { return push(*context, r1, r2, End::kBack); }
LMN_KFUNC_BODY(bpf_list_push_front) { return push(*context, r1, r2, End::kFront); }
LMN_KFUNC_BODY(bpf_list_push_back) { return push(*context, r1, r2, End::kBack); }
LMN_KFUNC_BODY(bpf_list_pop_front) { return pop(*context, r1, End::kFront); }
LMN_KFUNC_BODY(bpf_list_pop_back) { return pop(*context, r1, End::kBack); }
LMN_KFUNC_BODY(bpf_list_front) { return at_end(*context, r1, End::kFront); }
LMN_KFUNC_BODY(bpf_list_back) { return at_end(*context, r1, End::kBack); }

LMN_KFUNC_BODY(bpf_rbtree_add_impl) {
  ObjectHeap& heap = *context->objects;
  ObjectHeap::Head* head = heap.head_at(r1, Graph::kTree);
  ObjectHeap::Node& node = *heap.node_at(r2);
  Order order{context, r3};
  return added(heap, node, head != nullptr && ObjectHeap::insert(*head, node, is_before, &order));
}
LMN_KFUNC_BODY(bpf_rbtree_add) { return kfunc_bpf_rbtree_add_impl(r1, r2, r3, r4, r5, context); }

LMN_KFUNC_BODY(bpf_rbtree_remove) {
  ObjectHeap::Head* head = context->objects->head_at(r1, Graph::kTree);
  return head != nullptr && ObjectHeap::remove(*head, *context->objects->node_at(r2)) ? r2 : 0;
}

LMN_KFUNC_BODY(bpf_rbtree_first) {
  const ObjectHeap::Head* head = context->objects->head_at(r1, Graph::kTree);
  return head == nullptr ? 0 : address_of(ObjectHeap::first(*head));
}

LMN_KFUNC_BODY(bpf_rbtree_root) {
  const ObjectHeap::Head* head = context->objects->head_at(r1, Graph::kTree);
  return head == nullptr ? 0 : address_of(ObjectHeap::root(*head));
}

LMN_KFUNC_BODY(bpf_rbtree_left) { return child(*context, r1, r2, End::kFront); }
LMN_KFUNC_BODY(bpf_rbtree_right) { return child(*context, r1, r2, End::kBack); }

}  // namespace lmn
