// SPDX-License-Identifier: Apache-2.0
//
// The second opinion on reading objects: what libbpf makes of the same bytes.
//
// The executable that links this file answers libbpf's bpf(2) calls itself: every map is "created",
// every program "loaded", with the file descriptor of a memfd. So libbpf does all of its work on an
// object, relocations and CO-RE included, without root and without the kernel having a say, and its
// finished instructions can be compared with ours. Questions about BTF of kernel modules are passed
// on to the kernel. Threads: one; the answers are per process.
#pragma once

#include <string>
#include <vector>

#include "spec/object_spec.h"

namespace lmn::testing {

struct OracleResult {
  bool was_opened = false;   // libbpf could open the object
  bool was_loaded = false;   // ... and relocate all of it
  std::size_t programs = 0;  // compared
  std::size_t instructions = 0;
  std::size_t maps = 0;
  std::vector<std::string> differences;
  std::string log;  // libbpf's complaints
};

// Compares names, sections, types, instructions (references by name) and maps. `btf_path`: the
// target of CO-RE, empty: the running kernel's.
OracleResult compare_with_libbpf(const std::string& path, const ObjectSpec& object,
                                 const std::string& btf_path = {});

}  // namespace lmn::testing
