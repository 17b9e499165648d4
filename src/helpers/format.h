// SPDX-License-Identifier: Apache-2.0
//
// The format language of bpf_trace_printk, bpf_trace_vprintk and bpf_snprintf: a small printf over
// 64-bit arguments. Internal to helpers.
//
//   format_text(context, "port %d of %pI4", args, out)
//
// A specifier is %[0 + - space]...[width] followed by one of
//   d i u x X, also with l or ll        without l only the low 32 bits count
//   c, s                                s and the pointer forms must end the word ("%sx" is an
//   error) p px pK ps pS pB                    p and pK print a digest of the address, px the
//   address, the
//                                       others a symbol, which here is the address in hex
//   pks pus                             strings of the kernel's and of user space's memory
//   pI4 pi4 pI6 pi6                     an address of 4 or 16 bytes in network order
// Anything else, more specifiers than arguments, and ASCII control characters are -EINVAL. Fewer
// specifiers than arguments is fine.
//
// As in the kernel, the arguments are first gathered into a scratch area of 512 bytes (numbers at
// their size, strings by value), which bounds what %s can print: no room at all is -ENOSPC, little
// room cuts the string. Strings and addresses are read through RunContext::read_guest; one that the
// program may not read prints as nothing, or as the address 0.
//
// Threads: pure. Tested by format_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_bprintf_prepare), lib/vsprintf.c (bstr_printf).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "packet/run_context.h"

namespace lmn::helper {

// Writes the text and a zero into `out`, cut to its size, and returns the length that the whole
// text would have, without the zero; or a negative errno. `format` has no zero.
std::int64_t format_text(const RunContext& context, std::string_view format,
                         std::span<const std::uint64_t> arguments, std::span<char> out) noexcept;

}  // namespace lmn::helper
