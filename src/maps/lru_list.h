// SPDX-License-Identifier: Apache-2.0
//
// LruList: the elements of one table in the order of their last use.
//
// A doubly linked list by element number, in memory of its own, so that elements keep their layout.
// It is exact: every use moves the element to the front. (The kernel keeps an approximation in
// lists per CPU; what is evicted there depends on which CPU asked.) Invariants: (1) an element is
// in the list once or not at all; (2) number 0 is the list's head. Threads: none of its own: under
// the owning map's lock. Tested by maps_test.cc.
#pragma once

#include <linux/bpf.h>

#include <cstdint>

#include "maps/map_memory.h"
#include "spec/map_spec.h"

namespace lmn {

class LruList {
 public:
  // For elements 1 to `element_count`. Errors: kLimitExceeded with ENOMEM.
  static Result<LruList> create(std::uint64_t element_count) {
    LruList list;
    LMN_TRY(list.memory_, MapMemory::create((element_count + 1) * sizeof(Node)));
    return list;
  }

  void push_front(std::uint32_t element) noexcept {
    Node& head = node(0);
    node(element) = {0, head.next};
    node(head.next).previous = element;
    head.next = element;
  }
  void remove(std::uint32_t element) noexcept {
    const Node gone = node(element);
    node(gone.previous).next = gone.next;
    node(gone.next).previous = gone.previous;
  }
  // The element that was not used for the longest time, or 0.
  std::uint32_t back() const noexcept { return node(0).previous; }

 private:
  struct Node {
    std::uint32_t previous;
    std::uint32_t next;
  };
  Node& node(std::uint32_t element) const {
    return reinterpret_cast<Node*>(memory_.data())[element];
  }

  MapMemory memory_;
};

// max_entries as the kernel rounds it for lists per CPU: up, or down where that would wrap.
inline MapSpec with_rounded_entries(MapSpec spec, std::uint32_t cpu_count) {
  if ((spec.map_flags & BPF_F_NO_COMMON_LRU) == 0) return spec;
  const std::uint64_t up =
      (std::uint64_t{spec.max_entries} + cpu_count - 1) / cpu_count * cpu_count;
  spec.max_entries =
      up <= UINT32_MAX ? static_cast<std::uint32_t>(up) : spec.max_entries / cpu_count * cpu_count;
  return spec;
}

}  // namespace lmn
