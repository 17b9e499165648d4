// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of dynptrs: of packets, slices, adjusting, copying.
//
// A packet here is one stretch of memory, so a slice of it is always a pointer into the packet and
// the program's buffer is never used; with more than one stretch it would be, as in the kernel.
// Tested by kfuncs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_dynptr_*), net/core/filter.c (bpf_dynptr_from_xdp).
#include "packet/dynptr.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "kfuncs/bodies.h"

namespace lmn {
namespace {

// Where [at, at + length) lies, or null.
std::uint8_t* slice(const Dynptr& dynptr, std::uint32_t at, std::uint32_t length) {
  if (dynptr.is_null() || !dynptr.covers(at, length)) return nullptr;
  return dynptr.bytes(at, length);
}

std::uint8_t* writable_slice(const Dynptr& dynptr, std::uint32_t at, std::uint32_t length) {
  return dynptr.is_read_only() ? nullptr : slice(dynptr, at, length);
}

std::uint64_t address_of(const std::uint8_t* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

// What Linux says of `address`, where not all could be read: user space's half of the addresses is
// out of range, the kernel's may end somewhere. 0: the address itself is one of those.
int range_error(const RunContext& context, std::uint64_t address) {
  constexpr std::uint64_t kKernelHalf = 0xffff'8000'0000'0000;
  std::uint8_t first;
  const bool is_in_range =
      address >= kKernelHalf || kfunc::read_guest_all(context, address, {&first, 1});
  return is_in_range ? 0 : ERANGE;
}

std::uint64_t read_failure(const RunContext& context, std::uint64_t address) {
  const int error = range_error(context, address);
  return kfunc::failure(error != 0 ? error : EFAULT);
}

// The program's memory from `address` on into the dynptr, all of it or nothing. The address is
// judged even when nothing is to be read.
std::uint64_t copy_from_guest(const RunContext& context, const Dynptr& dynptr, std::uint32_t at,
                              std::uint32_t length, std::uint64_t address) {
  std::uint8_t* to = writable_slice(dynptr, at, length);
  if (to == nullptr) return kfunc::failure(dynptr.covers(at, length) ? EINVAL : E2BIG);
  if (length == 0) return kfunc::failure(range_error(context, address));
  if (kfunc::read_guest_all(context, address, {to, length})) return 0;
  return read_failure(context, address);
}

}  // namespace

LMN_KFUNC_BODY(bpf_dynptr_from_xdp) {
  Dynptr& dynptr = dynptr_at(r3);
  dynptr = {};
  if (r2 != 0) return kfunc::failure(EINVAL);
  const XdpBuff& buff = *context->buff;
  const auto length = static_cast<std::uint32_t>(buff.data_end - buff.data);
  dynptr = Dynptr::make(reinterpret_cast<std::uintptr_t>(&buff), length, Dynptr::kTypeXdp);
  return 0;
}

LMN_KFUNC_BODY(bpf_dynptr_slice) {
  return address_of(slice(dynptr_at(r1), kfunc::as_u32(r2), kfunc::as_u32(r4)));
}

LMN_KFUNC_BODY(bpf_dynptr_slice_rdwr) {
  return address_of(writable_slice(dynptr_at(r1), kfunc::as_u32(r2), kfunc::as_u32(r4)));
}

LMN_KFUNC_BODY(bpf_dynptr_adjust) {
  Dynptr& dynptr = dynptr_at(r1);
  const std::uint32_t start = kfunc::as_u32(r2);
  const std::uint32_t end = kfunc::as_u32(r3);
  if (dynptr.is_null() || start > end) return kfunc::failure(EINVAL);
  if (end > dynptr.size()) return kfunc::failure(ERANGE);
  dynptr.offset += start;
  dynptr.set_size(end - start);
  return 0;
}

LMN_KFUNC_BODY(bpf_dynptr_is_null) { return dynptr_at(r1).is_null() ? 1 : 0; }

LMN_KFUNC_BODY(bpf_dynptr_is_rdonly) {
  const Dynptr& dynptr = dynptr_at(r1);
  return !dynptr.is_null() && dynptr.is_read_only() ? 1 : 0;
}

LMN_KFUNC_BODY(bpf_dynptr_size) {
  const Dynptr& dynptr = dynptr_at(r1);
  return dynptr.is_null() ? kfunc::failure(EINVAL) : dynptr.size();
}

LMN_KFUNC_BODY(bpf_dynptr_clone) {
  const Dynptr from = dynptr_at(r1);
  dynptr_at(r2) = from.is_null() ? Dynptr{} : from;
  return from.is_null() ? kfunc::failure(EINVAL) : 0;
}

LMN_KFUNC_BODY(bpf_dynptr_copy) {
  const Dynptr& to = dynptr_at(r1);
  const std::uint32_t to_offset = kfunc::as_u32(r2);
  const Dynptr& from = dynptr_at(r3);
  const std::uint32_t from_offset = kfunc::as_u32(r4);
  const std::uint32_t length = kfunc::as_u32(r5);
  // One side that can be reached decides by which function the kernel does it, and so the errno.
  if (const std::uint8_t* source = slice(from, from_offset, length); source != nullptr) {
    return kfunc::result(to.write(to_offset, source, length));
  }
  if (std::uint8_t* target = writable_slice(to, to_offset, length); target != nullptr) {
    return kfunc::result(from.read(target, from_offset, length));
  }
  if (!to.covers(to_offset, length) || !from.covers(from_offset, length)) {
    return kfunc::failure(E2BIG);
  }
  return length == 0 ? 0 : kfunc::failure(EINVAL);
}

LMN_KFUNC_BODY(bpf_dynptr_memset) {
  const Dynptr& dynptr = dynptr_at(r1);
  const std::uint32_t at = kfunc::as_u32(r2);
  const std::uint32_t length = kfunc::as_u32(r3);
  if (dynptr.is_read_only()) return kfunc::failure(EINVAL);
  if (!dynptr.covers(at, length)) return kfunc::failure(E2BIG);
  if (length == 0) return 0;
  std::uint8_t* to = writable_slice(dynptr, at, length);
  if (to == nullptr) return kfunc::failure(EINVAL);
  std::memset(to, static_cast<std::uint8_t>(r4), length);
  return 0;
}

LMN_KFUNC_BODY(bpf_probe_read_kernel_dynptr) {
  return copy_from_guest(*context, dynptr_at(r1), kfunc::as_u32(r2), kfunc::as_u32(r3), r4);
}

// The string with its zero, cut to `size`; its length counts the zero.
LMN_KFUNC_BODY(bpf_probe_read_kernel_str_dynptr) {
  constexpr std::uint32_t kChunkBytes = 64;
  const Dynptr& dynptr = dynptr_at(r1);
  const std::uint32_t at = kfunc::as_u32(r2);
  const std::uint32_t length = kfunc::as_u32(r3);
  std::uint8_t* to = writable_slice(dynptr, at, length);
  if (to == nullptr) return kfunc::failure(dynptr.covers(at, length) ? EINVAL : E2BIG);
  if (length == 0) return 0;
  if (const int error = range_error(*context, r4); error != 0) return kfunc::failure(error);
  // What lies behind the string's end stays as it is.
  for (std::uint32_t done = 0; done < length;) {
    std::uint8_t chunk[kChunkBytes];
    const std::uint32_t wanted = std::min(kChunkBytes, length - done);
    const auto readable =
        static_cast<std::uint32_t>(kfunc::read_guest(*context, r4 + done, {chunk, wanted}));
    const auto* end = static_cast<const std::uint8_t*>(std::memchr(chunk, 0, readable));
    const std::uint32_t count =
        end == nullptr ? readable : static_cast<std::uint32_t>(end - chunk) + 1;
    std::memcpy(to + done, chunk, count);
    done += count;
    if (end != nullptr) return done;
    if (readable == wanted) continue;
    to[0] = 0;
    return kfunc::failure(EFAULT);
  }
  to[length - 1] = 0;
  return length;
}

// There is no user memory.
LMN_KFUNC_BODY(bpf_probe_read_user_dynptr) {
  const Dynptr& dynptr = dynptr_at(r1);
  const std::uint32_t length = kfunc::as_u32(r3);
  if (!dynptr.covers(kfunc::as_u32(r2), length)) return kfunc::failure(E2BIG);
  return length == 0 ? 0 : kfunc::failure(EFAULT);
}

LMN_KFUNC_BODY(bpf_probe_read_user_str_dynptr) {
  return kfunc_bpf_probe_read_user_dynptr(r1, r2, r3, r4, r5, context);
}

}  // namespace lmn
