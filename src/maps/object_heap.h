// SPDX-License-Identifier: Apache-2.0
//
// ObjectHeap: the objects that programs allocate (bpf_obj_new), and the lists and trees that hold
// them.
//
// An object is a struct of the program's own types. It may have nodes, by which it hangs in lists
// and trees, and heads of its own; a head may also lie in a map's value. References are counted:
// the program's and those of the graphs; the last one frees the object and all that hangs in it.
//
// The kernel keeps links and counts inside the object, where only its verifier protects them. Here
// they lie beside it, where no program can reach them; the guest's node fields stay zero, and a
// head's first word is a number that is looked up and compared, not followed. So even the checked
// interpreter, which runs what no verifier has seen, cannot be led astray by forged links: at
// worst a head that was overwritten is a new empty one, and what hung in it stays until the heap
// goes.
//
// A program may hold the address of an object that it does not own, loaded from a map's value: what
// is dropped meanwhile can be read on, but not acquired. Its bytes are used again when all who ran
// a program then are through with it (the kernel's grace period): an allocation looks whether the
// Epoch says so of what was dropped first. So nothing is done per batch, and with one worker the
// same objects are free in each replay. All memory is there from the start and is never used for
// anything else: an address of a freed object finds no object, or a later one of the same size.
// Invariants: (1) an object in a graph is counted for each node that is in one; (2) a node's owner
// is null or the head it hangs in; (3) what is dropped waits in the order of dropping.
// Threads: allocate, acquire, release, find from any worker. A graph belongs to whoever holds the
// program's lock over its head; the interpreter does not check that, the verifier does. Tested by
// object_heap_test.cc and grace_test.cc. Source: Linux 6.18, kernel/bpf/helpers.c
// (bpf_obj_new_impl, __bpf_obj_drop_impl, __bpf_list_add,
// __bpf_list_del, __bpf_rbtree_add, bpf_rbtree_*), kernel/bpf/memalloc.c.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/epoch.h"
#include "base/mutex.h"
#include "base/result.h"
#include "maps/map_memory.h"

namespace lmn {

// What of a struct matters here, from its BTF.
struct ObjectLayout {
  static constexpr std::size_t kNodesMax = 4;
  static constexpr std::size_t kHeadsMax = 4;
  static constexpr std::size_t kPointersMax = 4;

  std::uint32_t size_bytes = 0;
  std::uint8_t node_count = 0;
  std::uint8_t head_count = 0;
  bool is_refcounted = false;  // has a struct bpf_refcount
  std::array<std::uint16_t, kNodesMax> node_offsets{};
  std::array<std::uint16_t, kHeadsMax> head_offsets{};
  std::uint8_t pointer_count = 0;  // words that own an object each (__kptr)
  std::array<std::uint16_t, kPointersMax> pointer_offsets{};
  // Of an object with a part for each CPU: the bytes of one part; 0: a plain one.
  std::uint32_t part_bytes = 0;

  // From one CPU's part to the next.
  static constexpr std::uint32_t part_stride(std::uint32_t bytes) { return (bytes + 7) / 8 * 8; }
};

class ObjectHeap {
 public:
  static constexpr std::uint32_t kObjectBytesMax = 4096;       // of the kernel's allocator
  static constexpr std::uint32_t kPercpuBytesMax = 32u << 10;  // all parts together
  static constexpr std::size_t kHeapBytes = 64u << 20;  // address space; used as it is needed
  static constexpr std::uint32_t kHeadCountMax = 1u << 16;

  enum class Graph : std::uint8_t { kList, kTree };
  enum class End : std::uint8_t { kFront, kBack };

  struct Object;
  struct Head;
  struct Node {
    Head* owner = nullptr;
    Node* left = nullptr;  // in lists: the one before
    Node* right = nullptr;
    Node* parent = nullptr;
    Object* object = nullptr;
    std::uint32_t priority = 0;  // of the tree: parents have higher ones
  };

  // An object as far as an access must know it; size 0: there is none.
  struct Found {
    std::uint64_t base = 0;
    std::uint32_t size_bytes = 0;
    std::uint32_t serial = 0;      // of this allocation
    bool is_dropped = false;       // nobody owns it any more
    std::uint32_t part_bytes = 0;  // ObjectLayout's
  };

  // `epoch` outlives the heap; null: what is dropped waits for reclaim(). Errors: kLimitExceeded
  // (ENOMEM).
  static Result<std::unique_ptr<ObjectHeap>> create(Epoch* epoch = nullptr);

  // A zeroed object with one reference, or 0 when there is no memory or it is too large.
  std::uint64_t allocate(const ObjectLayout& layout) noexcept LMN_EXCLUDES(lock_);
  // The object that holds the byte at `address`; also one that is dropped and not yet reclaimed.
  Found find(std::uint64_t address) const noexcept;
  // Whether an object, one that is gone or one to come could lie there.
  bool contains(std::uint64_t address) const noexcept {
    return address - reinterpret_cast<std::uintptr_t>(memory_.data()) < kHeapBytes;
  }
  // One more reference to the object that begins at `base`; false when there is none, or it is not
  // counted.
  bool acquire(std::uint64_t base) noexcept;
  // One reference less; the last one drops it.
  void release(std::uint64_t base) noexcept LMN_EXCLUDES(lock_);

  // Memory of all dropped objects may be used again, for who has no Epoch. REQUIRES: no program
  // runs that uses this heap.
  void reclaim() noexcept LMN_EXCLUDES(lock_);

  // The node that lies at `address` of an object, or null.
  Node* node_at(std::uint64_t address) const noexcept;
  // Whether a head of an object's own lies at `address`.
  bool has_head_at(std::uint64_t address) const noexcept;
  static std::uint64_t address_of(const Node& node) noexcept;
  static std::uint64_t object_of(const Node& node) noexcept;
  // The head whose 16 bytes lie at `address`; null when there are no more, or it is of the other
  // kind. REQUIRES: the bytes may be written.
  Head* head_at(std::uint64_t address, Graph graph) noexcept LMN_EXCLUDES(lock_);

  // Drops all that hangs in the head at `address`, and the head with it; nothing when there is
  // none.
  void empty_head(std::uint64_t address) noexcept LMN_EXCLUDES(lock_);

  // Lists. push takes over the caller's reference, pop gives it back. false: the node is in a graph
  // already.
  static bool push(Head& head, Node& node, End end) noexcept;
  static Node* pop(Head& head, End end) noexcept;
  static Node* at_end(const Head& head, End end) noexcept;

  // Trees. `less(context, node, other)` says whether `node` belongs before `other`.
  using Less = bool (*)(void* context, const Node& node, const Node& other);
  static bool insert(Head& head, Node& node, Less less, void* context) noexcept;
  // false: the node is not in this tree.
  static bool remove(Head& head, Node& node) noexcept;
  static Node* first(const Head& head) noexcept;
  static Node* root(const Head& head) noexcept;
  // The neighbour below, or null; also when the node is not in this tree.
  static Node* child(const Head& head, const Node& node, End end) noexcept;

  // Objects that are there; for tests and for what was left behind.
  std::size_t object_count() const noexcept LMN_EXCLUDES(lock_);

 private:
  static constexpr std::size_t kChunkBytes = 64u << 10;
  static constexpr std::size_t kChunkCount = kHeapBytes / kChunkBytes;
  static constexpr std::uint32_t kPayloadMin = 64;
  static constexpr std::size_t kClassCount = 10;  // 64 bytes to 32 KiB
  static_assert(kPayloadMin << (kClassCount - 1) == kPercpuBytesMax);

  ObjectHeap() = default;
  Object* take(std::size_t size_class) noexcept LMN_REQUIRES(lock_);
  void reclaim_first() noexcept LMN_REQUIRES(lock_);
  void reclaim_passed(std::size_t most) noexcept LMN_REQUIRES(lock_);
  Object* bytes_at(std::uint64_t address) const noexcept;   // dropped ones, too
  Object* object_at(std::uint64_t address) const noexcept;  // not those
  void give_back(Object& object) noexcept LMN_EXCLUDES(lock_);
  // What dies with a head's bytes, or with an object's, is put before `pending`.
  Object* drain_head(const std::uint64_t* word, Object* pending) noexcept LMN_EXCLUDES(lock_);
  Object* drain(Object& object, Object* pending) noexcept LMN_EXCLUDES(lock_);
  void free_all(Object* dying) noexcept LMN_EXCLUDES(lock_);

  mutable SpinLock lock_;
  MapMemory memory_;
  MapMemory heads_;
  // Stride of the objects in a chunk; 0: not in use yet.
  std::array<std::atomic<std::uint32_t>, kChunkCount> strides_{};
  std::array<Object*, kClassCount> free_ LMN_GUARDED_BY(lock_){};
  Object* dropped_ LMN_GUARDED_BY(lock_) = nullptr;  // the first of them
  Object* last_dropped_ LMN_GUARDED_BY(lock_) = nullptr;
  Epoch* epoch_ = nullptr;
  Head* free_heads_ LMN_GUARDED_BY(lock_) = nullptr;
  std::size_t chunk_count_ LMN_GUARDED_BY(lock_) = 0;
  std::uint32_t head_count_ LMN_GUARDED_BY(lock_) = 0;
  std::size_t object_count_ LMN_GUARDED_BY(lock_) = 0;
  std::uint32_t last_serial_ LMN_GUARDED_BY(lock_) = 0;
};

}  // namespace lmn
