// SPDX-License-Identifier: Apache-2.0
//
// BtfExt: the records of a .BTF.ext section as values: which function, which source line and which
// CO-RE relocation stands at which instruction.
//
// Records are grouped by ELF section; an offset is in bytes from the start of that section. Names
// are views into the Btf the records were parsed against, which therefore must live as long.
//
// Invariants: (1) names and strings lie in the Btf; (2) type ids exist in it; (3) offsets are
// multiples of 8. Whether an offset lies in a program is the object reader's business. Threads: a
// plain value. Tested by btf_test.cc and fuzz/object_fuzz.cc. Source: Linux 6.18,
// Documentation/bpf/btf.rst, include/uapi/linux/bpf.h (struct bpf_core_relo).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"
#include "btf/btf.h"

namespace lmn {

struct BtfFuncRecord {
  std::uint32_t offset = 0;  // bytes in the section
  std::uint32_t type_id = 0;
};

struct BtfLineRecord {
  std::uint32_t offset = 0;
  std::string_view file;
  std::string_view text;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

struct BtfCoreRecord {
  std::uint32_t offset = 0;
  std::uint32_t type_id = 0;
  std::string_view access;  // "0:1:2"
  std::uint32_t kind = 0;   // enum bpf_core_relo_kind; not checked here
};

template <typename Record>
struct BtfExtSection {
  std::string_view name;
  std::vector<Record> records;
};

struct BtfExt {
  std::vector<BtfExtSection<BtfFuncRecord>> functions;
  std::vector<BtfExtSection<BtfLineRecord>> lines;
  std::vector<BtfExtSection<BtfCoreRecord>> core;
};

Result<BtfExt> parse_btf_ext(ByteSpan bytes, const Btf& btf);

}  // namespace lmn
