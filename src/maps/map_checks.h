// SPDX-License-Identifier: Apache-2.0
//
// What the kernel checks before it makes a map, for the families of types that share the checks.
//
// Each check answers with the errno of Linux and a sentence that names the field. The order of the
// checks is the kernel's, since the first one that fails decides the errno.
// Tested by tests/contract/maps_contract_test.cc against the kernel.
// Source: Linux 6.18, kernel/bpf/syscall.c (map_create), arraymap.c, hashtab.c, devmap.c.
#pragma once

#include <cstdint>
#include <string>

#include "maps/map.h"

namespace lmn {

// An Error of the code that fits `errno_value`, with "map "name": " before the message.
std::unexpected<Error> map_error(const MapSpec& spec, int errno_value, const std::string& message);

// The checks that all types share. REQUIRES: nothing.
Result<void> check_common_spec(const MapSpec& spec, const MapOptions& options);
// array_map_alloc_check, of every map that is an array of 4-byte indices.
Result<void> check_array_spec(const MapSpec& spec);
// fd_array_map_alloc_check: arrays of programs, maps and events.
Result<void> check_handle_array_spec(const MapSpec& spec);
// htab_map_alloc_check and the size checks of htab_map_alloc.
Result<void> check_hash_spec(const MapSpec& spec);
// dev_map_alloc_check, of DEVMAP and DEVMAP_HASH.
Result<void> check_devmap_spec(const MapSpec& spec);

// BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other.
bool is_program_access_ok(std::uint32_t map_flags);

inline constexpr std::uint32_t kAccessFlags =
    (1u << 3) | (1u << 4) | (1u << 7) | (1u << 8);  // BPF_F_{RD,WR}ONLY and their _PROG forms

}  // namespace lmn
