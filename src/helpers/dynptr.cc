// SPDX-License-Identifier: Apache-2.0
//
// Helpers of dynptrs: from_mem, read, write, data. What a dynptr is: helpers/dynptr.h.
//
// A failed from_mem leaves a null dynptr, on which every other call fails, so that a program need
// not look at its result.
// Source and destination may overlap: two dynptrs may share memory.
// Tested by tests/differential/dynptr_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_dynptr_*).
#include "helpers/dynptr.h"

#include <cerrno>
#include <cstring>

#include "helpers/bodies.h"

namespace lmn {
namespace {

using helper::Dynptr;

// Its 16 bytes lie on an 8-byte border of the stack: the verifier's doing.
Dynptr& dynptr_of(std::uint64_t address) { return *helper::as_pointer<Dynptr>(address); }

}  // namespace

LMN_HELPER_BODY(dynptr_from_mem) {
  Dynptr& dynptr = dynptr_of(r4);
  const std::uint32_t size = helper::as_u32(r2);
  dynptr = {};
  if (size > Dynptr::kSizeMax) return helper::failure(E2BIG);
  if (r3 != 0) return helper::failure(EINVAL);
  dynptr = Dynptr::of_memory(r1, size, Dynptr::kLocal);
  return 0;
}

LMN_HELPER_BODY(dynptr_read) {
  const Dynptr& dynptr = dynptr_of(r3);
  const std::uint32_t length = helper::as_u32(r2);
  const std::uint32_t at = helper::as_u32(r4);
  if (dynptr.address == 0 || r5 != 0) return helper::failure(EINVAL);
  if (!dynptr.covers(at, length)) return helper::failure(E2BIG);
  if (!dynptr.is_memory()) return helper::failure(EFAULT);
  if (length != 0) std::memmove(helper::as_pointer<void>(r1), dynptr.bytes(at), length);
  return 0;
}

LMN_HELPER_BODY(dynptr_write) {
  const Dynptr& dynptr = dynptr_of(r1);
  const std::uint32_t at = helper::as_u32(r2);
  const std::uint32_t length = helper::as_u32(r4);
  if (dynptr.address == 0 || dynptr.is_read_only()) return helper::failure(EINVAL);
  if (!dynptr.covers(at, length)) return helper::failure(E2BIG);
  if (!dynptr.is_memory()) return helper::failure(EFAULT);
  if (r5 != 0) return helper::failure(EINVAL);
  if (length != 0) std::memmove(dynptr.bytes(at), helper::as_pointer<const void>(r3), length);
  return 0;
}

LMN_HELPER_BODY(dynptr_data) {
  const Dynptr& dynptr = dynptr_of(r1);
  const std::uint32_t at = helper::as_u32(r2);
  const std::uint32_t length = helper::as_u32(r3);
  if (dynptr.address == 0 || !dynptr.covers(at, length)) return 0;
  if (dynptr.is_read_only() || !dynptr.is_memory()) return 0;
  return reinterpret_cast<std::uintptr_t>(dynptr.bytes(at));
}

}  // namespace lmn
