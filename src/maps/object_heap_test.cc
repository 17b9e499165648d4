// SPDX-License-Identifier: Apache-2.0
//
// Goal: objects are found, counted and freed; lists and trees keep their order and let nothing be
// in two places; forged heads lead nowhere.
// Method: the heap is used directly, as the bodies of the kernel functions use it; trees are
// compared with a sorted model under random operations.
#include "maps/object_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <random>
#include <vector>

namespace lmn {
namespace {

using End = ObjectHeap::End;
using Graph = ObjectHeap::Graph;

// struct { u64 key; list node at 8; tree node at 32; list head at 64; }
ObjectLayout layout_of(bool is_refcounted = false) {
  ObjectLayout layout;
  layout.size_bytes = 80;
  layout.is_refcounted = is_refcounted;
  layout.node_count = 2;
  layout.node_offsets = {8, 32};
  layout.head_count = 1;
  layout.head_offsets = {64};
  return layout;
}

class Heap : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = ObjectHeap::create();
    ASSERT_TRUE(made.has_value());
    heap = std::move(*made);
  }

  std::uint64_t make(std::uint64_t key = 0, bool is_refcounted = false) {
    const std::uint64_t object = heap->allocate(layout_of(is_refcounted));
    std::memcpy(reinterpret_cast<void*>(object), &key, sizeof key);
    return object;
  }
  ObjectHeap::Node& list_node(std::uint64_t object) { return *heap->node_at(object + 8); }
  ObjectHeap::Node& tree_node(std::uint64_t object) { return *heap->node_at(object + 32); }
  ObjectHeap::Head& head(Graph graph) {
    return *heap->head_at(reinterpret_cast<std::uintptr_t>(head_bytes.data()), graph);
  }
  static std::uint64_t key_of(const ObjectHeap::Node& node) {
    std::uint64_t key;
    std::memcpy(&key, reinterpret_cast<const void*>(ObjectHeap::object_of(node)), sizeof key);
    return key;
  }
  static bool less(void*, const ObjectHeap::Node& a, const ObjectHeap::Node& b) {
    return key_of(a) < key_of(b);
  }
  static void in_order(const ObjectHeap::Head& tree, const ObjectHeap::Node* node,
                       std::vector<std::uint64_t>& keys) {
    if (node == nullptr) return;
    in_order(tree, ObjectHeap::child(tree, *node, End::kFront), keys);
    keys.push_back(key_of(*node));
    in_order(tree, ObjectHeap::child(tree, *node, End::kBack), keys);
  }

  std::unique_ptr<ObjectHeap> heap;
  std::array<std::uint64_t, 2> head_bytes{};
};

TEST_F(Heap, ObjectsAreFoundWhileTheyLive) {
  const std::uint64_t object = make();
  EXPECT_EQ(heap->find(object).base, object);
  EXPECT_EQ(heap->find(object + 79).base, object);
  EXPECT_EQ(heap->find(object + 79).size_bytes, 80u);
  EXPECT_EQ(heap->find(object + 80).size_bytes, 0u) << "behind its end";
  EXPECT_EQ(heap->find(object - 1).size_bytes, 0u) << "the header is no part of it";
  const std::uint32_t serial = heap->find(object).serial;
  heap->release(object);
  heap->release(object);
  EXPECT_EQ(heap->object_count(), 0u);
  heap->reclaim();
  EXPECT_EQ(heap->find(object).size_bytes, 0u);
  ASSERT_EQ(make(), object) << "freed memory is used first";
  EXPECT_NE(heap->find(object).serial, serial);
  EXPECT_EQ(heap->find(0).size_bytes, 0u);
  EXPECT_EQ(heap->find(~0ull).size_bytes, 0u);
}

TEST_F(Heap, SizesFromOneByteToTheLimit) {
  for (const std::uint32_t size : {1u, 63u, 64u, 65u, 4095u, 4096u}) {
    ObjectLayout layout;
    layout.size_bytes = size;
    const std::uint64_t object = heap->allocate(layout);
    ASSERT_NE(object, 0u) << size;
    EXPECT_EQ(heap->find(object + size - 1).base, object);
    EXPECT_EQ(heap->find(object + size).size_bytes, 0u);
  }
  ObjectLayout layout;
  layout.size_bytes = 4097;
  EXPECT_EQ(heap->allocate(layout), 0u);
}

TEST_F(Heap, EndsWhenItIsFull) {
  ObjectLayout layout;
  layout.size_bytes = 4096;
  std::size_t count = 0;
  std::uint64_t last = 0;
  for (std::uint64_t object = heap->allocate(layout); object != 0;) {
    ++count;
    last = object;
    object = heap->allocate(layout);
  }
  EXPECT_GT(count, 10'000u);
  heap->release(last);
  EXPECT_EQ(heap->allocate(layout), 0u) << "a program may still read what was dropped";
  heap->reclaim();
  EXPECT_EQ(heap->allocate(layout), last);
}

TEST_F(Heap, ReferencesAreCounted) {
  const std::uint64_t plain = make();
  EXPECT_FALSE(heap->acquire(plain)) << "has no bpf_refcount";
  const std::uint64_t counted = make(0, true);
  EXPECT_TRUE(heap->acquire(counted));
  EXPECT_FALSE(heap->acquire(counted + 8)) << "not its beginning";
  heap->release(counted);
  EXPECT_NE(heap->find(counted).size_bytes, 0u);
  heap->release(counted);
  EXPECT_TRUE(heap->find(counted).is_dropped);
  EXPECT_EQ(heap->find(counted).size_bytes, 80u) << "for who still reads it";
  EXPECT_FALSE(heap->acquire(counted));
  EXPECT_EQ(heap->node_at(counted + 8), nullptr) << "it cannot be hung up any more";
  heap->reclaim();
  EXPECT_EQ(heap->find(counted).size_bytes, 0u);
  EXPECT_FALSE(heap->acquire(counted));
}

TEST_F(Heap, ListsKeepTheirOrder) {
  ObjectHeap::Head& list = head(Graph::kList);
  EXPECT_EQ(ObjectHeap::pop(list, End::kFront), nullptr);
  std::vector<std::uint64_t> objects;
  for (std::uint64_t key = 0; key < 4; ++key) objects.push_back(make(key));
  EXPECT_TRUE(ObjectHeap::push(list, list_node(objects[1]), End::kBack));
  EXPECT_TRUE(ObjectHeap::push(list, list_node(objects[2]), End::kBack));
  EXPECT_TRUE(ObjectHeap::push(list, list_node(objects[0]), End::kFront));
  EXPECT_TRUE(ObjectHeap::push(list, list_node(objects[3]), End::kBack));
  EXPECT_FALSE(ObjectHeap::push(list, list_node(objects[3]), End::kBack)) << "is in already";
  EXPECT_EQ(key_of(*ObjectHeap::at_end(list, End::kFront)), 0u);
  EXPECT_EQ(key_of(*ObjectHeap::at_end(list, End::kBack)), 3u);
  EXPECT_EQ(key_of(*ObjectHeap::pop(list, End::kBack)), 3u);
  EXPECT_EQ(key_of(*ObjectHeap::pop(list, End::kFront)), 0u);
  EXPECT_EQ(key_of(*ObjectHeap::pop(list, End::kFront)), 1u);
  EXPECT_EQ(key_of(*ObjectHeap::pop(list, End::kBack)), 2u);
  EXPECT_EQ(ObjectHeap::pop(list, End::kBack), nullptr);
  EXPECT_TRUE(ObjectHeap::push(list, list_node(objects[3]), End::kBack)) << "can go in again";
}

TEST_F(Heap, TreesAreSortedUnderRandomOperations) {
  ObjectHeap::Head& tree = head(Graph::kTree);
  std::mt19937 random(1);
  std::vector<std::uint64_t> model;
  std::vector<std::uint64_t> objects;
  for (int round = 0; round < 5000; ++round) {
    if (objects.empty() || random() % 3 != 0) {
      const std::uint64_t key = random() % 500;
      objects.push_back(make(key));
      ASSERT_TRUE(ObjectHeap::insert(tree, tree_node(objects.back()), less, nullptr));
      ASSERT_FALSE(ObjectHeap::insert(tree, tree_node(objects.back()), less, nullptr));
      model.insert(std::ranges::upper_bound(model, key), key);
    } else {
      const std::size_t index = random() % objects.size();
      ObjectHeap::Node& node = tree_node(objects[index]);
      model.erase(std::ranges::lower_bound(model, key_of(node)));
      ASSERT_TRUE(ObjectHeap::remove(tree, node));
      ASSERT_FALSE(ObjectHeap::remove(tree, node));
      heap->release(objects[index]);
      objects.erase(objects.begin() + static_cast<std::ptrdiff_t>(index));
    }
    if (round % 50 != 0) continue;
    std::vector<std::uint64_t> keys;
    in_order(tree, ObjectHeap::root(tree), keys);
    ASSERT_EQ(keys, model);
    const ObjectHeap::Node* first = ObjectHeap::first(tree);
    ASSERT_EQ(first == nullptr, model.empty());
    if (first != nullptr) {
      ASSERT_EQ(key_of(*first), model[0]);
    }
  }
}

TEST_F(Heap, TreesStayFlatWhenKeysRise) {
  ObjectHeap::Head& tree = head(Graph::kTree);
  for (std::uint64_t key = 0; key < 4096; ++key) {
    ObjectHeap::insert(tree, tree_node(make(key)), less, nullptr);
  }
  const auto depth = [&](auto&& self, const ObjectHeap::Node* node) -> std::size_t {
    if (node == nullptr) return 0;
    return 1 + std::max(self(self, ObjectHeap::child(tree, *node, End::kFront)),
                        self(self, ObjectHeap::child(tree, *node, End::kBack)));
  };
  EXPECT_LT(depth(depth, ObjectHeap::root(tree)), 48u);
}

TEST_F(Heap, TheLastReferenceFreesWhatHangsInside) {
  const std::uint64_t outer = make();
  ObjectHeap::Head* inside = heap->head_at(outer + 64, Graph::kList);
  ASSERT_NE(inside, nullptr);
  for (int i = 0; i < 3; ++i) {
    const std::uint64_t element = make();
    ObjectHeap::Head* deeper = heap->head_at(element + 64, Graph::kList);
    ObjectHeap::push(*deeper, list_node(make()), End::kBack);
    ObjectHeap::push(*inside, list_node(element), End::kBack);
  }
  const std::uint64_t kept = make(0, true);
  heap->acquire(kept);
  ObjectHeap::push(*inside, list_node(kept), End::kBack);
  EXPECT_EQ(heap->object_count(), 8u);
  heap->release(outer);
  EXPECT_EQ(heap->object_count(), 1u) << "the one with another reference";
  EXPECT_EQ(list_node(kept).owner, nullptr);
}

TEST_F(Heap, ForgedHeadsLeadNowhere) {
  ObjectHeap::Head& list = head(Graph::kList);
  ObjectHeap::push(list, list_node(make()), End::kBack);
  const auto address = reinterpret_cast<std::uintptr_t>(head_bytes.data());
  EXPECT_EQ(heap->head_at(address, Graph::kTree), nullptr) << "a list is no tree";
  std::array<std::uint64_t, 2> copy = head_bytes;
  ObjectHeap::Head* of_copy =
      heap->head_at(reinterpret_cast<std::uintptr_t>(copy.data()), Graph::kList);
  ASSERT_NE(of_copy, nullptr);
  EXPECT_EQ(ObjectHeap::at_end(*of_copy, End::kFront), nullptr) << "a copy is a list of its own";
  for (const std::uint64_t word :
       std::initializer_list<std::uint64_t>{~0ull, address, 65536, 65537}) {
    head_bytes[0] = word;
    ObjectHeap::Head* forged = heap->head_at(address, Graph::kList);
    ASSERT_NE(forged, nullptr);
    EXPECT_EQ(ObjectHeap::at_end(*forged, End::kFront), nullptr);
  }
  EXPECT_EQ(heap->node_at(address), nullptr);
}

TEST_F(Heap, HeadsAreEmptiedOnlyWhereTheyLie) {
  ObjectHeap::Head& list = head(Graph::kList);
  ObjectHeap::push(list, list_node(make()), End::kBack);
  // Bytes that are no head, or the number of one that lies elsewhere.
  std::array<std::uint64_t, 2> copy = head_bytes;
  const auto address = reinterpret_cast<std::uintptr_t>(copy.data());
  for (const std::uint64_t word : {head_bytes[0], std::uint64_t{0}, std::uint64_t{1} << 16,
                                   (std::uint64_t{1} << 16) + 1, ~std::uint64_t{0}}) {
    copy[0] = word;
    heap->empty_head(address);
    EXPECT_EQ(heap->object_count(), 1u) << word;
  }
  heap->empty_head(reinterpret_cast<std::uintptr_t>(head_bytes.data()));
  EXPECT_EQ(heap->object_count(), 0u);
  heap->empty_head(reinterpret_cast<std::uintptr_t>(head_bytes.data()));
  EXPECT_EQ(heap->object_count(), 0u);
}

TEST_F(Heap, HeadsInObjectsAreKnownByTheirPlace) {
  const std::uint64_t object = make();
  EXPECT_TRUE(heap->has_head_at(object + 64));
  EXPECT_FALSE(heap->has_head_at(object + 8)) << "a node";
  EXPECT_FALSE(heap->has_head_at(object + 65));
  EXPECT_FALSE(heap->has_head_at(object + 80)) << "behind its end";
  EXPECT_FALSE(heap->has_head_at(0));
  EXPECT_EQ(heap->node_at(object + 9), nullptr);
  EXPECT_EQ(heap->node_at(object), nullptr);
}

TEST_F(Heap, HeadsComeToAnEndAndAreUsedAgain) {
  std::vector<std::array<std::uint64_t, 2>> many(ObjectHeap::kHeadCountMax);
  const auto at = [&](std::size_t i) { return reinterpret_cast<std::uintptr_t>(&many[i]); };
  for (std::size_t i = 0; i < many.size(); ++i) {
    ASSERT_NE(heap->head_at(at(i), Graph::kList), nullptr) << i;
  }
  const auto own = reinterpret_cast<std::uintptr_t>(head_bytes.data());
  EXPECT_EQ(heap->head_at(own, Graph::kTree), nullptr);
  heap->empty_head(at(17));
  EXPECT_NE(heap->head_at(own, Graph::kTree), nullptr) << "the one that was given up";
}

TEST_F(Heap, ReferencesNeedABeginningAndSomebodyWhoHoldsOne) {
  const std::uint64_t object = make(0, true);
  heap->release(object + 8);
  EXPECT_FALSE(heap->find(object).is_dropped) << "not its beginning";
  heap->release(0);
  heap->release(object);
  EXPECT_TRUE(heap->find(object).is_dropped);
  EXPECT_FALSE(heap->acquire(object));
  heap->release(object);
  EXPECT_EQ(heap->object_count(), 0u);
}

// struct { u64 key; struct other *first (__kptr); struct other *second (__kptr); }
TEST_F(Heap, PointersInADyingObjectReleaseWhatTheyOwn) {
  ObjectLayout layout;
  layout.size_bytes = 24;
  layout.pointer_count = 2;
  layout.pointer_offsets = {8, 16};
  const auto point = [](std::uint64_t object, std::size_t offset, std::uint64_t to) {
    std::memcpy(reinterpret_cast<void*>(object + offset), &to, sizeof to);
  };
  // A chain of three, each with a shared object beside; the last also points into an object, and to
  // where none is.
  const std::uint64_t shared = make(0, true);
  const std::uint64_t first = heap->allocate(layout);
  std::uint64_t last = first;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(heap->acquire(shared));
    point(last, 8, shared);
    const std::uint64_t next = heap->allocate(layout);
    point(last, 16, next);
    last = next;
  }
  const std::uint64_t untouched = make();
  point(last, 8, untouched + 8);
  point(last, 16, 0xdead0000);
  EXPECT_EQ(heap->object_count(), 5u);
  heap->release(first);
  EXPECT_EQ(heap->object_count(), 2u);
  EXPECT_FALSE(heap->find(shared).is_dropped) << "the test's own reference";
  EXPECT_FALSE(heap->find(untouched).is_dropped);
  heap->release(shared);
  heap->release(untouched);
  EXPECT_EQ(heap->object_count(), 0u);
}

TEST_F(Heap, ATreeInADyingObjectIsEmptied) {
  const std::uint64_t outer = make();
  ObjectHeap::Head* tree = heap->head_at(outer + 64, Graph::kTree);
  ASSERT_NE(tree, nullptr);
  for (std::uint64_t key = 0; key < 50; ++key) {
    ASSERT_TRUE(ObjectHeap::insert(*tree, tree_node(make(key)), less, nullptr));
  }
  // Some hang in a list as well, by a reference of their own.
  const std::uint64_t twice = make(7, true);
  heap->acquire(twice);
  ASSERT_TRUE(ObjectHeap::insert(*tree, tree_node(twice), less, nullptr));
  ObjectHeap::Head& list = head(Graph::kList);
  ASSERT_TRUE(ObjectHeap::push(list, list_node(twice), End::kBack));
  heap->release(outer);
  EXPECT_EQ(heap->object_count(), 1u);
  EXPECT_EQ(ObjectHeap::pop(list, End::kFront), &list_node(twice));
}

TEST_F(Heap, ChildrenAreOfTheirOwnTree) {
  ObjectHeap::Head& tree = head(Graph::kTree);
  EXPECT_EQ(ObjectHeap::first(tree), nullptr);
  const std::uint64_t in = make(1);
  const std::uint64_t out = make(2);
  ASSERT_TRUE(ObjectHeap::insert(tree, tree_node(in), less, nullptr));
  EXPECT_EQ(ObjectHeap::child(tree, tree_node(out), End::kFront), nullptr);
  EXPECT_FALSE(ObjectHeap::remove(tree, tree_node(out)));
  EXPECT_EQ(ObjectHeap::first(tree), &tree_node(in));
}

// What the bytes behind the last object of a chunk, and of a chunk never used, are: nothing.
TEST_F(Heap, NoObjectWhereTheHeapIsNotInUse) {
  constexpr std::uint64_t kChunkBytes = 64u << 10;
  const std::uint64_t object = make();
  const std::uint64_t chunk = object / kChunkBytes * kChunkBytes;
  for (std::uint64_t at = chunk; at < chunk + 2 * kChunkBytes; at += 7) {
    const bool is_inside = at >= object && at < object + 80;
    ASSERT_EQ(heap->find(at).size_bytes != 0, is_inside) << at - chunk;
  }
}

}  // namespace
}  // namespace lmn
