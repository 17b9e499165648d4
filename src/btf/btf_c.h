// SPDX-License-Identifier: Apache-2.0
//
// The types of a BTF graph as C declarations that compile, as `bpftool btf dump ... format c` (and
// so libbpf's btf_dump) writes them: what a vmlinux.h is made of.
//
//   typedef unsigned int __u32;
//
//   struct xdp_md {
//   	__u32 data; ...
//
// C wants a definition before its use by value and any declaration before its use by pointer, so
// definitions come in the order of btf_c_order.h and the writer puts forward declarations where
// that order leaves a name unknown. What C has no word for in BTF is made up again: padding that
// no member explains, and packed structs. Names that occur twice get a flavour:
// `struct foo___2`; members of enums and typedefs share one space of names, struct, union and enum
// tags another.
// Functions, variables and tags of declarations are not written; anonymous structs and enums stand
// where they are used, and an enum that nothing uses stands alone.
//
// As bpftool 7.1 we do not say how large an enum is: one of a byte gets the size of an int. And a
// type tag is always btf_type_tag, although newer compilers use its record for other attributes.
//
// A hostile graph may repeat one anonymous struct any number of times or nest without end; there
// are limits on the length of the text, on the depth and on the types met (abi/limits.h), each
// kLimitExceeded. A type that C cannot write (a struct without name that contains itself) is
// kMalformed with its number.
// Threads: pure functions. Tested by btf_text_test.cc and, against bpftool,
// tests/inspect/btf_dump_test.cc. Source: libbpf 1.1 as in bpftool 7.1 (Linux 6.1.y,
// tools/lib/bpf/btf_dump.c): what the text looks like.
#pragma once

#include <string>

#include "base/result.h"
#include "btf/btf.h"
#include "btf/btf_text.h"

namespace lmn {

// The declarations alone. Chosen types (options.ids) come with all that they need; without a choice
// all types are written, those of a split graph's base first.
Result<std::string> btf_c_text(const Btf& btf, const BtfTextOptions& options = {});

// The same as a header: include guard, and CO-RE asked for every record.
Result<std::string> btf_c_header(const Btf& btf, const BtfTextOptions& options = {});

}  // namespace lmn
