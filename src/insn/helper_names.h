// SPDX-License-Identifier: Apache-2.0
//
// The names of BPF helpers, by number, as linux/bpf.h has them: for printing and parsing calls, and
// for naming a helper that an Environment does not offer. Which helpers a program may call is not
// known here. Threads: constants. Tested by disasm_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lmn {

// "bpf_map_lookup_elem" for 1; empty when no helper of the UAPI has the number.
std::string_view uapi_helper_name(std::int64_t id);
// 1 for "bpf_map_lookup_elem" and for "map_lookup_elem".
std::optional<std::uint32_t> uapi_helper_id(std::string_view name);

}  // namespace lmn
