// SPDX-License-Identifier: Apache-2.0
//
// Cutting lines. Tested by assemble_test.cc.
#include "insn/text_tokens.h"

#include <algorithm>

namespace lmn {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// A line without its comment. '#' opens one only at the beginning: elsewhere it stands in "call
// name#1".
std::string_view without_comment(std::string_view line) {
  const std::size_t first = line.find_first_not_of(" \t\r");
  if (first == std::string_view::npos || line[first] == '#') return {};
  return line.substr(0, std::min(line.find(';'), line.find("//")));
}

// Bytes of bpftool's line prefix, "  12: (b7) ", or 0.
std::size_t prefix_length(std::string_view line) {
  std::size_t at = std::min(line.find_first_not_of(" \t"), line.size());
  const std::size_t digits = at;
  while (at < line.size() && is_digit(line[at])) ++at;
  if (at == digits || at == line.size() || line[at] != ':') return 0;
  ++at;
  while (at < line.size() && is_space(line[at])) ++at;
  const bool has_opcode = line.size() >= at + 4 && line[at] == '(' && line[at + 3] == ')' &&
                          is_word_char(line[at + 1]) && is_word_char(line[at + 2]);
  return has_opcode ? at + 4 : at;
}

}  // namespace

std::vector<Token> cut_line(std::string_view whole_line) {
  const std::string_view line = without_comment(whole_line);
  std::vector<Token> tokens;
  std::size_t at = prefix_length(line);
  bool is_joined = false;
  while (at < line.size()) {
    if (is_space(line[at])) {
      is_joined = false;
      ++at;
      continue;
    }
    const std::size_t start = at++;
    TokenKind kind = TokenKind::kPunctuation;
    if (is_word_char(line[start]) || line[start] == '.' || line[start] == '$') {
      kind = is_digit(line[start]) ? TokenKind::kNumber : TokenKind::kWord;
      while (at < line.size() && (is_word_char(line[at]) || line[at] == '.' || line[at] == '$'))
        ++at;
    }
    tokens.push_back({kind, line.substr(start, at - start), start + 1, is_joined});
    is_joined = true;
  }
  tokens.push_back({TokenKind::kEnd, {}, line.size() + 1, false});
  return tokens;
}

}  // namespace lmn
