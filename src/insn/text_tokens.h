// SPDX-License-Identifier: Apache-2.0
//
// A line of assembler text as tokens: words, numbers and single punctuation characters.
//
// Internal to the assembler (insn/assemble.h). Tokens view the text they were cut from.
// Threads: pure functions. Tested by assemble_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace lmn {

enum class TokenKind : std::uint8_t { kWord, kNumber, kPunctuation, kEnd };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string_view text;
  std::size_t column = 0;  // 1-based
  bool is_joined = false;  // no space before it
};

// Part of a name or number of the notation: letters, digits and _.
constexpr bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The tokens of a line, without its comment and without bpftool's prefix ("12: (b7) "); the last
// one is kEnd.
std::vector<Token> cut_line(std::string_view line);

}  // namespace lmn
