// SPDX-License-Identifier: Apache-2.0
//
// JsonWriter: writes JSON text in order, so that every tool prints it alike. Reading JSON is not
// its business (control/json.cc).
//
//   JsonWriter json;                       // compact, as bpftool -j prints; JsonWriter(2) indents
//   by 2 json.begin_object(); json.field("name", "cnt");  json.key("keys");  json.begin_array();
//   ... json.end_array(); json.end_object(); out << json.text();
//
// Strings are escaped; bytes that are not UTF-8 become \u00XX, so that hostile names cannot break
// the output. Invariants: (1) begin/end calls nest; (2) inside an object every value follows a key.
// Both asserted. Threads: one owner. Tested by base_test.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace lmn {

class JsonWriter {
 public:
  explicit JsonWriter(int indent = 0) : indent_(indent) {}

  void begin_object();
  void end_object();
  void begin_array();
  void end_array();
  void key(std::string_view name);
  void string(std::string_view text);
  void number(std::int64_t value);
  void number(std::uint64_t value);
  void number(int value) { number(static_cast<std::int64_t>(value)); }
  void number(unsigned value) { number(static_cast<std::uint64_t>(value)); }
  void number(double value);
  void boolean(bool value);
  void null();
  // A whole value that is JSON already.
  void raw(std::string_view json);

  void field(std::string_view name, std::string_view text) {
    key(name);
    string(text);
  }
  void field(std::string_view name, const char* text) { field(name, std::string_view(text)); }
  void field(std::string_view name, const std::string& text) {
    field(name, std::string_view(text));
  }
  void field(std::string_view name, bool value) {
    key(name);
    boolean(value);
  }
  template <typename T>
    requires std::is_arithmetic_v<T>
  void field(std::string_view name, T value) {
    key(name);
    number(value);
  }

  const std::string& text() const { return text_; }

 private:
  struct Level {
    bool is_object;
    bool has_items;
  };
  void before_value();
  void newline();
  void open(char bracket, bool is_object);
  void close(char bracket, bool is_object);
  void quoted(std::string_view text);

  std::string text_;
  std::vector<Level> levels_;
  bool after_key_ = false;
  int indent_;
};

}  // namespace lmn
