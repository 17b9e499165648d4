// SPDX-License-Identifier: Apache-2.0
//
// One walk over a record, two ways to write what it finds: text and JSON name the same fields in
// the same order. Tested by btf_text_test.cc and tests/inspect/btf_dump_test.cc.
#include "btf/btf_text.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include <iterator>
#include <numeric>
#include <string_view>

namespace lmn {
namespace {

std::string_view shown_name(std::string_view name) { return name.empty() ? "(anon)" : name; }

// Where the fields of records go.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual std::size_t size() const = 0;
  virtual void begin(std::uint32_t id, const BtfType& type) = 0;
  virtual void end() = 0;
  virtual void number(std::string_view key, std::int64_t value) = 0;
  virtual void number(std::string_view key, std::uint64_t value) = 0;
  virtual void word(std::string_view key, std::string_view text) = 0;
  // Rows of a record: members, values, parameters, variables. Those of a DATASEC have no name.
  virtual void begin_rows(std::string_view key, std::size_t count) = 0;
  virtual void begin_row() = 0;
  virtual void begin_row(std::string_view name) = 0;
  virtual void end_row() = 0;
  virtual void end_rows() = 0;
  // What only people want to read.
  virtual void remark(std::string_view text) = 0;

  void count(std::string_view key, std::uint32_t value) { number(key, std::uint64_t{value}); }
};

class TextSink final : public RecordSink {
 public:
  explicit TextSink(std::string& text) : text_(text) {}
  std::size_t size() const override { return text_.size(); }
  void begin(std::uint32_t id, const BtfType& type) override {
    fmt::format_to(out(), "[{}] {} '{}'", id, btf_kind_dump_name(type.kind), shown_name(type.name));
  }
  void end() override { text_ += '\n'; }
  void number(std::string_view key, std::int64_t value) override { put(key, value); }
  void number(std::string_view key, std::uint64_t value) override { put(key, value); }
  void word(std::string_view key, std::string_view text) override { put(key, text); }
  void begin_rows(std::string_view /*key*/, std::size_t count) override { put("vlen", count); }
  void begin_row() override {
    text_ += "\n\t";
    is_first_of_row_ = true;
  }
  void begin_row(std::string_view name) override {
    fmt::format_to(out(), "\n\t'{}'", shown_name(name));
  }
  void end_row() override {}
  void end_rows() override {}
  void remark(std::string_view text) override { text_ += text; }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }
  template <typename Value>
  void put(std::string_view key, Value value) {
    fmt::format_to(out(), "{}{}={}", is_first_of_row_ ? "" : " ", key, value);
    is_first_of_row_ = false;
  }

  std::string& text_;
  bool is_first_of_row_ = false;
};

class JsonSink final : public RecordSink {
 public:
  explicit JsonSink(JsonWriter& json) : json_(json) {}
  std::size_t size() const override { return json_.text().size(); }
  void begin(std::uint32_t id, const BtfType& type) override {
    json_.begin_object();
    json_.field("id", id);
    json_.field("kind", btf_kind_dump_name(type.kind));
    json_.field("name", shown_name(type.name));
  }
  void end() override { json_.end_object(); }
  void number(std::string_view key, std::int64_t value) override {
    json_.key(key);
    json_.number(value);
  }
  void number(std::string_view key, std::uint64_t value) override {
    json_.key(key);
    json_.number(value);
  }
  void word(std::string_view key, std::string_view text) override { json_.field(key, text); }
  void begin_rows(std::string_view key, std::size_t count) override {
    number("vlen", std::uint64_t{count});
    json_.key(key);
    json_.begin_array();
  }
  void begin_row() override { json_.begin_object(); }
  void begin_row(std::string_view name) override {
    json_.begin_object();
    json_.field("name", shown_name(name));
  }
  void end_row() override { json_.end_object(); }
  void end_rows() override { json_.end_array(); }
  void remark(std::string_view /*text*/) override {}

 private:
  JsonWriter& json_;
};

class RecordWalk {
 public:
  RecordWalk(const Btf& btf, RecordSink& sink, std::size_t bytes_max)
      : btf_(btf), sink_(sink), bytes_max_(bytes_max) {}

  // False when the text has become too long; what is written then is cut off.
  bool write(std::uint32_t id) {
    const BtfType& type = btf_.type(id);
    sink_.begin(id, type);
    write_fields(type);
    if (is_full()) return false;  // maybe in the middle of a row
    sink_.end();
    return !is_full();
  }

 private:
  void write_fields(const BtfType& type);
  void write_int(const BtfType& type);
  void write_members(const BtfType& type);
  void write_enumerators(const BtfType& type);
  void write_params(const BtfType& type);
  void write_variables(const BtfType& type);
  void write_linkage(const BtfType& type);

  bool is_full() const { return sink_.size() > bytes_max_; }

  const Btf& btf_;
  RecordSink& sink_;
  std::size_t bytes_max_;
};

void RecordWalk::write_fields(const BtfType& type) {
  switch (type.kind) {
    case BtfKind::kInt:
      return write_int(type);
    case BtfKind::kArray:
      sink_.count("type_id", type.array().element_type);
      sink_.count("index_type_id", type.array().index_type);
      return sink_.count("nr_elems", type.array().count);
    case BtfKind::kStruct:
    case BtfKind::kUnion:
      return write_members(type);
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
      return write_enumerators(type);
    case BtfKind::kFwd:
      return sink_.word("fwd_kind", type.kind_flag ? "union" : "struct");
    case BtfKind::kPtr:
    case BtfKind::kTypedef:
    case BtfKind::kVolatile:
    case BtfKind::kConst:
    case BtfKind::kRestrict:
    case BtfKind::kTypeTag:
      return sink_.count("type_id", type.type);
    case BtfKind::kFunc:
    case BtfKind::kVar:
      return write_linkage(type);
    case BtfKind::kFuncProto:
      return write_params(type);
    case BtfKind::kDatasec:
      return write_variables(type);
    case BtfKind::kFloat:
      return sink_.count("size", type.size);
    case BtfKind::kDeclTag:
      sink_.count("type_id", type.type);
      return sink_.number("component_idx", std::int64_t{type.component_index()});
    case BtfKind::kVoid:
      return;
  }
}

void RecordWalk::write_int(const BtfType& type) {
  const BtfInt info = type.int_info();
  std::string_view encoding = "UNKN";
  if (info.encoding == 0) encoding = "(none)";
  if (info.encoding == BTF_INT_SIGNED) encoding = "SIGNED";
  if (info.encoding == BTF_INT_CHAR) encoding = "CHAR";
  if (info.encoding == BTF_INT_BOOL) encoding = "BOOL";
  sink_.count("size", type.size);
  sink_.count("bits_offset", info.offset_bits);
  sink_.count("nr_bits", info.bits);
  sink_.word("encoding", encoding);
}

void RecordWalk::write_members(const BtfType& type) {
  sink_.count("size", type.size);
  sink_.begin_rows("members", type.vlen);
  for (const BtfMember& member : btf_.members(type)) {
    if (is_full()) return;
    sink_.begin_row(member.name);
    sink_.count("type_id", member.type);
    sink_.count("bits_offset", member.bit_offset);
    if (member.bitfield_size != 0) sink_.count("bitfield_size", member.bitfield_size);
    sink_.end_row();
  }
  sink_.end_rows();
}

void RecordWalk::write_enumerators(const BtfType& type) {
  sink_.word("encoding", type.kind_flag ? "SIGNED" : "UNSIGNED");
  sink_.count("size", type.size);
  sink_.begin_rows("values", type.vlen);
  for (const BtfEnumerator& value : btf_.enumerators(type)) {
    if (is_full()) return;
    sink_.begin_row(value.name);
    if (type.kind_flag) {
      sink_.number("val", value.value);
    } else {
      sink_.number("val", static_cast<std::uint64_t>(value.value));
    }
    if (type.kind == BtfKind::kEnum64) sink_.remark(type.kind_flag ? "LL" : "ULL");
    sink_.end_row();
  }
  sink_.end_rows();
}

void RecordWalk::write_params(const BtfType& type) {
  sink_.count("ret_type_id", type.type);
  sink_.begin_rows("params", type.vlen);
  for (const BtfParam& param : btf_.params(type)) {
    if (is_full()) return;
    sink_.begin_row(param.name);
    sink_.count("type_id", param.type);
    sink_.end_row();
  }
  sink_.end_rows();
}

void RecordWalk::write_variables(const BtfType& type) {
  sink_.count("size", type.size);
  sink_.begin_rows("vars", type.vlen);
  for (const BtfVariable& variable : btf_.variables(type)) {
    if (is_full()) return;
    const BtfType& target = btf_.type(variable.type);
    sink_.begin_row();
    sink_.count("type_id", variable.type);
    sink_.count("offset", variable.offset);
    sink_.count("size", variable.size);
    sink_.remark(
        fmt::format(" ({} '{}')", btf_kind_dump_name(target.kind), shown_name(target.name)));
    sink_.end_row();
  }
  sink_.end_rows();
}

void RecordWalk::write_linkage(const BtfType& type) {
  sink_.count("type_id", type.type);
  if (type.kind == BtfKind::kVar) sink_.remark(",");
  switch (type.linkage()) {
    case BtfLinkage::kStatic:
      return sink_.word("linkage", "static");
    case BtfLinkage::kGlobal:
      return sink_.word("linkage", "global");
    case BtfLinkage::kExtern:
      return sink_.word("linkage", "extern");
  }
}

Result<void> write_records(RecordSink& sink, const Btf& btf, const BtfTextOptions& options) {
  // void has no record
  const std::uint32_t first = btf.first_id() == 0 ? 1 : btf.first_id();
  LMN_TRY(const std::vector<std::uint32_t> ids, chosen_btf_ids(btf, options, first));
  RecordWalk walk(btf, sink, options.bytes_max);
  for (const std::uint32_t id : ids) {
    if (walk.write(id)) continue;
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("btf type [{}]: the text passes {} bytes", id, options.bytes_max));
  }
  return {};
}

}  // namespace

Result<std::vector<std::uint32_t>> chosen_btf_ids(const Btf& btf, const BtfTextOptions& options,
                                                  std::uint32_t first) {
  if (options.ids.empty()) {
    std::vector<std::uint32_t> all(btf.type_count() - first);
    std::iota(all.begin(), all.end(), first);
    return all;
  }
  for (const std::uint32_t id : options.ids) {
    if (id == 0 || id >= btf.type_count()) {
      return make_error(ErrorCode::kNotFound, fmt::format("no btf type [{}]; the last one is [{}]",
                                                          id, btf.type_count() - 1));
    }
  }
  return std::vector<std::uint32_t>(options.ids.begin(), options.ids.end());
}

Result<std::string> btf_raw_text(const Btf& btf, const BtfTextOptions& options) {
  std::string text;
  TextSink sink(text);
  LMN_CHECK_OK(write_records(sink, btf, options));
  return text;
}

Result<void> write_btf_json(JsonWriter& json, const Btf& btf, const BtfTextOptions& options) {
  JsonSink sink(json);
  json.begin_object();
  json.key("types");
  json.begin_array();
  LMN_CHECK_OK(write_records(sink, btf, options));
  json.end_array();
  json.end_object();
  return {};
}

}  // namespace lmn
