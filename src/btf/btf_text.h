// SPDX-License-Identifier: Apache-2.0
//
// The records of a BTF graph as text, one after the other, as `bpftool btf dump ... format raw`
// prints them, and the same as JSON; so that a listing of ours and one of bpftool's can be laid
// side by side.
//
//   [2] STRUCT 'xdp_md' size=24 vlen=6
//   	'data' type_id=3 bits_offset=0
//
// Of a split graph only its own types are listed, not those of its base; as C both are written.
// The length of a text is not bounded by the bytes it is made from, because many records may share
// one long name; so every maker of text has a limit and gives kLimitExceeded past it.
// Threads: pure functions. Tested by btf_text_test.cc and, against bpftool,
// tests/inspect/btf_dump_test.cc. Source: bpftool 7.1 (Linux 6.1, tools/bpf/bpftool/btf.c).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "abi/limits.h"
#include "base/json_writer.h"
#include "base/result.h"
#include "btf/btf.h"

namespace lmn {

struct BtfTextOptions {
  std::span<const std::uint32_t> ids = {};  // these types; none: all
  std::size_t bytes_max = limits::kBtfTextBytesMax;
};

// Errors: kNotFound for an id that is not there (0, void, has no record), kLimitExceeded.
Result<std::string> btf_raw_text(const Btf& btf, const BtfTextOptions& options = {});
// Appends {"types":[...]}; after an error the writer is of no further use.
Result<void> write_btf_json(JsonWriter& json, const Btf& btf, const BtfTextOptions& options = {});

// The ids of `options`, checked; when there are none, all from `first` on.
Result<std::vector<std::uint32_t>> chosen_btf_ids(const Btf& btf, const BtfTextOptions& options,
                                                  std::uint32_t first);

}  // namespace lmn
