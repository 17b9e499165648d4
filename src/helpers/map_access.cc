// SPDX-License-Identifier: Apache-2.0
//
// Helpers of map access: lookup, update, delete, and push, pop, peek of the keyless types.
//
// Each passes on to the map, which knows its own flags and errno values; a program's view of a
// per-CPU map is the slot of the CPU it runs on. Only bpf_map_lookup_percpu_elem names another one.
// Tested by helpers_test.cc, and over all map types by tests/differential.
// Source: Linux 6.18, kernel/bpf/helpers.c.
#include "helpers/bodies.h"
#include "maps/map.h"

namespace lmn {
namespace {

Map& map_of(std::uint64_t r1) { return *helper::as_pointer<Map>(r1); }

std::uint64_t address_of(void* value) { return reinterpret_cast<std::uintptr_t>(value); }

}  // namespace

LMN_HELPER_BODY(map_lookup_elem) {
  return address_of(map_of(r1).lookup(helper::as_pointer<const void>(r2), context->cpu));
}

LMN_HELPER_BODY(map_update_elem) {
  return helper::result(map_of(r1).update(helper::as_pointer<const void>(r2),
                                          helper::as_pointer<const void>(r3), r4, context->cpu));
}

LMN_HELPER_BODY(map_delete_elem) {
  return helper::result(map_of(r1).erase(helper::as_pointer<const void>(r2)));
}

LMN_HELPER_BODY(map_push_elem) {
  return helper::result(map_of(r1).push(helper::as_pointer<const void>(r2), r3));
}

LMN_HELPER_BODY(map_pop_elem) {
  return helper::result(map_of(r1).pop(helper::as_pointer<void>(r2)));
}

LMN_HELPER_BODY(map_peek_elem) {
  return helper::result(map_of(r1).peek(helper::as_pointer<void>(r2)));
}

LMN_HELPER_BODY(map_lookup_percpu_elem) {
  Map& map = map_of(r1);
  const std::uint32_t cpu = helper::as_u32(r3);
  if (cpu >= map.cpu_count()) return 0;
  return address_of(map.lookup(helper::as_pointer<const void>(r2), cpu));
}

}  // namespace lmn
