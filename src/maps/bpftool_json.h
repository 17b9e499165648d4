// SPDX-License-Identifier: Apache-2.0
//
// BpftoolJson: writes JSON exactly as bpftool does, compact (-j) or indented.
//
// Not base/json_writer: tools compare these bytes with bpftool's own. Its indented form has quirks
// that no general writer has (arrays of numbers stay on one line, an object in an array opens on
// the line of the bracket), tokens may be no JSON at all in the form for people (0x1f without
// quotes), and a backslash in a string comes out as \n, a slip of bpftool's that Debian 12 ships.
// Invariant: begin and end nest; the caller sees to it.
// Threads: one owner. Tested by map_dump_test.cc and tests/contract/maps_dump_test.cc.
// Source: bpftool 7.1, json_writer.c (behaviour, observed).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lmn {

class BpftoolJson {
 public:
  explicit BpftoolJson(bool is_indented) : is_indented_(is_indented) {}

  void begin_object() { begin('{'); }
  void end_object() { end('}'); }
  void begin_array() { begin('['); }
  void end_array() { end(']'); }
  void name(std::string_view text);
  void string(std::string_view text);
  // A value that is written as it stands.
  void token(std::string_view text);

  // Whether the form is the one for people, in which odd numbers have no quotes.
  bool is_indented() const { return is_indented_; }
  const std::string& text() const { return text_; }

 private:
  void begin(char bracket);
  void end(char bracket);
  void separate();
  void new_line();
  void quoted(std::string_view text);

  std::string text_;
  std::size_t depth_ = 0;
  bool has_item_ = false;  // a comma is due before the next value or name
  bool is_indented_;
};

}  // namespace lmn
