// SPDX-License-Identifier: Apache-2.0
//
// Feeds the formatter of bpf_trace_printk and bpf_snprintf a format, arguments and memory to read.
//
// The input is: one byte for the number of arguments and the room, the arguments, a byte for the
// format's length, the format, and the rest is the only memory that addresses may reach. Checked:
// a short room gives a prefix of what a long one gives and ends in a zero; the length that is
// returned is that of the whole text whenever it fits; nothing outside the room is written. (The
// length of a cut text may be another: see Scratch::write_text in helpers/format.cc.)
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "helpers/format.h"

namespace {

constexpr std::uint64_t kMemoryAt = 0x1000;

void expect(bool condition) {
  if (!condition) std::abort();
}

struct Memory {
  lmn::ByteSpan bytes;
};

std::size_t read_guest(void* state, std::uint64_t address, std::span<std::uint8_t> out) noexcept {
  const lmn::ByteSpan bytes = static_cast<const Memory*>(state)->bytes;
  if (address < kMemoryAt || address - kMemoryAt >= bytes.size()) return 0;
  const lmn::ByteSpan from = bytes.subspan(address - kMemoryAt);
  const std::size_t count = std::min(from.size(), out.size());
  std::copy_n(from.begin(), count, out.begin());
  return count;
}

struct Printed {
  std::int64_t length = 0;
  std::string text;
};

Printed print(const lmn::RunContext& context, std::string_view format,
              std::span<const std::uint64_t> arguments, std::size_t room) {
  constexpr char kGuard = 0x5a;
  std::vector<char> out(room + 8, kGuard);
  Printed printed;
  printed.length = lmn::helper::format_text(context, format, arguments, std::span(out).first(room));
  for (std::size_t i = room; i < out.size(); ++i) expect(out[i] == kGuard);
  if (printed.length < 0) return printed;
  if (room == 0) return printed;
  const auto used = std::min(static_cast<std::size_t>(printed.length), room - 1);
  expect(out[used] == '\0' || static_cast<std::size_t>(printed.length) < room);
  printed.text.assign(out.data(), used);
  return printed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lmn::ByteReader reader({data, size});
  const std::uint8_t head = reader.u8().value_or(0);
  std::vector<std::uint64_t> arguments(head % 14);
  for (std::uint64_t& argument : arguments) {
    // Half of them point into the memory.
    const std::uint8_t kind = reader.u8().value_or(0);
    argument = kind % 2 == 0 ? kMemoryAt + kind : reader.u64().value_or(kind);
  }
  const auto format_bytes = reader.bytes(reader.u8().value_or(0));
  if (!format_bytes) return 0;
  const std::string_view format(reinterpret_cast<const char*>(format_bytes->data()),
                                format_bytes->size());
  if (format.find('\0') != std::string_view::npos) return 0;

  Memory memory{*reader.bytes(reader.remaining())};
  lmn::RunContext context;
  context.engine_state = &memory;
  context.read_guest = read_guest;
  const Printed whole = print(context, format, arguments, 4096);
  const std::size_t short_room = head / 14;
  const Printed cut = print(context, format, arguments, short_room);
  expect((whole.length < 0) == (cut.length < 0));
  if (whole.length < 0) return 0;
  expect(whole.text.starts_with(cut.text));
  if (short_room > 0 && whole.length < 4096) {
    expect(cut.text.size() == std::min<std::size_t>(whole.text.size(), short_room - 1));
  }
  return 0;
}
