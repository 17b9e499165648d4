// SPDX-License-Identifier: Apache-2.0
//
// Map: the one interface of all map types: memory shared by programs and people.
//
// It has two sides, as in the kernel (struct bpf_map_ops, Linux 6.18, include/linux/bpf.h). The
// program side is called by helpers on the data path: addresses in, an address or 0/-errno out, no
// allocation, no lock but a map's own short one. The user side is what bpf(2) does: values are
// copied, per-CPU maps give all CPUs at once, each value rounded up to 8 bytes. Both return the
// kernel's errno, negative: programs and tools depend on it, so it is the currency here and not
// Error.
//
//   Result<std::unique_ptr<Map>> map = create_map(spec, options, host);
//   void* value = (*map)->lookup(key, cpu);             // program side
//   int error = (*map)->user_lookup(key, out, 0);       // user side
//
// Adding a type: <type>_map.{h,cc} and one row of map_types.def; maps_contract_test.cc then runs
// over it.
//
// Invariants: (1) key and value sizes never change; (2) a value address given to a program stays
// mapped until the batch it was given in ends, and while the map lives; as in the kernel the
// element behind it may meanwhile be deleted and used again; (3) an operation that returns an error
// changed nothing. Threads: one worker on the program side and any control threads on the user side
// may call at the same time; types serialise themselves by a short lock or by atomic slots. Values
// are copied in 8-byte words: a reader sees an aligned 64-bit counter whole, a longer value
// possibly half-new, as in the kernel. Per-CPU values belong to the worker of that CPU. Values that
// hold more than bytes (locks, timers, objects: value_fields.h) are copied by put_value and
// get_value, and given up by retire_value. Not done yet: populating memory at creation. Tested by
// maps_test.cc, tests/contract/maps_contract_test.cc and map_fields_test.cc there.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/epoch.h"
#include "base/result.h"
#include "base/shared_memory.h"
#include "maps/fast_path.h"
#include "maps/map_memory.h"
#include "maps/value_fields.h"
#include "packet/frame_sink.h"
#include "packet/program_entry.h"
#include "spec/map_spec.h"

namespace lmn {

class Map;
struct MapBatch;  // maps/map_batch.h
class PerfRing;   // maps/perf_ring.h

// The kernel's own "not supported", which has no name in user space's errno.h (Linux 6.18,
// include/linux/errno.h). bpf(2) hands it out for operations that a map type lacks.
inline constexpr int kErrnoNotSupp = 524;

// What a map asks of its owner, the engine: what a number given by user space stands for.
class MapHost {
 public:
  virtual ~MapHost() = default;
  // The transmit side of the port with this ifindex, or null.
  virtual FrameSink* find_sink(std::uint32_t ifindex) noexcept = 0;
  // The program behind a descriptor or handle, or null. Holds a reference until release_program.
  virtual const ProgramEntry* acquire_program(std::uint32_t handle) noexcept = 0;
  // Why acquire_program gave null: -EBADF for what is no handle, -EINVAL for one of another thing.
  virtual int program_error(std::uint32_t handle) noexcept;
  virtual void release_program(const ProgramEntry* entry) noexcept = 0;
  // The same for maps, as maps of maps hold them. A released map must live on for a grace period:
  // programs of running batches may have looked it up. The defaults know no maps.
  virtual Map* acquire_map(std::uint32_t handle) noexcept;
  virtual int map_error(std::uint32_t handle) noexcept;
  virtual void release_map(Map* map) noexcept;
  // A queue of `queue_size` frames to `cpu`, which runs `program` (null: none) on them; when this
  // returns it is served. It takes over the reference to the program and gives it back when the
  // queue is gone, which may be some time after release_cpu_queue: what is in it goes its way.
  // Null, and the program stays the caller's, when there is none.
  virtual FrameSink* acquire_cpu_queue(std::uint32_t cpu, std::uint32_t queue_size,
                                       const ProgramEntry* program) noexcept;
  // Why that was: -EOPNOTSUPP for a host without CPU queues, -ENOMEM.
  virtual int cpu_queue_error() noexcept;
  virtual void release_cpu_queue(FrameSink* queue) noexcept;
  // The AF_XDP socket behind a handle, or null; why: -EBADF, -ENOTSOCK, -EOPNOTSUPP (another
  // family).
  virtual FrameSink* acquire_socket(std::uint32_t handle) noexcept;
  virtual int socket_error(std::uint32_t handle) noexcept;
  virtual void release_socket(FrameSink* socket) noexcept;
  // The ring of the perf event behind a handle, or null.
  virtual PerfRing* acquire_event(std::uint32_t handle) noexcept;
  virtual void release_event(PerfRing* ring) noexcept;
};

struct MapOptions {
  // Slots of per-CPU maps: the host's possible CPUs, so that tools agree.
  std::uint32_t cpu_count = 1;
  std::uint64_t hash_seed = 0;        // of hash tables; chosen per map by the engine
  std::uint32_t numa_node_count = 1;  // nodes that BPF_F_NUMA_NODE may name
  ValueOwners owners;                 // of what values hold; they outlive the map
  // Whose readers run programs; null: nobody says when a program is through. It outlives the map.
  Epoch* epoch = nullptr;
};

// Where a walk over the elements of a map is, and the element it came to last.
struct MapWalk {
  std::uint64_t place = 0;  // the map's own: where to go on
  std::uint32_t index = 0;  // room for the key of arrays, which have none
  const void* key = nullptr;
  void* value = nullptr;
};

// What bpf_redirect_map finds in a slot.
struct RedirectTarget {
  FrameSink* sink = nullptr;
  std::uint32_t ifindex = 0;
  const ProgramEntry* program = nullptr;  // a devmap entry's program, or null
};

// What the handle that a user-side call came through may do. In the kernel these are the open modes
// of the descriptor; the one that BPF_MAP_CREATE returns takes them from BPF_F_RDONLY and
// BPF_F_WRONLY.
enum class MapAccess : std::uint8_t { kCreator, kRead, kWrite, kReadWrite };

class Map {
 public:
  virtual ~Map();

  const MapSpec& spec() const { return spec_; }
  std::uint32_t id() const { return id_; }
  void set_id(std::uint32_t id) { id_ = id; }
  std::uint32_t cpu_count() const { return options_.cpu_count; }
  // Bytes of one value as user space sees it: value_size, or 8-byte-rounded times the CPUs for
  // per-CPU types.
  std::size_t user_value_bytes() const;
  bool is_frozen() const { return is_frozen_.load(std::memory_order_acquire); }
  // What its values hold besides bytes, or null.
  const ValueFields* fields() const { return fields_.get(); }
  // BPF_MAP_FREEZE: later user-side writes get -EPERM. 0, -EPERM when the handle may not write or
  // the map is frozen already, -EBUSY while a user-side write is under way, -ENOTSUPP (524) when
  // its values hold more than bytes.
  int freeze(MapAccess access = MapAccess::kCreator) noexcept;

  // --- program side. Keys and values are readable for key_size and value_size bytes. cpu <
  // cpu_count().
  // The value for `key` (of `cpu`, in per-CPU types), or null. Writable unless BPF_F_RDONLY_PROG.
  // In types with kMapHoldsMaps: the inner Map itself.
  virtual void* lookup(const void* key, std::uint32_t cpu) noexcept = 0;
  // 0 or -errno: -EINVAL bad flags, -EEXIST, -ENOENT, -E2BIG full or out of range, -ENOMEM,
  // -EOPNOTSUPP no such operation.
  virtual int update(const void* key, const void* value, std::uint64_t flags,
                     std::uint32_t cpu) noexcept = 0;
  virtual int erase(const void* key) noexcept = 0;
  virtual int push(const void* value, std::uint64_t flags) noexcept;
  virtual int pop(void* value) noexcept;
  virtual int peek(void* value) noexcept;
  // For types with kMapRedirectTarget: the slot's target; false when it is empty or the key out of
  // range.
  virtual bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept;
  // For types with kMapRedirectTarget: walks the occupied slots for a broadcast. Start with cursor
  // 0; false at the end.
  virtual bool next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept;
  // The next element of a walk, with the value of `cpu`; false at the end, and for types that Linux
  // cannot walk. Whoever walks may delete any element between two calls. No use in LRU types.
  virtual bool next_element(MapWalk& walk, std::uint32_t cpu) noexcept;
  // For PROG_ARRAY: the program at `index`, or null.
  virtual const ProgramEntry* find_program(std::uint32_t index) noexcept;
  // bpf_map_sum_elem_count: how many elements a hash map has; 0 for the types that Linux does not
  // count.
  virtual std::int64_t element_count() noexcept { return 0; }
  // For types with kMapDirectValue: the address of byte `offset` of the first value, or null when
  // the map has more than one entry or the offset is out of range.
  virtual void* direct_value(std::uint32_t offset) noexcept;

  // --- user side. 0 or -errno.
  // BPF_MAP_LOOKUP_ELEM. REQUIRES: out.size() == user_value_bytes().
  int user_lookup(const void* key, std::span<std::uint8_t> out, std::uint64_t flags,
                  MapAccess access = MapAccess::kCreator) noexcept;
  // BPF_MAP_UPDATE_ELEM. REQUIRES: value.size() == user_value_bytes(). -EPERM when frozen.
  int user_update(const void* key, std::span<const std::uint8_t> value, std::uint64_t flags,
                  MapAccess access = MapAccess::kCreator) noexcept;
  int user_erase(const void* key, MapAccess access = MapAccess::kCreator) noexcept;
  // BPF_MAP_GET_NEXT_KEY.
  int user_next_key(const void* key, void* next, MapAccess access = MapAccess::kCreator) noexcept;
  // BPF_MAP_LOOKUP_AND_DELETE_ELEM. REQUIRES: out.size() == user_value_bytes().
  int user_lookup_and_erase(const void* key, std::span<std::uint8_t> out, std::uint64_t flags,
                            MapAccess access = MapAccess::kCreator) noexcept;

  // BPF_MAP_LOOKUP_BATCH, _LOOKUP_AND_DELETE_BATCH, _UPDATE_BATCH, _DELETE_BATCH. -ENOTSUPP (524)
  // for types that lack it; -ENOENT at the end of a walk, with what was found.
  int user_lookup_batch(MapBatch& batch, MapAccess access = MapAccess::kCreator) noexcept;
  int user_lookup_and_erase_batch(MapBatch& batch, MapAccess access = MapAccess::kCreator) noexcept;
  int user_update_batch(MapBatch& batch, MapAccess access = MapAccess::kCreator) noexcept;
  int user_erase_batch(MapBatch& batch, MapAccess access = MapAccess::kCreator) noexcept;

  // The type's own part of user_lookup: no look at rights and flags common to all types. What dumps
  // and the engine itself read by.
  virtual int copy_value(const void* key, std::span<std::uint8_t> out,
                         std::uint64_t flags) noexcept = 0;
  // The type's own part of user_next_key: null or an unknown key gives the first, -ENOENT after the
  // last.
  virtual int next_key(const void* key, void* next) noexcept = 0;

  // Whether a program that uses this map for tail calls (or is put into it) agrees with those that
  // did before; the first one decides. True for maps that hold no programs.
  virtual bool accept_program(const ProgramEntry& entry) noexcept;
  // No handle or pin of user space is left, only programs: maps that hold programs let go of them,
  // since a program may tail-call through the map that holds it; and timers are cancelled, since
  // they hold the program that holds the map.
  virtual void drop_user_references() noexcept;
  bool has_user_references() const { return has_user_references_.load(std::memory_order_acquire); }
  // The port or socket behind `sink` goes: slots that hold it become empty. Called while no program
  // runs on it.
  virtual void forget_sink(const FrameSink& sink) noexcept;
  // Where the key lies of the element whose value begins at `value`; null when this map has no such
  // element. `index` is room for the key of arrays, which have none.
  virtual const void* key_of(const void* value, std::uint32_t& index) const noexcept;
  // For types with kMapHoldsMaps: what every inner map looks like, or null.
  virtual const MapSpec* inner_shape() const noexcept { return nullptr; }
  // How compiled programs look keys up without calling lookup(), if the type has such a way.
  virtual FastPath fast_path() const noexcept { return {}; }
  // The sealed memory of a BPF_F_MMAPABLE map, value 0 at offset 0, or null.
  virtual const SharedMemory* mapped_memory() const noexcept { return nullptr; }

 protected:
  Map(MapSpec spec, MapOptions options) : spec_(std::move(spec)), options_(options) {}
  // The type's own part of user_update; the default is update() on CPU 0, right for maps without
  // per-CPU values.
  virtual int update_from_user(const void* key, std::span<const std::uint8_t> value,
                               std::uint64_t flags) noexcept;
  // Writes the initial contents; 0 or -errno.
  virtual int fill(std::span<const std::uint8_t> contents) noexcept;
  virtual int erase_from_user(const void* key) noexcept { return erase(key); }
  virtual int lookup_and_erase_from_user(const void* key, std::span<std::uint8_t> out,
                                         std::uint64_t flags) noexcept;
  // The type's own part of a batch lookup; the default walks by keys and erases nothing.
  virtual int lookup_batch_from_user(MapBatch& batch, bool erases) noexcept;
  const MapOptions& options() const { return options_; }

  // Copies one value into the map or out of it. `plain_bytes` is how much of a value without
  // fields: value_size, or that rounded up to 8 where user space sees the rounding. REQUIRES:
  // `value` is 8-byte aligned.
  void put_value(void* value, const void* from, std::size_t plain_bytes) const noexcept {
    if (fields_ == nullptr) [[likely]] {
      store_value(value, from, plain_bytes);
    } else {
      fields_->copy_in(value, from);
    }
  }
  void get_value(void* to, const void* value, std::size_t plain_bytes) const noexcept {
    if (fields_ == nullptr) [[likely]] {
      load_value(to, value, plain_bytes);
    } else {
      fields_->copy_out(to, value);
    }
  }
  // The same under the value's own lock (BPF_F_LOCK). 0 or -EBUSY. REQUIRES: has_value_lock().
  int put_locked(void* value, const void* from) const noexcept;
  int get_locked(void* to, void* value) const noexcept;
  bool has_value_lock() const noexcept {
    return fields_ != nullptr && fields_->fields().find(MapFieldKind::kSpinLock) != nullptr;
  }
  // The value's element goes, or its value is replaced: what hangs in it is freed. May be called
  // under the map's lock.
  void retire_value(void* value) const noexcept {
    if (fields_ != nullptr) [[unlikely]]
      fields_->retire(value, options_.owners);
  }

 private:
  friend Result<std::unique_ptr<Map>> create_map(const MapSpec& spec, const MapOptions& options,
                                                 MapHost& host);
  int check_batch(unsigned what, const MapBatch& batch) const noexcept;
  bool may_read(MapAccess access) const noexcept;
  bool may_write(MapAccess access) const noexcept;

  MapSpec spec_;
  MapOptions options_;
  std::uint32_t id_ = 0;
  std::unique_ptr<const ValueFields> fields_;  // null: values are bytes
  std::atomic<bool> has_user_references_{true};
  std::atomic<bool> is_frozen_{false};
  std::atomic<std::uint32_t> writers_{0};  // user-side writes under way: freezing waits for none
};

// Makes a map of any type of map_types.def, looks at the types of its key and value if spec.btf has
// them, fills in spec.contents and, with is_frozen_at_load, freezes it. Errors carry the errno that
// BPF_MAP_CREATE would give (EINVAL, E2BIG, ENOMEM, EPERM, EOPNOTSUPP, 524) and say which field is
// wrong.
Result<std::unique_ptr<Map>> create_map(const MapSpec& spec, const MapOptions& options,
                                        MapHost& host);

// The rows of map_types.def, sorted by type, for Environment::map_types.
std::span<const struct MapTypeInfo> map_type_infos();
// The row of one type, or null.
const MapTypeInfo* find_map_type_info(std::uint32_t type);

}  // namespace lmn
