// SPDX-License-Identifier: Apache-2.0
//
// What an object and a head of ObjectHeap are made of. Internal; the public API is object_heap.h.
// Threads: see there. Tested by object_heap_test.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "maps/object_heap.h"

namespace lmn {

// The header; the program's bytes follow it.
struct alignas(16) ObjectHeap::Object {
  std::atomic<std::uint32_t> references = 0;  // 0: dropped or free
  std::atomic<bool> is_free = true;           // false without references: dropped, still read
  std::uint32_t serial = 0;
  Object* next = nullptr;  // while it is free, dying or dropped
  Epoch::Stamp dropped_at = 0;
  ObjectLayout layout;
  std::uint8_t size_class = 0;
  std::array<Node, ObjectLayout::kNodesMax> nodes;

  std::uint8_t* payload() { return reinterpret_cast<std::uint8_t*>(this) + sizeof(Object); }
  const std::uint8_t* payload() const {
    return reinterpret_cast<const std::uint8_t*>(this) + sizeof(Object);
  }
  std::uint64_t* word_at(std::uint32_t offset) {
    return reinterpret_cast<std::uint64_t*>(payload() + offset);
  }
};

struct ObjectHeap::Head {
  std::uint64_t address = 0;  // of the guest's 16 bytes; 0: free
  Node* first = nullptr;      // of a list
  Node* last = nullptr;
  Node* top = nullptr;  // of a tree
  Head* next_free = nullptr;
  Graph graph = Graph::kList;
};

}  // namespace lmn
