// SPDX-License-Identifier: Apache-2.0
//
// The shapes of every map type.
#include "contract/map_shapes.h"

#include <linux/bpf.h>

namespace lmn {
namespace {

// Of the types without keys and values, whose user side only says no.
std::vector<Shape> keyless_shapes_of(std::uint32_t type) {
  if (type == BPF_MAP_TYPE_RINGBUF || type == BPF_MAP_TYPE_USER_RINGBUF) {
    return {{0, 0, 4096}, {0, 0, 16384}};
  }
  if (type != BPF_MAP_TYPE_ARENA) return {};
  return {{0, 0, 10, BPF_F_MMAPABLE}, {0, 0, 3, BPF_F_MMAPABLE | BPF_F_NO_USER_CONV}};
}

// Of those with values of people.
std::vector<Shape> plain_shapes_of(std::uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_ARRAY:
      return {{4, 4, 5},
              {4, 13, 8},
              {4, 64, 1, BPF_F_MMAPABLE},
              {4, 1, 3, BPF_F_RDONLY_PROG},
              {4, 8, 3, BPF_F_RDONLY},
              {4, 8, 3, BPF_F_WRONLY},
              {4, 24, 100},
              {4, 0, 5, 0, 0, 0, Fields::kLock},
              {4, 0, 4, 0, 0, 0, Fields::kTimer},
              {4, 0, 6, 0, 0, 0, Fields::kAll},
              {4, 0, 3, 0, 0, 0, Fields::kGraphs},
              {4, 0, 4, 0, 0, 0, Fields::kOthers}};
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return {{4, 4, 5},
              {4, 13, 8},
              {4, 8, 3, BPF_F_WRONLY},
              {4, 64, 1},
              {4, 0, 5, 0, 0, 0, Fields::kPointers}};
    case BPF_MAP_TYPE_HASH:
      return {{4, 8, 8},
              {1, 1, 1},
              {13, 5, 20},
              {16, 40, 64, BPF_F_NO_PREALLOC},
              {512, 3, 4},
              {8, 8, 8, BPF_F_ZERO_SEED},
              {4, 4, 4, BPF_F_RDONLY},
              {4, 4, 4, BPF_F_WRONLY | BPF_F_NO_PREALLOC},
              {4, 0, 8, 0, 0, 0, Fields::kLock},
              {4, 0, 9, BPF_F_NO_PREALLOC, 0, 0, Fields::kAll},
              {4, 0, 7, 0, 0, 0, Fields::kAll},
              {4, 0, 7, 0, 0, 0, Fields::kGraphs},
              {4, 0, 6, BPF_F_NO_PREALLOC, 0, 0, Fields::kOthers}};
    case BPF_MAP_TYPE_PERCPU_HASH:
      return {{4, 8, 8},
              {3, 5, 7},
              {16, 12, 30, BPF_F_NO_PREALLOC},
              {4, 4, 4, BPF_F_WRONLY},
              {4, 0, 6, 0, 0, 0, Fields::kPointers},
              {4, 0, 6, BPF_F_NO_PREALLOC, 0, 0, Fields::kPointers}};
    case BPF_MAP_TYPE_LRU_HASH:
      // Few keys in a large map: what an LRU evicts is each side's own.
      return {{4, 8, 400, 0, 8},
              {13, 5, 600, BPF_F_NO_COMMON_LRU, 5},
              {4, 4, 500, BPF_F_WRONLY, 4},
              {4, 0, 500, 0, 6, 0, Fields::kTimer},
              {4, 0, 500, 0, 6, 0, Fields::kPointers}};
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return {{4, 8, 400, 0, 8},
              {13, 5, 600, BPF_F_NO_COMMON_LRU, 5},
              {4, 0, 500, 0, 6, 0, Fields::kPointers}};
    case BPF_MAP_TYPE_LPM_TRIE:
      return {{8, 8, 40, BPF_F_NO_PREALLOC},
              {5, 1, 6, BPF_F_NO_PREALLOC},
              {20, 12, 100, BPF_F_NO_PREALLOC},
              {260, 5, 30, BPF_F_NO_PREALLOC},
              {7, 4, 8, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG}};
    default:
      return {};
  }
}

}  // namespace

std::vector<Shape> shapes_of(std::uint32_t type) {
  if (auto plain = plain_shapes_of(type); !plain.empty()) return plain;
  switch (type) {
    case BPF_MAP_TYPE_PROG_ARRAY:
      return {{4, 4, 4}, {4, 4, 1}, {4, 4, 3, BPF_F_WRONLY}};
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
      return {{4, 4, 4}, {4, 4, 1}, {4, 4, 3, BPF_F_WRONLY}, {4, 4, 5}};
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return {{4, 4, 4}, {9, 4, 5, BPF_F_NO_PREALLOC}, {4, 4, 3, BPF_F_RDONLY}, {8, 4, 6}};
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return {{0, 8, 1}, {0, 5, 7}, {0, 40, 100}, {0, 4, 3, BPF_F_RDONLY}, {0, 4, 3, BPF_F_WRONLY}};
    case BPF_MAP_TYPE_BLOOM_FILTER:
      // With ZERO_SEED false positives are the same strangers too; without, there must be none.
      return {{0, 4, 20, BPF_F_ZERO_SEED, 100, 1},
              {0, 5, 30, BPF_F_ZERO_SEED, 200, 3},
              {0, 40, 10, BPF_F_ZERO_SEED, 100},
              {0, 13, 50, BPF_F_ZERO_SEED, 200, 15},
              {0, 8, 100000, 0, 10},
              {0, 7, 100000, BPF_F_WRONLY, 10}};
    case BPF_MAP_TYPE_CPUMAP:
      return {{4, 4, 3}, {4, 8, 4}, {4, 8, 1}};
    case BPF_MAP_TYPE_XSKMAP:
      return {{4, 4, 4}, {4, 4, 1}, {4, 4, 3, BPF_F_RDONLY}, {4, 4, 3, BPF_F_WRONLY}};
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
      return {{4, 4, 4}, {4, 4, 1, BPF_F_PRESERVE_ELEMS}, {4, 4, 3, BPF_F_WRONLY}};
    case BPF_MAP_TYPE_DEVMAP:
      return {{4, 4, 6}, {4, 8, 6}, {4, 8, 1}, {4, 8, 2, BPF_F_RDONLY}};
    case BPF_MAP_TYPE_DEVMAP_HASH:
      return {{4, 4, 6}, {4, 8, 5}, {4, 8, 1}, {4, 8, 2, BPF_F_WRONLY}};
    default:
      return keyless_shapes_of(type);
  }
}

bool has_key_order(std::uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return false;
    default:
      return true;
  }
}

}  // namespace lmn
