// SPDX-License-Identifier: Apache-2.0
//
// Which helpers take which types of map. Internal to the verifier.
//
// Both sides restrict: a PROG_ARRAY goes to nothing but bpf_tail_call, and bpf_tail_call takes
// nothing else; a HASH goes wherever the helper does not object.
// Threads: pure functions. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_map_func_compatibility).
#pragma once

#include <cstdint>

namespace lmn {

bool helper_takes_map(std::uint32_t helper, std::uint32_t map_type);

// Helpers that change a map's contents: refused for maps that programs may only read.
bool helper_writes_map(std::uint32_t helper);

// Types whose entries bpf_for_each_map_elem can walk.
bool is_walkable(std::uint32_t map_type);

}  // namespace lmn
