// SPDX-License-Identifier: Apache-2.0
//
// CPUMAP. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/cpumap.c.
#include "maps/cpumap.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "abi/limits.h"
#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {

static_assert(sizeof(bpf_cpumap_val) == sizeof(std::uint64_t), "a slot's value is one word");

Result<std::unique_ptr<Map>> create_cpumap(const MapSpec& spec, const MapOptions& options,
                                           MapHost& host) {
  return Cpumap::create(spec, options, host);
}

Result<std::unique_ptr<Map>> Cpumap::create(const MapSpec& spec, const MapOptions& options,
                                            MapHost& host) {
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if (spec.key_size != 4) {
    return map_error(spec, EINVAL, fmt::format("key_size is {}: an index has 4", spec.key_size));
  }
  if (spec.value_size != 4 && spec.value_size != 8) {
    return map_error(spec, EINVAL,
                     fmt::format("value_size is {}: 4 (queue size) or 8 (queue size, program)",
                                 spec.value_size));
  }
  if ((spec.map_flags & ~std::uint32_t{BPF_F_NUMA_NODE}) != 0) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for cpumaps", spec.map_flags));
  }
  if (spec.max_entries > limits::kCpuCountMax) {
    return map_error(
        spec, E2BIG,
        fmt::format("max_entries is {}: at most {} CPUs", spec.max_entries, limits::kCpuCountMax));
  }
  auto memory = MapMemory::create(std::uint64_t{spec.max_entries} * sizeof(Slot));
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new Cpumap(spec, options, host, std::move(*memory)));
}

Cpumap::~Cpumap() {
  for (std::uint32_t cpu = 0; cpu < spec().max_entries; ++cpu) replace(cpu, {});
}

void* Cpumap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int Cpumap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int Cpumap::erase(const void*) noexcept { return -EOPNOTSUPP; }

bool Cpumap::find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept {
  if (key >= spec().max_entries) return false;
  const SpinGuard guard(lock_);
  const Slot& found = slot(static_cast<std::uint32_t>(key));
  if (found.sink == nullptr) return false;
  target = {.sink = found.sink};
  return true;
}

int Cpumap::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const std::uint32_t cpu = load_key32(key);
  if (cpu >= spec().max_entries) return -ENOENT;
  const SpinGuard guard(lock_);
  const Slot& found = slot(cpu);
  if (found.sink == nullptr) return -ENOENT;
  std::memcpy(out.data(), &found.value, spec().value_size);
  return 0;
}

int Cpumap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

int Cpumap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                             std::uint64_t flags) noexcept {
  const std::uint32_t cpu = load_key32(key);
  bpf_cpumap_val given = {};
  std::memcpy(&given, value.data(), value.size());
  if (flags > BPF_EXIST) return -EINVAL;
  if (cpu >= spec().max_entries) return -E2BIG;
  if (flags == BPF_NOEXIST) return -EEXIST;
  if (given.qsize > kQueueSizeMax) return -EOVERFLOW;
  if (cpu >= cpu_count()) return -ENODEV;
  Slot fresh = {};
  if (given.qsize != 0) {
    const int error = make_slot(cpu, given.qsize, given.bpf_prog.fd, fresh);
    if (error != 0) return error;
  }
  replace(cpu, fresh);
  return 0;
}

// Takes references to the program and the queue: 0, -ENOMEM for an unfit program (the kernel's
// answer for whatever keeps it from making an entry), or what the host says when it has no queue.
int Cpumap::make_slot(std::uint32_t cpu, std::uint32_t queue_size, std::int32_t program_handle,
                      Slot& fresh) noexcept {
  bpf_cpumap_val shown = {.qsize = queue_size, .bpf_prog = {.id = 0}};
  const ProgramEntry* program = nullptr;
  if (program_handle > 0) {
    program = host_.acquire_program(static_cast<std::uint32_t>(program_handle));
    if (program == nullptr) return -ENOMEM;
    const bool fits =
        program->type == BPF_PROG_TYPE_XDP && program->expected_attach_type == BPF_XDP_CPUMAP;
    if (!fits || !owner_.accept(*program, false)) {
      host_.release_program(program);
      return -ENOMEM;
    }
    shown.bpf_prog.id = program->id;
  }
  fresh.sink = host_.acquire_cpu_queue(cpu, queue_size, program);
  if (fresh.sink == nullptr) {
    if (program != nullptr) host_.release_program(program);
    return host_.cpu_queue_error();
  }
  std::memcpy(&fresh.value, &shown, sizeof shown);
  return 0;
}

int Cpumap::erase_from_user(const void* key) noexcept {
  const std::uint32_t cpu = load_key32(key);
  if (cpu >= spec().max_entries) return -EINVAL;
  replace(cpu, {});
  return 0;
}

void Cpumap::replace(std::uint32_t cpu, const Slot& fresh) noexcept {
  Slot old = {};
  {
    const SpinGuard guard(lock_);
    old = slot(cpu);
    slot(cpu) = fresh;
  }
  if (old.sink != nullptr) host_.release_cpu_queue(old.sink);
}

}  // namespace lmn
