// SPDX-License-Identifier: Apache-2.0
//
// DEVMAP. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c.
#include "maps/devmap.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {
namespace {

static_assert(sizeof(bpf_devmap_val) == sizeof(std::uint64_t), "a slot's value is one word");

std::uint32_t ifindex_of(std::uint64_t value) {
  bpf_devmap_val parts;
  std::memcpy(&parts, &value, sizeof parts);
  return parts.ifindex;
}

}  // namespace

MapSpec with_readonly_programs(MapSpec spec) {
  spec.map_flags |= BPF_F_RDONLY_PROG;
  return spec;
}

RedirectTarget devmap_target(const DevmapSlot& slot) noexcept {
  return {slot.sink, ifindex_of(slot.value), slot.program};
}

Result<std::unique_ptr<Map>> create_devmap(const MapSpec& spec, const MapOptions& options,
                                           MapHost& host) {
  return Devmap::create(spec, options, host);
}

Result<std::unique_ptr<Map>> Devmap::create(const MapSpec& spec, const MapOptions& options,
                                            MapHost& host) {
  LMN_CHECK_OK(check_devmap_spec(spec));
  auto memory = MapMemory::create(std::uint64_t{spec.max_entries} * sizeof(DevmapSlot));
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new Devmap(spec, options, host, std::move(*memory)));
}

Devmap::Devmap(const MapSpec& spec, const MapOptions& options, MapHost& host, MapMemory memory)
    : Map(with_readonly_programs(spec), options), host_(host), memory_(std::move(memory)) {}

Devmap::~Devmap() {
  for (std::uint32_t index = 0; occupied() > 0; ++index) replace(index, {});
}

int make_devmap_slot(MapHost& host, ProgramOwner& owner, std::span<const std::uint8_t> value,
                     DevmapSlot& slot) noexcept {
  bpf_devmap_val given = {};
  std::memcpy(&given, value.data(), value.size());
  slot = {};
  if (given.ifindex == 0) return given.bpf_prog.fd > 0 ? -EINVAL : 0;
  slot.sink = host.find_sink(given.ifindex);
  if (slot.sink == nullptr) return -EINVAL;
  bpf_devmap_val shown = {.ifindex = given.ifindex, .bpf_prog = {.id = 0}};
  if (given.bpf_prog.fd > 0) {
    slot.program = host.acquire_program(static_cast<std::uint32_t>(given.bpf_prog.fd));
    if (slot.program == nullptr) return -EINVAL;
    const bool fits = slot.program->type == BPF_PROG_TYPE_XDP &&
                      slot.program->expected_attach_type == BPF_XDP_DEVMAP;
    if (!fits || !owner.accept(*slot.program, false)) {
      host.release_program(slot.program);
      return -EINVAL;
    }
    shown.bpf_prog.id = slot.program->id;
  }
  std::memcpy(&slot.value, &shown, sizeof shown);
  return 0;
}

void* Devmap::lookup(const void* key, std::uint32_t) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return nullptr;
  const SpinGuard guard(lock_);
  DevmapSlot& found = slot(index);
  return found.sink == nullptr ? nullptr : &found.value;
}

int Devmap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int Devmap::erase(const void*) noexcept { return -EOPNOTSUPP; }

bool Devmap::find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept {
  if (key >= spec().max_entries) return false;
  const SpinGuard guard(lock_);
  const DevmapSlot& found = slot(static_cast<std::uint32_t>(key));
  if (found.sink == nullptr) return false;
  target = devmap_target(found);
  return true;
}

bool Devmap::next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept {
  while (cursor < spec().max_entries) {
    if (find_redirect_target(cursor++, target)) return true;
  }
  return false;
}

int Devmap::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -ENOENT;
  const SpinGuard guard(lock_);
  const DevmapSlot& found = slot(index);
  if (found.sink == nullptr) return -ENOENT;
  std::memcpy(out.data(), &found.value, spec().value_size);
  return 0;
}

int Devmap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

int Devmap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                             std::uint64_t flags) noexcept {
  const std::uint32_t index = load_key32(key);
  if (flags > BPF_EXIST) return -EINVAL;
  if (index >= spec().max_entries) return -E2BIG;
  if (flags == BPF_NOEXIST) return -EEXIST;
  // The port that is found stays until it is in the slot, where forget_sink finds it.
  const EpochScope scope(options().epoch);
  DevmapSlot fresh;
  const int error = make_devmap_slot(host_, owner_, value, fresh);
  if (error != 0) return error;
  replace(index, fresh);
  return 0;
}

int Devmap::erase_from_user(const void* key) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -EINVAL;
  replace(index, {});
  return 0;
}

void Devmap::forget_sink(const FrameSink& sink) noexcept {
  for (std::uint32_t index = 0; index < spec().max_entries && occupied() > 0; ++index) {
    remove_sink(index, sink);
  }
}

void Devmap::remove_sink(std::uint32_t index, const FrameSink& sink) noexcept {
  const ProgramEntry* old_program = nullptr;
  {
    const SpinGuard guard(lock_);
    if (slot(index).sink == &sink) old_program = put(index, {});
  }
  if (old_program != nullptr) host_.release_program(old_program);
}

void Devmap::replace(std::uint32_t index, const DevmapSlot& fresh) noexcept {
  const ProgramEntry* old_program = nullptr;
  {
    const SpinGuard guard(lock_);
    old_program = put(index, fresh);
  }
  if (old_program != nullptr) host_.release_program(old_program);
}

const ProgramEntry* Devmap::put(std::uint32_t index, const DevmapSlot& fresh) noexcept {
  DevmapSlot& target = slot(index);
  const ProgramEntry* old_program = target.program;
  if (target.sink != nullptr) --occupied_;
  if (fresh.sink != nullptr) ++occupied_;
  target.sink = fresh.sink;
  target.program = fresh.program;
  if (fresh.sink != nullptr) store_value(&target.value, &fresh.value, sizeof fresh.value);
  return old_program;
}

}  // namespace lmn
