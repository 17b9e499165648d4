// SPDX-License-Identifier: Apache-2.0
//
// JsonWriter's punctuation and escaping (RFC 8259). Tested by base_test.cc.
#include "base/json_writer.h"

#include <fmt/format.h>

#include "base/assert.h"

namespace lmn {

void JsonWriter::newline() {
  if (indent_ == 0) return;
  text_ += '\n';
  text_.append(levels_.size() * static_cast<std::size_t>(indent_), ' ');
}

void JsonWriter::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (levels_.empty()) return;
  LMN_ASSERT(!levels_.back().is_object);
  if (levels_.back().has_items) text_ += ',';
  levels_.back().has_items = true;
  newline();
}

void JsonWriter::open(char bracket, bool is_object) {
  before_value();
  text_ += bracket;
  levels_.push_back({is_object, false});
}

void JsonWriter::close(char bracket, bool is_object) {
  LMN_ASSERT(!levels_.empty());
  LMN_ASSERT(levels_.back().is_object == is_object);
  LMN_ASSERT(!after_key_);
  const bool had_items = levels_.back().has_items;
  levels_.pop_back();
  if (had_items) newline();
  text_ += bracket;
}

void JsonWriter::begin_object() { open('{', true); }
void JsonWriter::end_object() { close('}', true); }
void JsonWriter::begin_array() { open('[', false); }
void JsonWriter::end_array() { close(']', false); }

void JsonWriter::key(std::string_view name) {
  LMN_ASSERT(!levels_.empty());
  LMN_ASSERT(levels_.back().is_object);
  LMN_ASSERT(!after_key_);
  if (levels_.back().has_items) text_ += ',';
  levels_.back().has_items = true;
  newline();
  quoted(name);
  text_ += indent_ == 0 ? ":" : ": ";
  after_key_ = true;
}

void JsonWriter::string(std::string_view text) {
  before_value();
  quoted(text);
}

void JsonWriter::number(std::int64_t value) {
  before_value();
  text_ += fmt::format("{}", value);
}

void JsonWriter::number(std::uint64_t value) {
  before_value();
  text_ += fmt::format("{}", value);
}

void JsonWriter::number(double value) {
  before_value();
  text_ += fmt::format("{:.6g}", value);
}

void JsonWriter::boolean(bool value) {
  before_value();
  text_ += value ? "true" : "false";
}

void JsonWriter::null() {
  before_value();
  text_ += "null";
}

void JsonWriter::raw(std::string_view json) {
  before_value();
  text_ += json;
}

void JsonWriter::quoted(std::string_view text) {
  text_ += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text_ += '\\';
      text_ += c;
    } else if (c == '\n') {
      text_ += "\\n";
    } else if (byte < 0x20 || byte >= 0x7f) {
      text_ += fmt::format("\\u{:04x}", byte);
    } else {
      text_ += c;
    }
  }
  text_ += '"';
}

}  // namespace lmn
