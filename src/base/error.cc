// SPDX-License-Identifier: Apache-2.0
//
// Error's words: tables expanded from error_codes.def and the printed form. Tested by
// base_test.cc.
#include "base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace lmn {
namespace {

struct ErrorCodeRow {
  std::string_view name;
  std::string_view words;
  std::string_view remedy;
};

constexpr ErrorCodeRow kErrorCodes[] = {
#define LMN_ERROR_CODE(name, words, remedy) {#name, words, remedy},
#include "base/error_codes.def"
#undef LMN_ERROR_CODE
};

std::string snake_case(std::string_view enumerator) {
  std::string out;
  for (char c : enumerator.substr(1)) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && !out.empty()) out += '_';
    out += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

std::string_view error_code_words(ErrorCode code) {
  return kErrorCodes[static_cast<std::size_t>(code)].words;
}

std::string_view error_code_name(ErrorCode code) {
  static const std::string names[] = {
#define LMN_ERROR_CODE(name, words, remedy) snake_case(#name),
#include "base/error_codes.def"
#undef LMN_ERROR_CODE
  };
  return names[static_cast<std::size_t>(code)];
}

std::string_view error_code_remedy(ErrorCode code) {
  return kErrorCodes[static_cast<std::size_t>(code)].remedy;
}

std::string Error::to_string() const {
  std::string out = location.empty() ? message : fmt::format("{}: {}", location, message);
  if (!remedy.empty()) out += fmt::format(" ({})", remedy);
  return out;
}

Error Error::with_context(std::string_view where) && {
  location = location.empty() ? std::string(where) : fmt::format("{}: {}", where, location);
  return std::move(*this);
}

Error system_error(std::string_view what, int errno_value) {
  Error error;
  switch (errno_value) {
    case EPERM:
    case EACCES:
      error.code = ErrorCode::kPermission;
      break;
    case ENOENT:
    case ENODEV:
      error.code = ErrorCode::kNotFound;
      break;
    default:
      error.code = ErrorCode::kIo;
      break;
  }
  error.errno_value = errno_value;
  error.message = fmt::format("{}: {}", what, std::generic_category().message(errno_value));
  return error;
}

}  // namespace lmn
