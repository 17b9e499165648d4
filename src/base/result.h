// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or the Error that kept it from being made.
//
//   Result<ObjectSpec> read_object(std::span<const std::uint8_t> bytes);
//   LMN_TRY(auto spec, read_object(bytes));   // declares spec, or returns the error to our caller
//   LMN_CHECK_OK(port.open());                // for Result<void>
//
// std::expected of libstdc++ 12 has no and_then/transform; the macros replace them.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/error.h"

namespace lmn {

// A class and not an alias, so that a dropped Result is a warning (and an error in our builds).
template <typename T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

inline std::unexpected<Error> make_error(Error error) { return std::unexpected(std::move(error)); }

inline std::unexpected<Error> make_error(ErrorCode code, std::string message) {
  Error error;
  error.code = code;
  error.message = std::move(message);
  return std::unexpected(std::move(error));
}

inline std::unexpected<Error> make_error(ErrorCode code, std::string message, std::string remedy) {
  Error error;
  error.code = code;
  error.message = std::move(message);
  error.remedy = std::move(remedy);
  return std::unexpected(std::move(error));
}

// An error that the kernel would report as `errno_value` (positive).
inline std::unexpected<Error> make_errno_error(ErrorCode code, int errno_value,
                                               std::string message) {
  Error error;
  error.code = code;
  error.errno_value = errno_value;
  error.message = std::move(message);
  return std::unexpected(std::move(error));
}

}  // namespace lmn

#define LMN_CONCAT_INNER(a, b) a##b
#define LMN_CONCAT(a, b) LMN_CONCAT_INNER(a, b)

// LMN_TRY(declaration, expression): unwraps a Result or returns its error from this function.
#define LMN_TRY(declaration, expression) \
  LMN_TRY_INNER(LMN_CONCAT(lmn_try_, __LINE__), declaration, expression)
#define LMN_TRY_INNER(name, declaration, expression)              \
  auto name = (expression);                                       \
  if (!name) return ::std::unexpected(::std::move(name).error()); \
  declaration = ::std::move(*name)

// LMN_CHECK_OK(expression): returns the error of a Result<void> from this function.
#define LMN_CHECK_OK(expression)                              \
  do {                                                        \
    if (auto lmn_ok_ = (expression); !lmn_ok_)                \
      return ::std::unexpected(::std::move(lmn_ok_).error()); \
  } while (false)
