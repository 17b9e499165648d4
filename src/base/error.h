// SPDX-License-Identifier: Apache-2.0
//
// Error: why an operation failed, as a value.
//
// An operating error (bad input, missing right, system call that failed) is returned, never thrown
// and never only logged. It has a code (error_codes.def), a message for a person in the form
// "thing: what is wrong, both numbers", where it is, what mends it, and, where the kernel would
// answer with an errno, that errno. A programmer's error is not an Error but an LMN_ASSERT.
//
//   return make_error(ErrorCode::kMalformed, "section 'maps': entry of 24 bytes: not a known
//   layout");
//
// Threads: a plain value; copy it freely.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace lmn {

enum class ErrorCode : std::uint8_t {
#define LMN_ERROR_CODE(name, words, remedy) name,
#include "base/error_codes.def"
#undef LMN_ERROR_CODE
};

// The words of error_codes.def ("malformed input").
std::string_view error_code_words(ErrorCode code);
// The name without its k, in snake case ("malformed"): the form JSON output uses.
std::string_view error_code_name(ErrorCode code);
// The general advice of error_codes.def; Error::remedy is the particular one.
std::string_view error_code_remedy(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // lower case, no final dot
  std::string
      location;  // "file.o: section 'xdp', offset 24", "fw.c:33"; empty when the message says it
  std::string remedy;   // what to change; empty when the message makes it plain
  int errno_value = 0;  // positive errno the kernel would give, or 0

  // "location: message (remedy)", the form the tools print after "lmn: ".
  std::string to_string() const;
  // A copy with `where` put before the message: outer layers add what they know.
  Error with_context(std::string_view where) &&;
};

// An Error with errno's own code: EPERM/EACCES -> kPermission, ENOENT -> kNotFound, else kIo.
// `what` names the call and its object: "open 'a.pcap'".
Error system_error(std::string_view what, int errno_value);

}  // namespace lmn
