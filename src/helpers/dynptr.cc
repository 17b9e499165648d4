// SPDX-License-Identifier: Apache-2.0
//
// Helpers of dynptrs: from_mem, read, write, data. A dynptr is a slice whose bounds are checked
// when it is used, not when the program is verified.
//
// It lives in 16 bytes of the program's stack that the program itself can neither read nor write.
// The layout is the kernel's, so that dumps of a stack mean the same: address, size with type and
// read-only bit above its 24 bits, offset. A failed from_mem leaves a null dynptr, on which every
// other call fails, so that a program need not look at its result.
// Source and destination may overlap: two dynptrs may share memory.
// Tested by tests/differential/dynptr_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_dynptr_*).
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "helpers/bodies.h"

namespace lmn {
namespace {

constexpr std::uint32_t kSizeMask = (1u << 24) - 1;
constexpr std::uint32_t kTypeShift = 28;
constexpr std::uint32_t kReadOnly = 1u << 31;
constexpr std::uint32_t kTypeLocal = 1;    // BPF_DYNPTR_TYPE_LOCAL
constexpr std::uint32_t kTypeRingbuf = 2;  // BPF_DYNPTR_TYPE_RINGBUF

struct Dynptr {
  std::uint64_t address = 0;  // 0: null
  std::uint32_t size_and_type = 0;
  std::uint32_t offset = 0;

  std::uint32_t size() const { return size_and_type & kSizeMask; }
  bool is_read_only() const { return (size_and_type & kReadOnly) != 0; }
  // Whether it is a slice of memory, rather than of a packet.
  bool is_memory() const {
    const std::uint32_t type = (size_and_type & ~kReadOnly) >> kTypeShift;
    return type == kTypeLocal || type == kTypeRingbuf;
  }
  bool covers(std::uint32_t at, std::uint32_t length) const {
    return length <= size() && at <= size() - length;
  }
  std::uint8_t* bytes(std::uint32_t at) const {
    return helper::as_pointer<std::uint8_t>(address) + offset + at;
  }
};
static_assert(sizeof(Dynptr) == sizeof(struct bpf_dynptr));

// The dynptr may lie unaligned in nothing: the verifier keeps it on an 8-byte border.
Dynptr& dynptr_of(std::uint64_t address) { return *helper::as_pointer<Dynptr>(address); }

}  // namespace

LMN_HELPER_BODY(dynptr_from_mem) {
  Dynptr& dynptr = dynptr_of(r4);
  const std::uint32_t size = helper::as_u32(r2);
  dynptr = {};
  if (size > kSizeMask) return helper::failure(E2BIG);
  if (r3 != 0) return helper::failure(EINVAL);
  dynptr.address = r1;
  dynptr.size_and_type = size | kTypeLocal << kTypeShift;
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
