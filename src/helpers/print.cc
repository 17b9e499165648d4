// SPDX-License-Identifier: Apache-2.0
//
// Helpers that print: trace_printk (three arguments in registers), trace_vprintk (an array of
// them), and snprintf, which prints into the program's memory.
//
// They differ in where the arguments come from and where the text goes; the language is format.h's.
// A trace line is cut to 1023 characters, the value returned is the length it would have had. The
// text goes to the run's TraceSink as it is, without the kernel's prefix and without a newline that
// the program did not write. Where nobody listens the call works the same.
// Tested by helpers_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, kernel/trace/bpf_trace.c, kernel/bpf/helpers.c (bpf_snprintf).
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

#include "helpers/bodies.h"
#include "helpers/format.h"

namespace lmn {
namespace {

constexpr std::size_t kTraceLineBytes = 1024;   // MAX_BPRINTF_BUF
constexpr std::size_t kArrayArgumentsMax = 12;  // MAX_BPRINTF_VARARGS

// The format up to its zero; nullptr data when there is none.
std::string_view format_of(std::uint64_t address, std::uint32_t size) {
  const auto* format = helper::as_pointer<const char>(address);
  const void* end = std::memchr(format, 0, size);
  if (end == nullptr) return {};
  return {format, static_cast<std::size_t>(static_cast<const char*>(end) - format)};
}

// An array argument of `size` bytes. False: not a whole number of arguments, too many, or none
// where some were announced.
bool is_argument_array(std::uint64_t address, std::uint32_t size) {
  if (size % 8 != 0 || size / 8 > kArrayArgumentsMax) return false;
  return size == 0 || address != 0;
}

struct ArgumentArray {
  std::array<std::uint64_t, kArrayArgumentsMax> values{};
  std::size_t count = 0;

  ArgumentArray(std::uint64_t address, std::uint32_t size) : count(size / 8) {
    if (count != 0) std::memcpy(values.data(), helper::as_pointer<const void>(address), size);
  }
  std::span<const std::uint64_t> span() const { return std::span(values).first(count); }
};

std::uint64_t print(RunContext& context, std::uint64_t format_address, std::uint32_t format_size,
                    std::span<const std::uint64_t> arguments) {
  const std::string_view format = format_of(format_address, format_size);
  if (format.data() == nullptr) return helper::failure(EINVAL);
  std::array<char, kTraceLineBytes> line;
  const std::int64_t length = helper::format_text(context, format, arguments, line);
  if (length >= 0 && context.trace != nullptr) {
    context.trace->print({line.data(), std::strlen(line.data())});
  }
  return helper::result(length);
}

}  // namespace

LMN_HELPER_BODY(trace_printk) {
  const std::array<std::uint64_t, 3> arguments = {r3, r4, r5};
  return print(*context, r1, helper::as_u32(r2), arguments);
}

LMN_HELPER_BODY(trace_vprintk) {
  const std::uint32_t size = helper::as_u32(r4);
  if (!is_argument_array(r3, size)) return helper::failure(EINVAL);
  return print(*context, r1, helper::as_u32(r2), ArgumentArray(r3, size).span());
}

LMN_HELPER_BODY(snprintf) {
  const std::uint32_t size = helper::as_u32(r5);
  if (!is_argument_array(r4, size)) return helper::failure(EINVAL);
  const auto* format = helper::as_pointer<const char>(r3);
  const std::span<char> out(helper::as_pointer<char>(r1), helper::as_u32(r2));
  const std::int64_t length =
      helper::format_text(*context, format, ArgumentArray(r4, size).span(), out);
  return helper::result(length < 0 ? length : length + 1);
}

}  // namespace lmn
