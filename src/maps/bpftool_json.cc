// SPDX-License-Identifier: Apache-2.0
//
// BpftoolJson. Tested by map_dump_test.cc and tests/contract/maps_dump_test.cc.
#include "maps/bpftool_json.h"

namespace lmn {

void BpftoolJson::begin(char bracket) {
  separate();
  text_ += bracket;
  ++depth_;
  has_item_ = false;
}

void BpftoolJson::end(char bracket) {
  --depth_;
  if (has_item_) new_line();
  text_ += bracket;
  has_item_ = true;
}

void BpftoolJson::name(std::string_view text) {
  separate();
  new_line();
  has_item_ = false;
  quoted(text);
  text_ += is_indented_ ? ": " : ":";
}

void BpftoolJson::string(std::string_view text) {
  separate();
  quoted(text);
}

void BpftoolJson::token(std::string_view text) {
  separate();
  text_ += text;
}

void BpftoolJson::separate() {
  if (has_item_) text_ += ',';
  has_item_ = true;
}

void BpftoolJson::new_line() {
  if (!is_indented_) return;
  text_ += '\n';
  text_.append(4 * depth_, ' ');
}

void BpftoolJson::quoted(std::string_view text) {
  text_ += '"';
  for (const char c : text) {
    switch (c) {
      case '\t':
        text_ += "\\t";
        break;
      case '\n':
      case '\\':  // as bpftool 7.1 does
        text_ += "\\n";
        break;
      case '\r':
        text_ += "\\r";
        break;
      case '\f':
        text_ += "\\f";
        break;
      case '\b':
        text_ += "\\b";
        break;
      case '"':
        text_ += "\\\"";
        break;
      default:
        text_ += c;
    }
  }
  text_ += '"';
}

}  // namespace lmn
