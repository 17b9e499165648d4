// SPDX-License-Identifier: Apache-2.0
//
// An object's BTF as the kernel takes it: what compilers write for kernel functions is refused.
//
// A kernel function is an external FUNC, its parameters have no names, and the section .ksyms lists
// it; loaders make it a global FUNC with named parameters and put variables into the section. The
// numbers of types stay.
// Threads: a pure function. Tested by its users: a kernel refuses what is wrong.
// Source: Linux 6.18, tools/lib/bpf/libbpf.c (bpf_object__collect_externs).
#pragma once

#include <cstdint>
#include <vector>

#include "btf/btf.h"

namespace lmn {

std::vector<std::uint8_t> loadable_btf(const Btf& btf);

}  // namespace lmn
