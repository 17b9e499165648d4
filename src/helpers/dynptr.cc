// SPDX-License-Identifier: Apache-2.0
//
// Helpers of dynptrs: from_mem, read, write, data. What a dynptr is: packet/dynptr.h.
//
// A failed from_mem leaves a null dynptr, on which every other call fails, so that a program need
// not look at its result.
// Source and destination may overlap: two dynptrs may share memory.
// Tested by tests/differential/dynptr_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_dynptr_*).
#include "packet/dynptr.h"

#include <cerrno>

#include "helpers/bodies.h"

namespace lmn {

LMN_HELPER_BODY(dynptr_from_mem) {
  Dynptr& dynptr = dynptr_at(r4);
  const std::uint32_t size = helper::as_u32(r2);
  dynptr = {};
  if (size > Dynptr::kSizeMask) return helper::failure(E2BIG);
  if (r3 != 0) return helper::failure(EINVAL);
  dynptr = Dynptr::make(r1, size, Dynptr::kTypeLocal);
  return 0;
}

LMN_HELPER_BODY(dynptr_read) {
  const Dynptr& dynptr = dynptr_at(r3);
  const std::uint32_t length = helper::as_u32(r2);
  if (r5 != 0) return helper::failure(EINVAL);
  return helper::result(dynptr.read(helper::as_pointer<void>(r1), helper::as_u32(r4), length));
}

LMN_HELPER_BODY(dynptr_write) {
  const Dynptr& dynptr = dynptr_at(r1);
  const std::uint32_t at = helper::as_u32(r2);
  const std::uint32_t length = helper::as_u32(r4);
  if (dynptr.is_null() || dynptr.is_read_only()) return helper::failure(EINVAL);
  if (!dynptr.covers(at, length)) return helper::failure(E2BIG);
  if (r5 != 0) return helper::failure(EINVAL);
  return helper::result(dynptr.write(at, helper::as_pointer<const void>(r3), length));
}

LMN_HELPER_BODY(dynptr_data) {
  const Dynptr& dynptr = dynptr_at(r1);
  const std::uint32_t at = helper::as_u32(r2);
  const std::uint32_t length = helper::as_u32(r3);
  if (dynptr.is_null() || !dynptr.covers(at, length)) return 0;
  if (dynptr.is_read_only() || !dynptr.is_memory()) return 0;
  return reinterpret_cast<std::uintptr_t>(dynptr.bytes(at, length));
}

}  // namespace lmn
