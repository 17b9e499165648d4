// SPDX-License-Identifier: Apache-2.0
//
// Goal: values with fields are copied around them, whatever their places, and give up what hangs in
// them once; the lock in a value keeps others out and is not waited for without end.
// Method: values of made-up layouts beside a plain model, with and without owners of objects and
// calls. tests/contract/maps_contract_test.cc compares maps of such values with the kernel's.
#include "maps/value_fields.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <random>
#include <thread>
#include <vector>

#include "maps/deferred_calls.h"
#include "maps/object_heap.h"
#include "maps/value_lock.h"

namespace lmn {
namespace {

MapField field(MapFieldKind kind, std::uint32_t offset, std::uint32_t size,
               KptrKind kptr = KptrKind::kReferenced) {
  MapField made;
  made.kind = kind;
  made.offset = offset;
  made.size = size;
  made.kptr = kptr;
  return made;
}

std::uint64_t address_of(const void* at) { return reinterpret_cast<std::uintptr_t>(at); }

void put_word(void* at, std::uint64_t word) { std::memcpy(at, &word, sizeof word); }

// --- copies

// One field at any place of a small value: bytes before and behind it of every alignment.
TEST(ValueFields, BytesAroundAFieldAreCopiedAndTheFieldIsNot) {
  constexpr std::uint32_t kValueBytes = 40;
  std::mt19937 random(7);
  for (std::uint32_t offset = 0; offset < kValueBytes; ++offset) {
    for (const std::uint32_t size : {4u, 8u, 16u}) {
      if (offset + size > kValueBytes) continue;
      MapFields layout;
      layout.fields.push_back(field(MapFieldKind::kTaskWork, offset, size));
      const ValueFields fields(layout, kValueBytes);
      alignas(8) std::array<std::uint8_t, kValueBytes> value;
      std::array<std::uint8_t, kValueBytes> from;
      std::array<std::uint8_t, kValueBytes> out;
      value.fill(0x11);
      out.fill(0xee);
      for (auto& byte : from) byte = static_cast<std::uint8_t>(random() | 1);
      fields.copy_in(value.data(), from.data());
      fields.copy_out(out.data(), value.data());
      for (std::uint32_t at = 0; at < kValueBytes; ++at) {
        const bool is_field = at >= offset && at < offset + size;
        ASSERT_EQ(value[at], is_field ? 0x11 : from[at]) << offset << " " << size << " " << at;
        ASSERT_EQ(out[at], is_field ? 0 : from[at]) << offset << " " << size << " " << at;
      }
    }
  }
}

TEST(ValueFields, ACopyOfACountIsThatOfAFreshObject) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kRefcount, 4, 4));
  const ValueFields fields(layout, 8);
  alignas(8) const std::array<std::uint8_t, 8> value{1, 2, 3, 4, 9, 9, 9, 9};
  std::array<std::uint8_t, 8> out{};
  fields.copy_out(out.data(), value.data());
  EXPECT_EQ(out, (std::array<std::uint8_t, 8>{1, 2, 3, 4, 1, 0, 0, 0}));
}

TEST(ValueFields, TheLockIsWhereTheTypeSays) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kSpinLock, 12, 4));
  const ValueFields with(layout, 16);
  const ValueFields without(MapFields{}, 16);
  alignas(8) std::array<std::uint8_t, 16> value{};
  EXPECT_EQ(reinterpret_cast<std::uint8_t*>(with.lock_of(value.data())), value.data() + 12);
  EXPECT_EQ(without.lock_of(value.data()), nullptr);
}

// --- what hangs in a value

class Retire : public testing::Test {
 protected:
  void SetUp() override {
    heap_ = std::move(*ObjectHeap::create());
    calls_ = std::move(*DeferredCalls::create());
    layout_.size_bytes = 64;
    layout_.node_count = 2;
    layout_.node_offsets = {0, 24};
  }
  ValueOwners owners() const { return {heap_.get(), calls_.get()}; }

  std::unique_ptr<ObjectHeap> heap_;
  std::unique_ptr<DeferredCalls> calls_;
  ObjectLayout layout_;
  alignas(8) std::array<std::uint8_t, 64> value_{};
};

TEST_F(Retire, PointersThatOwnAreReleasedAndOthersOnlyForgotten) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kKptr, 0, 8));
  layout.fields.push_back(field(MapFieldKind::kKptr, 8, 8, KptrKind::kUntrusted));
  layout.fields.push_back(field(MapFieldKind::kKptr, 16, 8));
  const ValueFields fields(layout, 24);
  const std::uint64_t owned = heap_->allocate(layout_);
  const std::uint64_t known = heap_->allocate(layout_);
  put_word(value_.data(), owned);
  put_word(value_.data() + 8, known);
  fields.retire(value_.data(), owners());
  EXPECT_TRUE(heap_->find(owned).is_dropped);
  EXPECT_FALSE(heap_->find(known).is_dropped);
  EXPECT_EQ(value_, (std::array<std::uint8_t, 64>{}));
  fields.retire(value_.data(), owners());
  EXPECT_EQ(heap_->object_count(), 1u) << "nothing is released twice";
}

TEST_F(Retire, ListsAndTreesAreEmptied) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kSpinLock, 0, 4));
  layout.fields.push_back(field(MapFieldKind::kListHead, 8, 16));
  layout.fields.push_back(field(MapFieldKind::kTreeRoot, 24, 16));
  const ValueFields fields(layout, 40);
  auto* list = heap_->head_at(address_of(value_.data() + 8), ObjectHeap::Graph::kList);
  auto* tree = heap_->head_at(address_of(value_.data() + 24), ObjectHeap::Graph::kTree);
  const auto less = [](void*, const ObjectHeap::Node& a, const ObjectHeap::Node& b) {
    return &a < &b;
  };
  for (int i = 0; i < 20; ++i) {
    ObjectHeap::push(*list, *heap_->node_at(heap_->allocate(layout_)), ObjectHeap::End::kBack);
    ObjectHeap::insert(*tree, *heap_->node_at(heap_->allocate(layout_) + 24), less, nullptr);
  }
  EXPECT_EQ(heap_->object_count(), 40u);
  fields.retire(value_.data(), owners());
  EXPECT_EQ(heap_->object_count(), 0u);
  EXPECT_EQ(value_, (std::array<std::uint8_t, 64>{})) << "and the lock is open";
}

TEST_F(Retire, TimersAndWorksAreForgotten) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kTimer, 0, 16));
  layout.fields.push_back(field(MapFieldKind::kWorkqueue, 16, 16));
  const ValueFields fields(layout, 32);
  using Kind = DeferredCalls::Kind;
  ASSERT_EQ(calls_->init(Kind::kTimer, {address_of(value_.data()), nullptr, value_.data()},
                         CLOCK_MONOTONIC),
            0);
  ASSERT_EQ(calls_->init(Kind::kWork, {address_of(value_.data() + 16), nullptr, value_.data()},
                         CLOCK_MONOTONIC),
            0);
  EXPECT_EQ(calls_->count(), 2u);
  fields.retire(value_.data(), owners());
  EXPECT_EQ(calls_->count(), 0u);
  EXPECT_EQ(value_, (std::array<std::uint8_t, 64>{}));
}

// A map whose engine keeps neither objects nor calls: its values hold nothing but their words.
TEST_F(Retire, WithoutOwnersOnlyTheWordsGo) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kTimer, 0, 16));
  layout.fields.push_back(field(MapFieldKind::kKptr, 16, 8));
  layout.fields.push_back(field(MapFieldKind::kListHead, 24, 16));
  layout.fields.push_back(field(MapFieldKind::kResilientSpinLock, 40, 4));
  layout.fields.push_back(field(MapFieldKind::kTaskWork, 48, 8));
  const ValueFields fields(layout, 64);
  value_.fill(0x7f);
  fields.retire(value_.data(), {});
  for (std::size_t at = 0; at < 40; ++at) EXPECT_EQ(value_[at], 0) << at;
  for (std::size_t at = 40; at < 64; ++at) EXPECT_EQ(value_[at], 0x7f) << at;
}

// Nodes and counts belong to objects: a value that has them gives up none.
TEST_F(Retire, PartsOfObjectsStay) {
  MapFields layout;
  layout.fields.push_back(field(MapFieldKind::kListNode, 0, 24));
  layout.fields.push_back(field(MapFieldKind::kTreeNode, 24, 32));
  layout.fields.push_back(field(MapFieldKind::kRefcount, 56, 4));
  const ValueFields fields(layout, 64);
  value_.fill(0x7f);
  fields.retire(value_.data(), owners());
  for (const std::uint8_t byte : value_) EXPECT_EQ(byte, 0x7f);
}

// --- the lock

TEST(ValueLock, IsTakenOnceAndGivenUpOnWhenItStaysTaken) {
  std::uint32_t word = value_lock::kOpen;
  EXPECT_TRUE(take_value_lock(word));
  EXPECT_FALSE(try_value_lock(word));
  EXPECT_FALSE(take_value_lock(word, 3)) << "somebody keeps it";
  open_value_lock(word);
  EXPECT_TRUE(take_value_lock(word, 1));
  std::uint32_t odd = 77;  // a program wrote there: what its verifier forbids
  EXPECT_FALSE(take_value_lock(odd, 2));
}

TEST(ValueLock, KeepsTwoThreadsApart) {
  alignas(64) std::uint32_t word = value_lock::kOpen;
  std::array<std::uint64_t, 2> pair{};
  std::atomic<int> torn{0};
  const auto work = [&] {
    for (int i = 0; i < 20'000; ++i) {
      if (!take_value_lock(word)) {
        ++torn;
        return;
      }
      if (pair[0] != pair[1]) ++torn;
      ++pair[0];
      if (i % 1024 == 0) std::this_thread::yield();  // so that the other has to wait
      ++pair[1];
      open_value_lock(word);
    }
  };
  std::thread other(work);
  work();
  other.join();
  EXPECT_EQ(torn.load(), 0);
  EXPECT_EQ(pair[0], 40'000u);
}

}  // namespace
}  // namespace lmn
