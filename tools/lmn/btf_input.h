// SPDX-License-Identifier: Apache-2.0
//
// BTF named on a command line: the .BTF section of an object, or a file of raw BTF such as
// /sys/kernel/btf/vmlinux. The types are as they stand in the file; what a loader would fill in
// (the offsets of a DATASEC) is not filled in.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "btf/btf.h"

namespace lmn {

// `base_path`: the BTF that a split one goes on from; empty: that of the kernel for the modules in
// /sys/kernel/btf, else none. Errors begin with the path.
Result<std::shared_ptr<const Btf>> load_btf_file(const std::string& path,
                                                 const std::string& base_path = {});

}  // namespace lmn
