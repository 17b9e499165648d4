// SPDX-License-Identifier: Apache-2.0
//
// TextWords: the words of one line of a table's text file, with the kinds of words they share:
// numbers, addresses, prefixes.
//
// Routes, connections and bridge entries are all written one thing per line; this reads them from
// left to right. The first thing that is wrong stays as the error, and what is read afterwards is
// of no account, so that a reader of a line can go on to its end and look once.
//
//   TextWords words("neighbour 10.0.0.9 dev 2   # the router");
//   words.take("neighbour");  words.address(family);  words.take("dev");  words.number<int>();
//
// Internal to packet; the public API is the parse() of each table.
// Threads: a value. Tested by route_table_test.cc and conntrack_table_test.cc.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

// The words of one line, taken from left to right. The first error stays.
class TextWords {
 public:
  explicit TextWords(std::string_view line) : rest_(line.substr(0, line.find('#'))) { skip(); }

  bool is_empty() const { return rest_.empty(); }
  std::string_view next() {
    const std::string_view word = rest_.substr(0, rest_.find_first_of(" \t\r"));
    rest_.remove_prefix(word.size());
    skip();
    if (word.empty()) fail("a word is missing at the end");
    return word;
  }
  // Takes the next word when it is `word`.
  bool take(std::string_view word) {
    const std::string_view before = rest_;
    if (is_empty() || next() != word) {
      rest_ = before;
      return false;
    }
    return true;
  }
  template <typename T>
  T number() {
    return to_number<T>(next());
  }
  template <typename T>
  T to_number(std::string_view text) {
    const bool is_hex = text.starts_with("0x");
    const std::string_view digits = text.substr(is_hex ? 2 : 0);
    T value{};
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, is_hex ? 16 : 10);
    if (error != std::errc() || end != digits.data() + digits.size()) {
      fail_number(text);
    }
    return value;
  }
  IpAddress address(IpFamily& family) { return to_address(next(), family); }
  // ADDRESS:PORT, an IPv6 address in brackets; the port in network order.
  IpAddress endpoint(IpFamily& family, std::uint16_t& port);
  // Also with host bits set: `host`, when asked for, gets the address as it was written.
  IpPrefix prefix(IpAddress* host = nullptr);
  MacAddress mac();

  // Of the next word: it has no place here.
  void fail_unknown();
  void fail(std::string text) {
    if (error_.empty()) error_ = std::move(text);
  }
  const std::string& error() const { return error_; }

 private:
  IpAddress to_address(std::string_view text, IpFamily& family);
  void fail_number(std::string_view text);
  void skip() {
    const std::size_t at = rest_.find_first_not_of(" \t\r");
    rest_.remove_prefix(std::min(at, rest_.size()));
  }

  std::string_view rest_;
  std::string error_;
};

std::unexpected<Error> text_line_error(std::string_view what, std::size_t line_number,
                                       const TextWords& words);

// Calls `read_line(words)` for each line that has any. Errors: kMalformed, "WHAT: line N: why".
template <typename ReadLine>
Result<void> read_text_lines(std::string_view text, std::string_view what, ReadLine read_line) {
  std::size_t line_number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++line_number;
    TextWords words(line);
    if (words.is_empty()) continue;
    read_line(words);
    if (words.error().empty() && !words.is_empty()) words.fail_unknown();
    if (words.error().empty()) continue;
    return text_line_error(what, line_number, words);
  }
  return {};
}

}  // namespace lmn
