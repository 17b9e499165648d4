// SPDX-License-Identifier: Apache-2.0
//
// What all map types share: the user side's rights and flags, defaults for operations that a type
// lacks, and the table of types. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/syscall.c (map_lookup_elem and its neighbours).
#include "maps/map.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>

#include "abi/limits.h"
#include "abi/map_type_info.h"
#include "base/assert.h"
#include "maps/deferred_calls.h"
#include "maps/map_btf.h"
#include "maps/map_checks.h"
#include "maps/map_memory.h"
#include "maps/value_lock.h"
#include "maps/write_scope.h"

namespace lmn {

#define LMN_MAP_TYPE(number, uapi, word, flags, factory)                               \
  Result<std::unique_ptr<Map>> factory(const MapSpec& spec, const MapOptions& options, \
                                       MapHost& host);                                 \
  static_assert((number) == BPF_MAP_TYPE_##uapi, "map_types.def: the number is the UAPI's");
#include "maps/map_types.def"
#undef LMN_MAP_TYPE

namespace {

constexpr MapTypeInfo kTypes[] = {
#define LMN_MAP_TYPE(number, uapi, word, flags, factory) {number, word, flags},
#include "maps/map_types.def"
#undef LMN_MAP_TYPE
};

constexpr bool is_sorted_and_unique() {
  for (std::size_t i = 1; i < std::size(kTypes); ++i) {
    if (kTypes[i - 1].type >= kTypes[i].type) return false;
    for (std::size_t j = 0; j < i; ++j) {
      if (kTypes[j].name == kTypes[i].name) return false;
    }
  }
  return true;
}
static_assert(is_sorted_and_unique(), "map_types.def: rows are sorted by number, words unique");

using Factory = Result<std::unique_ptr<Map>> (*)(const MapSpec&, const MapOptions&, MapHost&);

// By position in kTypes.
constexpr Factory kFactories[] = {
#define LMN_MAP_TYPE(number, uapi, word, flags, factory) factory,
#include "maps/map_types.def"
#undef LMN_MAP_TYPE
};

Factory find_factory(std::uint32_t type) {
  for (std::size_t i = 0; i < std::size(kTypes); ++i) {
    if (kTypes[i].type == type) return kFactories[i];
  }
  return nullptr;
}

// The types of Linux that LMN has not, and why an XDP program does not miss them.
struct MissingType {
  std::uint32_t type;
  const char* name;
  const char* reason;
};
constexpr const char* kOfTasks = "its values belong to a task, and a packet has none";
constexpr const char* kOfCgroups = "its values belong to a cgroup, and a packet has none";
constexpr const char* kOfSockets = "it holds sockets of the kernel's stack";
constexpr MissingType kMissingTypes[] = {
    {BPF_MAP_TYPE_STACK_TRACE, "stack_trace", "there are no stacks of the kernel to walk"},
    {BPF_MAP_TYPE_CGROUP_ARRAY, "cgroup_array", kOfCgroups},
    {BPF_MAP_TYPE_SOCKMAP, "sockmap", kOfSockets},
    {BPF_MAP_TYPE_SOCKHASH, "sockhash", kOfSockets},
    {BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED, "cgroup_storage", kOfCgroups},
    {BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "reuseport_sockarray", kOfSockets},
    {BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED, "percpu_cgroup_storage", kOfCgroups},
    {BPF_MAP_TYPE_SK_STORAGE, "sk_storage", kOfSockets},
    {BPF_MAP_TYPE_STRUCT_OPS, "struct_ops", "it puts programs in the place of kernel functions"},
    {BPF_MAP_TYPE_INODE_STORAGE, "inode_storage", "its values belong to a file"},
    {BPF_MAP_TYPE_TASK_STORAGE, "task_storage", kOfTasks},
    {BPF_MAP_TYPE_CGRP_STORAGE, "cgrp_storage", kOfCgroups},
};

std::string describe_missing_type(std::uint32_t type) {
  for (const MissingType& missing : kMissingTypes) {
    if (missing.type != type) continue;
    return fmt::format("map type {} ({}) is not there: {}", missing.name, type, missing.reason);
  }
  return fmt::format("map type {} is not there", type);
}

}  // namespace

int MapHost::program_error(std::uint32_t) noexcept { return -EBADF; }
Map* MapHost::acquire_map(std::uint32_t) noexcept { return nullptr; }
int MapHost::map_error(std::uint32_t) noexcept { return -EBADF; }
void MapHost::release_map(Map*) noexcept {}
FrameSink* MapHost::acquire_cpu_queue(std::uint32_t, std::uint32_t, const ProgramEntry*) noexcept {
  return nullptr;
}
int MapHost::cpu_queue_error() noexcept { return -EOPNOTSUPP; }
void MapHost::release_cpu_queue(FrameSink*) noexcept {}
FrameSink* MapHost::acquire_socket(std::uint32_t) noexcept { return nullptr; }
int MapHost::socket_error(std::uint32_t) noexcept { return -EBADF; }
void MapHost::release_socket(FrameSink*) noexcept {}
PerfRing* MapHost::acquire_event(std::uint32_t) noexcept { return nullptr; }
void MapHost::release_event(PerfRing*) noexcept {}

std::span<const MapTypeInfo> map_type_infos() { return kTypes; }

const MapTypeInfo* find_map_type_info(std::uint32_t type) {
  for (const MapTypeInfo& info : kTypes) {
    if (info.type == type) return &info;
  }
  return nullptr;
}

Result<std::unique_ptr<Map>> create_map(const MapSpec& spec, const MapOptions& options,
                                        MapHost& host) {
  LMN_ASSERT(options.cpu_count > 0);
  LMN_ASSERT(options.cpu_count <= limits::kCpuCountMax);
  LMN_CHECK_OK(check_common_spec(spec, options));
  const Factory factory = find_factory(spec.type);
  if (factory == nullptr) {
    Error error = map_error(spec, EINVAL, describe_missing_type(spec.type)).error();
    error.code = ErrorCode::kNotSupported;
    return make_error(std::move(error));
  }
  LMN_TRY(std::unique_ptr<Map> map, factory(spec, options, host));
  LMN_TRY(MapFields fields, check_map_btf(spec));
  if (!fields.fields.empty()) {
    map->fields_ = std::make_unique<const ValueFields>(std::move(fields), spec.value_size);
  }
  if (!spec.contents.empty()) {
    if (const int error = map->fill(spec.contents); error != 0) {
      return map_error(spec, -error,
                       fmt::format("{} bytes of contents for a value of {}", spec.contents.size(),
                                   map->user_value_bytes()));
    }
  }
  if (spec.is_frozen_at_load) map->is_frozen_.store(true, std::memory_order_release);
  return map;
}

Map::~Map() {
  if (fields_ != nullptr && options_.owners.deferred != nullptr) {
    options_.owners.deferred->forget_map(*this);
  }
}

void Map::drop_user_references() noexcept {
  has_user_references_.store(false, std::memory_order_release);
  if (fields_ == nullptr || options_.owners.deferred == nullptr) return;
  options_.owners.deferred->forget_map(*this);
}

void Map::forget_sink(const FrameSink&) noexcept {}
const void* Map::key_of(const void*, std::uint32_t&) const noexcept { return nullptr; }

int Map::put_locked(void* value, const void* from) const noexcept {
  std::uint32_t& word = *fields_->lock_of(value);
  if (!take_value_lock(word)) return -EBUSY;
  fields_->copy_in(value, from);
  open_value_lock(word);
  return 0;
}

int Map::get_locked(void* to, void* value) const noexcept {
  std::uint32_t& word = *fields_->lock_of(value);
  if (!take_value_lock(word)) return -EBUSY;
  fields_->copy_out(to, value);
  open_value_lock(word);
  return 0;
}

std::size_t Map::user_value_bytes() const {
  const MapTypeInfo* info = find_map_type_info(spec_.type);
  if (info == nullptr || (info->flags & kMapPerCpu) == 0) return spec_.value_size;
  return static_cast<std::size_t>(round_up_to_8(spec_.value_size)) * options_.cpu_count;
}

bool Map::may_read(MapAccess access) const noexcept {
  if (access == MapAccess::kCreator) return (spec_.map_flags & BPF_F_WRONLY) == 0;
  return access != MapAccess::kWrite;
}

bool Map::may_write(MapAccess access) const noexcept {
  if (is_frozen()) return false;
  if (access == MapAccess::kCreator) return (spec_.map_flags & BPF_F_RDONLY) == 0;
  return access != MapAccess::kRead;
}

int Map::freeze(MapAccess access) noexcept {
  if (fields_ != nullptr) return -kErrnoNotSupp;
  if (!may_write(access)) return -EPERM;
  if (writers_.load(std::memory_order_seq_cst) != 0) return -EBUSY;
  // As in the kernel, a write that began between the line above and the next still lands.
  return is_frozen_.exchange(true, std::memory_order_seq_cst) ? -EBUSY : 0;
}

int Map::user_lookup(const void* key, std::span<std::uint8_t> out, std::uint64_t flags,
                     MapAccess access) noexcept {
  if ((flags & ~std::uint64_t{BPF_F_LOCK}) != 0) return -EINVAL;
  if (!may_read(access)) return -EPERM;
  if ((flags & BPF_F_LOCK) != 0 && !has_value_lock()) return -EINVAL;
  return copy_value(key, out, flags);
}

int Map::user_update(const void* key, std::span<const std::uint8_t> value, std::uint64_t flags,
                     MapAccess access) noexcept {
  const WriteScope scope(writers_);
  if (!may_write(access)) return -EPERM;
  if ((flags & BPF_F_LOCK) != 0 && !has_value_lock()) return -EINVAL;
  return update_from_user(key, value, flags);
}

int Map::user_erase(const void* key, MapAccess access) noexcept {
  const WriteScope scope(writers_);
  if (!may_write(access)) return -EPERM;
  return erase_from_user(key);
}

int Map::user_next_key(const void* key, void* next, MapAccess access) noexcept {
  if (!may_read(access)) return -EPERM;
  return next_key(key, next);
}

int Map::user_lookup_and_erase(const void* key, std::span<std::uint8_t> out, std::uint64_t flags,
                               MapAccess access) noexcept {
  if ((flags & ~std::uint64_t{BPF_F_LOCK}) != 0) return -EINVAL;
  const WriteScope scope(writers_);
  if (!may_read(access)) return -EPERM;
  if (!may_write(access)) return -EPERM;
  if ((flags & BPF_F_LOCK) != 0 && !has_value_lock()) return -EINVAL;
  return lookup_and_erase_from_user(key, out, flags);
}

int Map::push(const void*, std::uint64_t) noexcept { return -EOPNOTSUPP; }
int Map::pop(void*) noexcept { return -EOPNOTSUPP; }
int Map::peek(void*) noexcept { return -EOPNOTSUPP; }
bool Map::find_redirect_target(std::uint64_t, RedirectTarget&) noexcept { return false; }
bool Map::next_redirect_target(std::uint64_t&, RedirectTarget&) noexcept { return false; }
bool Map::next_element(MapWalk&, std::uint32_t) noexcept { return false; }
const ProgramEntry* Map::find_program(std::uint32_t) noexcept { return nullptr; }
void* Map::direct_value(std::uint32_t) noexcept { return nullptr; }
bool Map::accept_program(const ProgramEntry&) noexcept { return true; }

int Map::fill(std::span<const std::uint8_t> contents) noexcept {
  if (contents.size() != user_value_bytes() || spec_.key_size != 4) return -EINVAL;
  const std::uint32_t first = 0;
  return update_from_user(&first, contents, BPF_ANY);
}

int Map::update_from_user(const void* key, std::span<const std::uint8_t> value,
                          std::uint64_t flags) noexcept {
  return update(key, value.data(), flags, 0);
}

int Map::lookup_and_erase_from_user(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -kErrnoNotSupp;
}

}  // namespace lmn
