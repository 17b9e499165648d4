// SPDX-License-Identifier: Apache-2.0
//
// HelperProto: what a BPF helper promises and demands, as data.
//
// One row of helpers/helpers.def becomes one HelperProto. The verifier judges calls by it, and the
// checked interpreter checks the actual arguments by it, so that a helper's body may take its
// arguments as given. The words are the kernel's (enum bpf_arg_type and bpf_return_type of
// Linux 6.18, include/linux/bpf.h), without their ARG_/RET_ prefixes. Types only, no behaviour; the
// rows live in `helpers`.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lmn {

enum class ArgKind : std::uint8_t {
  kNone,                  // no such argument: the register is not looked at
  kAnything,              // any initialised register
  kConstMapPtr,           // a map
  kPtrToMapKey,           // readable memory of the map argument's key_size
  kPtrToMapValue,         // readable memory of the map argument's value_size
  kPtrToMem,              // memory; its size is the next argument, or fixed_size
  kConstSize,             // size of the memory argument before it, not 0
  kConstSizeOrZero,       // the same, 0 allowed
  kConstAllocSizeOrZero,  // known constant: size of the returned memory
  kPtrToCtx,              // the program's own context, unmodified
  kPtrToSpinLock,         // struct bpf_spin_lock in a map value or allocated object
  kPtrToTimer,            // struct bpf_timer in a map value
  kPtrToRingbufMem,       // memory from bpf_ringbuf_reserve
  kPtrToFunc,             // a callback: static function of the same program
  kPtrToStack,            // memory in the program's stack (callback context) or 0
  kPtrToConstStr,         // zero-terminated string in a frozen read-only map
  kPtrToDynptr,           // struct bpf_dynptr on the stack
  kPtrToSocket,           // struct bpf_sock, referenced
  kPtrToSockCommon,       // struct sock_common family
  kPtrToBtfId,            // kernel object of a BTF type
  kPtrToPercpuBtfId,      // per-CPU ksym
  kKptrXchgDest,          // kptr field in a map value or allocated object
};

enum class RetKind : std::uint8_t {
  kInteger,
  kVoid,
  kPtrToMapValue,   // in the map argument's value
  kPtrToMem,        // memory of the constant allocation size argument
  kPtrToDynptrMem,  // slice of a dynptr
  kPtrToSocket,
  kPtrToSockCommon,
  kPtrToTcpSock,
  kPtrToBtfId,
  kPtrToPercpuObject,
};

// Flags of an argument or of the return value.
enum : std::uint16_t {
  kArgMaybeNull = 1u << 0,  // PTR_MAYBE_NULL: may be 0 / must be checked for 0
  kArgUninit = 1u << 1,     // MEM_UNINIT: written by the helper, need not be initialised
  kArgWrite = 1u << 2,      // MEM_WRITE: written by the helper (also read)
  kArgRdonly = 1u << 3,     // MEM_RDONLY
  kArgRelease = 1u << 4,    // OBJ_RELEASE: the reference ends with this call
  kArgAligned = 1u << 5,    // MEM_ALIGNED
  kArgAcquire = 1u << 6,    // return value is a new reference
  kArgDynptrLocal = 1u << 7,
  kArgDynptrRingbuf = 1u << 8,
  kArgFixedSize = 1u << 9,  // MEM_FIXED_SIZE: HelperArg::fixed_size bytes
};

// Flags of a helper.
enum : std::uint16_t {
  kHelperGplOnly = 1u << 0,
  kHelperChangesPacket = 1u << 1,  // packet pointers are invalid afterwards
  kHelperPktAccess = 1u << 2,      // memory arguments may be packet memory
  kHelperCallsBack = 1u << 3,      // runs a callback of the program
  kHelperNoSpinLock =
      1u << 4,  // never while a spin lock is held (all but unlock; kept for readers)
};

struct HelperArg {
  ArgKind kind = ArgKind::kNone;
  std::uint16_t flags = 0;
  std::uint32_t fixed_size = 0;  // bytes, with kArgFixedSize
};

struct HelperProto {
  std::uint32_t id = 0;   // BPF_FUNC_*
  std::string_view name;  // kernel spelling: "bpf_map_lookup_elem"
  std::uint16_t flags = 0;
  RetKind ret = RetKind::kInteger;
  std::uint16_t ret_flags = 0;
  std::array<HelperArg, 5> args{};
  std::string_view since;  // first kernel with it: "3.18"
};

}  // namespace lmn
