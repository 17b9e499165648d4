// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the instruction set's four translations. The first byte chooses:
//
//   even  the rest is a program in bytes, decoded in both byte orders. What decodes must encode to
//   the
//         same bytes, and its listing must assemble to the same instructions.
//   odd   the rest is assembler text. What assembles must have good fields and survive encoding.
//
// The off of exit is the one bit that no text shows (the kernel ignores it), so it is cleared
// first. Found things become cases of src/insn/codec_test.cc and assemble_test.cc.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <string_view>

#include "insn/assemble.h"
#include "insn/codec.h"
#include "insn/disasm.h"

namespace lmn {
namespace {

void require(bool is_right) {
  if (!is_right) std::abort();
}

void check_bytes(ByteSpan raw, std::endian order) {
  auto insns = decode_program(raw, order);
  if (!insns) return require(insns.error().errno_value == EINVAL && !insns.error().message.empty());
  const auto again = encode_program(*insns, order);
  require(std::ranges::equal(again, raw));
  for (Insn& insn : *insns) {
    if (insn.op == Op::kExit) insn.off = 0;
  }
  const auto assembled = assemble(disassemble_program(*insns));
  require(assembled.has_value() && *assembled == *insns);
}

void check_text(std::string_view text) {
  const auto insns = assemble(text);
  if (!insns) return require(!insns.error().message.empty());
  for (const Insn& insn : *insns) require(field_problem(insn) == nullptr);
  const auto decoded = decode_program(encode_program(*insns));
  require(decoded.has_value() && *decoded == *insns);
}

}  // namespace
}  // namespace lmn

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span rest = std::span(data, size).subspan(1);
  if (data[0] % 2 == 0) {
    // Bytes that make no whole slot would end every attempt at once.
    const auto slots = rest.first(rest.size() / 8 * 8);
    lmn::check_bytes(slots, std::endian::little);
    lmn::check_bytes(slots, std::endian::big);
  } else {
    lmn::check_text({reinterpret_cast<const char*>(rest.data()), rest.size()});
  }
  return 0;
}
