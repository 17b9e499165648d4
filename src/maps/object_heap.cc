// SPDX-License-Identifier: Apache-2.0
//
// Objects in chunks of one size each, and their lists. Trees: object_tree.cc. Tested by
// object_heap_test.cc.
#include "maps/object_heap.h"

#include <bit>
#include <cstring>
#include <new>

#include "maps/object_graph.h"

namespace lmn {
namespace {

std::uint64_t address_of_bytes(const std::uint8_t* bytes) {
  return reinterpret_cast<std::uintptr_t>(bytes);
}

std::uint32_t stride_of(std::size_t size_class, std::uint32_t payload_min) {
  return static_cast<std::uint32_t>(sizeof(ObjectHeap::Object)) + (payload_min << size_class);
}

}  // namespace

Result<std::unique_ptr<ObjectHeap>> ObjectHeap::create(Epoch* epoch) {
  std::unique_ptr<ObjectHeap> heap(new ObjectHeap);
  heap->epoch_ = epoch;
  LMN_TRY(heap->memory_, MapMemory::create(kHeapBytes));
  LMN_TRY(heap->heads_, MapMemory::create(std::uint64_t{kHeadCountMax} * sizeof(Head)));
  return heap;
}

ObjectHeap::Object* ObjectHeap::take(std::size_t size_class) noexcept {
  Object*& head = free_[size_class];
  if (head == nullptr) {
    if (chunk_count_ == kChunkCount) return nullptr;
    const std::uint32_t stride = stride_of(size_class, kPayloadMin);
    std::uint8_t* chunk = memory_.data() + chunk_count_ * kChunkBytes;
    for (std::size_t at = 0; at + stride <= kChunkBytes; at += stride) {
      auto* object = new (chunk + at) Object;
      object->next = head;
      head = object;
    }
    strides_[chunk_count_++].store(stride, std::memory_order_release);
  }
  Object* object = head;
  head = object->next;
  return object;
}

std::uint64_t ObjectHeap::allocate(const ObjectLayout& layout) noexcept {
  if (layout.size_bytes > (layout.part_bytes != 0 ? kPercpuBytesMax : kObjectBytesMax)) return 0;
  const std::uint32_t rounded = std::max(std::bit_ceil(layout.size_bytes), kPayloadMin);
  const auto size_class = static_cast<std::size_t>(std::countr_zero(rounded / kPayloadMin));
  Object* object = nullptr;
  {
    const SpinGuard guard(lock_);
    reclaim_passed(2);  // as many as are allocated, and one of what waits
    object = take(size_class);
    if (object == nullptr) {
      reclaim_passed(SIZE_MAX);
      object = take(size_class);
    }
    if (object == nullptr) return 0;
    ++object_count_;
    object->serial = ++last_serial_;
  }
  object->next = nullptr;
  object->size_class = static_cast<std::uint8_t>(size_class);
  object->layout = layout;
  for (std::size_t i = 0; i < object->nodes.size(); ++i) {
    object->nodes[i] = Node{};
    object->nodes[i].object = object;
    // Numbers of a run of allocations look random enough to keep a tree flat.
    object->nodes[i].priority = (object->serial * 4u + static_cast<std::uint32_t>(i)) * 2654435761u;
  }
  std::memset(object->payload(), 0, layout.size_bytes);
  object->references.store(1, std::memory_order_release);
  object->is_free.store(false, std::memory_order_release);
  return address_of_bytes(object->payload());
}

ObjectHeap::Object* ObjectHeap::bytes_at(std::uint64_t address) const noexcept {
  const std::uint64_t offset = address - address_of_bytes(memory_.data());
  if (offset >= kHeapBytes) return nullptr;
  const std::uint32_t stride = strides_[offset / kChunkBytes].load(std::memory_order_acquire);
  if (stride == 0) return nullptr;
  const std::uint64_t in_chunk = offset % kChunkBytes;
  const std::uint64_t start = in_chunk - in_chunk % stride;
  if (start + stride > kChunkBytes) return nullptr;
  auto* object = reinterpret_cast<Object*>(memory_.data() + (offset - in_chunk + start));
  if (object->is_free.load(std::memory_order_acquire)) return nullptr;
  const std::uint64_t in_payload = address - address_of_bytes(object->payload());
  return in_payload < object->layout.size_bytes ? object : nullptr;
}

ObjectHeap::Object* ObjectHeap::object_at(std::uint64_t address) const noexcept {
  Object* object = bytes_at(address);
  const bool is_dropped =
      object != nullptr && object->references.load(std::memory_order_acquire) == 0;
  return is_dropped ? nullptr : object;
}

ObjectHeap::Found ObjectHeap::find(std::uint64_t address) const noexcept {
  const Object* object = bytes_at(address);
  if (object == nullptr) return {};
  return {address_of_bytes(object->payload()), object->layout.size_bytes, object->serial,
          object->references.load(std::memory_order_acquire) == 0, object->layout.part_bytes};
}

bool ObjectHeap::acquire(std::uint64_t base) noexcept {
  Object* object = object_at(base);
  if (object == nullptr || !object->layout.is_refcounted) return false;
  if (address_of_bytes(object->payload()) != base) return false;
  std::uint32_t count = object->references.load(std::memory_order_relaxed);
  while (count != 0) {
    if (object->references.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel)) {
      return true;
    }
  }
  return false;
}

ObjectHeap::Object* ObjectHeap::drain_head(const std::uint64_t* word, Object* pending) noexcept {
  const std::uint64_t number = *word;
  if (number == 0 || number > kHeadCountMax) return pending;
  Head& head = reinterpret_cast<Head*>(heads_.data())[number - 1];
  if (head.address != reinterpret_cast<std::uintptr_t>(word)) return pending;
  const auto next = [&head] {
    if (head.graph == Graph::kList) return pop(head, End::kFront);
    Node* node = root(head);
    if (node != nullptr) remove(head, *node);
    return node;
  };
  for (Node* node = next(); node != nullptr; node = next()) {
    Object& held = *node->object;
    if (held.references.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
    held.next = pending;
    pending = &held;
  }
  const SpinGuard guard(lock_);
  head.address = 0;
  head.next_free = free_heads_;
  free_heads_ = &head;
  return pending;
}

// Empties the heads inside a dying object, and drops what its own pointers hold.
ObjectHeap::Object* ObjectHeap::drain(Object& object, Object* pending) noexcept {
  for (std::size_t i = 0; i < object.layout.head_count; ++i) {
    pending = drain_head(object.word_at(object.layout.head_offsets[i]), pending);
  }
  for (std::size_t i = 0; i < object.layout.pointer_count; ++i) {
    std::uint64_t& word = *object.word_at(object.layout.pointer_offsets[i]);
    const std::uint64_t address = std::atomic_ref(word).exchange(0, std::memory_order_acq_rel);
    Object* held = address == 0 ? nullptr : object_at(address);
    if (held == nullptr || address_of_bytes(held->payload()) != address) continue;
    if (held->references.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
    held->next = pending;
    pending = held;
  }
  return pending;
}

void ObjectHeap::free_all(Object* dying) noexcept {
  while (dying != nullptr) {
    Object* pending = drain(*dying, dying->next);
    give_back(*dying);
    dying = pending;
  }
}

void ObjectHeap::empty_head(std::uint64_t address) noexcept {
  free_all(drain_head(reinterpret_cast<const std::uint64_t*>(address), nullptr));
}

void ObjectHeap::give_back(Object& object) noexcept {
  const SpinGuard guard(lock_);
  if (epoch_ != nullptr) object.dropped_at = epoch_->stamp();
  object.next = nullptr;
  (dropped_ == nullptr ? dropped_ : last_dropped_->next) = &object;
  last_dropped_ = &object;
  --object_count_;
}

void ObjectHeap::reclaim_first() noexcept {
  Object& object = *dropped_;
  dropped_ = object.next;
  object.is_free.store(true, std::memory_order_release);
  object.next = free_[object.size_class];
  free_[object.size_class] = &object;
}

void ObjectHeap::reclaim_passed(std::size_t most) noexcept {
  if (epoch_ == nullptr) return;
  for (; most > 0 && dropped_ != nullptr && epoch_->has_passed(dropped_->dropped_at); --most) {
    reclaim_first();
  }
}

void ObjectHeap::reclaim() noexcept {
  const SpinGuard guard(lock_);
  while (dropped_ != nullptr) reclaim_first();
}

void ObjectHeap::release(std::uint64_t base) noexcept {
  Object* object = object_at(base);
  if (object == nullptr || address_of_bytes(object->payload()) != base) return;
  if (object->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  object->next = nullptr;
  free_all(object);
}

std::size_t ObjectHeap::object_count() const noexcept {
  const SpinGuard guard(lock_);
  return object_count_;
}

ObjectHeap::Node* ObjectHeap::node_at(std::uint64_t address) const noexcept {
  Object* object = object_at(address);
  if (object == nullptr) return nullptr;
  const std::uint64_t offset = address - address_of_bytes(object->payload());
  for (std::size_t i = 0; i < object->layout.node_count; ++i) {
    if (object->layout.node_offsets[i] == offset) return &object->nodes[i];
  }
  return nullptr;
}

bool ObjectHeap::has_head_at(std::uint64_t address) const noexcept {
  const Object* object = object_at(address);
  if (object == nullptr) return false;
  const std::uint64_t offset = address - address_of_bytes(object->payload());
  for (std::size_t i = 0; i < object->layout.head_count; ++i) {
    if (object->layout.head_offsets[i] == offset) return true;
  }
  return false;
}

std::uint64_t ObjectHeap::address_of(const Node& node) noexcept {
  const auto index = static_cast<std::size_t>(&node - node.object->nodes.data());
  return object_of(node) + node.object->layout.node_offsets[index];
}

std::uint64_t ObjectHeap::object_of(const Node& node) noexcept {
  return address_of_bytes(node.object->payload());
}

ObjectHeap::Head* ObjectHeap::head_at(std::uint64_t address, Graph graph) noexcept {
  auto* word = reinterpret_cast<std::uint64_t*>(static_cast<std::uintptr_t>(address));
  auto* heads = reinterpret_cast<Head*>(heads_.data());
  std::uint64_t number;
  std::memcpy(&number, word, sizeof number);
  if (number != 0 && number <= kHeadCountMax && heads[number - 1].address == address) {
    return heads[number - 1].graph == graph ? &heads[number - 1] : nullptr;
  }
  const SpinGuard guard(lock_);
  Head* head = free_heads_;
  if (head != nullptr) {
    free_heads_ = head->next_free;
  } else if (head_count_ < kHeadCountMax) {
    head = &heads[head_count_++];
  } else {
    return nullptr;
  }
  *head = Head{};
  head->address = address;
  head->graph = graph;
  number = static_cast<std::uint64_t>(head - heads) + 1;
  std::memcpy(word, &number, sizeof number);
  return head;
}

bool ObjectHeap::push(Head& head, Node& node, End end) noexcept {
  if (node.owner != nullptr) return false;
  node.owner = &head;
  Node*& own_end = end == End::kFront ? head.first : head.last;
  Node*& other_end = end == End::kFront ? head.last : head.first;
  node.left = end == End::kFront ? nullptr : own_end;
  node.right = end == End::kFront ? own_end : nullptr;
  if (own_end != nullptr) (end == End::kFront ? own_end->left : own_end->right) = &node;
  own_end = &node;
  if (other_end == nullptr) other_end = &node;
  return true;
}

ObjectHeap::Node* ObjectHeap::pop(Head& head, End end) noexcept {
  Node* node = at_end(head, end);
  if (node == nullptr) return nullptr;
  (node->left != nullptr ? node->left->right : head.first) = node->right;
  (node->right != nullptr ? node->right->left : head.last) = node->left;
  node->owner = nullptr;
  node->left = nullptr;
  node->right = nullptr;
  return node;
}

ObjectHeap::Node* ObjectHeap::at_end(const Head& head, End end) noexcept {
  return end == End::kFront ? head.first : head.last;
}

}  // namespace lmn
