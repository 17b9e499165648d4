// SPDX-License-Identifier: Apache-2.0
//
// Reading a whole file once, with a cap: objects, BTF, small captures. Files that are streamed
// (captures of any size) are the pcap port's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace lmn {

// The bytes of `path`, read once. Errors: kNotFound/kPermission/kIo from the system; kLimitExceeded
// when the file has more than `size_max` bytes; kInvalidArgument when it is a directory.
Result<std::vector<std::uint8_t>> read_file(const std::string& path, std::size_t size_max);

}  // namespace lmn
