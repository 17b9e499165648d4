// SPDX-License-Identifier: Apache-2.0
//
// Map: the one interface of all map types: memory shared by programs and people.
//
// It has two sides, as in the kernel (struct bpf_map_ops, Linux 6.18, include/linux/bpf.h). The program side is called by
// helpers on the data path: addresses in, an address or 0/-errno out, no allocation, no lock but a map's own short one.
// The user side is what bpf(2) does: values are copied, per-CPU maps give all CPUs at once, each value rounded up to 8 bytes.
// Both return the kernel's errno, negative: programs and tools depend on it, so it is the currency here and not Error.
//
//   Result<std::unique_ptr<Map>> map = create_map(spec, options, host);
//   void* value = (*map)->lookup(key, cpu);             // program side
//   int error = (*map)->copy_value(key, out, 0);        // user side
//
// Adding a type: <type>_map.{h,cc} and one row of map_types.def; maps_contract_test.cc then runs over it.
//
// Invariants: (1) key and value sizes never change; (2) a value address given to a program stays mapped until the batch it was
// given in ends; (3) an operation that returns an error changed nothing.
// Threads: program side from any worker, user side from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "packet/frame_sink.h"
#include "packet/program_entry.h"
#include "spec/map_spec.h"

namespace lmn {

// What a map asks of its owner, the engine: what a number given by user space stands for.
class MapHost {
 public:
  virtual ~MapHost() = default;
  // The transmit side of the port with this ifindex, or null.
  virtual FrameSink* find_sink(std::uint32_t ifindex) noexcept = 0;
  // The program behind a descriptor or handle, or null. Holds a reference until release_program.
  virtual const ProgramEntry* acquire_program(std::uint32_t handle) noexcept = 0;
  virtual void release_program(const ProgramEntry* entry) noexcept = 0;
};

struct MapOptions {
  std::uint32_t cpu_count = 1;   // slots of per-CPU maps: the host's possible CPUs, so that tools agree
  std::uint64_t hash_seed = 0;   // of hash tables; chosen per map by the engine
};

// What bpf_redirect_map finds in a slot.
struct RedirectTarget {
  FrameSink* sink = nullptr;
  std::uint32_t ifindex = 0;
  const ProgramEntry* program = nullptr;  // devmap/cpumap entry program, or null
};

class Map {
 public:
  virtual ~Map() = default;

  const MapSpec& spec() const { return spec_; }
  std::uint32_t id() const { return id_; }
  void set_id(std::uint32_t id) { id_ = id; }
  std::uint32_t cpu_count() const { return options_.cpu_count; }
  // Bytes of one value as user space sees it: value_size, or 8-byte-rounded times the CPUs for per-CPU types.
  std::size_t user_value_bytes() const;
  bool is_frozen() const { return is_frozen_; }
  // BPF_MAP_FREEZE: later user-side writes get -EPERM. 0, or -EBUSY when already frozen.
  int freeze() noexcept;

  // --- program side. Keys and values are readable for key_size and value_size bytes. cpu < cpu_count().
  // The value for `key` (of `cpu`, in per-CPU types), or null. Writable unless BPF_F_RDONLY_PROG.
  virtual void* lookup(const void* key, std::uint32_t cpu) noexcept = 0;
  // 0 or -errno: -EINVAL bad flags, -EEXIST, -ENOENT, -E2BIG full or out of range, -ENOMEM, -EOPNOTSUPP no such operation.
  virtual int update(const void* key, const void* value, std::uint64_t flags, std::uint32_t cpu) noexcept = 0;
  virtual int erase(const void* key) noexcept = 0;
  virtual int push(const void* value, std::uint64_t flags) noexcept;
  virtual int pop(void* value) noexcept;
  virtual int peek(void* value) noexcept;
  // For types with kMapRedirectTarget: the slot's target; false when it is empty or the key out of range.
  virtual bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept;
  // For types with kMapRedirectTarget: walks the occupied slots for a broadcast. Start with cursor 0; false at the end.
  virtual bool next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept;
  // For PROG_ARRAY: the program at `index`, or null.
  virtual const ProgramEntry* find_program(std::uint32_t index) noexcept;
  // For types with kMapDirectValue: the address of byte `offset` of the first value, or null when out of range.
  virtual void* direct_value(std::uint32_t offset) noexcept;

  // --- user side
  // BPF_MAP_LOOKUP_ELEM. REQUIRES: out.size() == user_value_bytes(). 0 or -errno.
  virtual int copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t flags) noexcept = 0;
  // BPF_MAP_UPDATE_ELEM. REQUIRES: value.size() == user_value_bytes(). -EPERM when frozen.
  int user_update(const void* key, std::span<const std::uint8_t> value, std::uint64_t flags) noexcept;
  int user_erase(const void* key) noexcept;
  // BPF_MAP_GET_NEXT_KEY: null or an unknown key gives the first. -ENOENT after the last.
  virtual int next_key(const void* key, void* next) noexcept = 0;

 protected:
  Map(MapSpec spec, MapOptions options) : spec_(std::move(spec)), options_(options) {}
  // The type's own part of user_update; the default is update() on CPU 0, right for maps without per-CPU values.
  virtual int update_from_user(const void* key, std::span<const std::uint8_t> value, std::uint64_t flags) noexcept;
  virtual int erase_from_user(const void* key) noexcept { return erase(key); }

 private:
  MapSpec spec_;
  MapOptions options_;
  std::uint32_t id_ = 0;
  bool is_frozen_ = false;
};

// Makes a map of any type of map_types.def.
// Errors carry the errno that BPF_MAP_CREATE would give (EINVAL, E2BIG, ENOMEM, EPERM) and say which field is wrong.
Result<std::unique_ptr<Map>> create_map(const MapSpec& spec, const MapOptions& options, MapHost& host);

// The rows of map_types.def, sorted by type, for Environment::map_types.
std::span<const struct MapTypeInfo> map_type_infos();

}  // namespace lmn
