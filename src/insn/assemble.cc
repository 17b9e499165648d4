// SPDX-License-Identifier: Apache-2.0
//
// The assembler: a line is cut into tokens, and the tokens are matched with the notation of every
// row of opcodes.def.
//
// Exactly one row can match (assemble_test.cc asserts it for all rows). When none does, the error
// is the one of the rows that got furthest, and lists what they expected there: so "r1 = *(u32
// *)(r2 8)" gives "column 19: '8' where a signed offset was expected" without a grammar being
// written twice. Labels are patched when all lines are read. Tested by assemble_test.cc.
#include "insn/assemble.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <map>
#include <span>
#include <string>

#include "insn/codec.h"
#include "insn/helper_names.h"
#include "insn/insn_table.h"
#include "insn/text_tokens.h"

namespace lmn {
namespace {

bool is_operator_char(char c) { return std::string_view("<>=!+-*/%&|^").contains(c); }

// Where a label's distance goes when it is known.
enum class LabelUse : std::uint8_t { kJump16, kJump32, kCall, kAddress };

struct Fixup {
  LabelUse use;
  std::string label;
  std::size_t column = 0;
};

// What a line turned out to be.
struct ParsedInsn {
  Insn insn;
  std::optional<Fixup> fixup;
};

// Matches the tokens of one line with notations.
class LineMatcher {
 public:
  LineMatcher(std::span<const Token> tokens, const AssembleNames& names,
              const std::map<std::string, std::uint32_t, std::less<>>& labels)
      : tokens_(tokens), names_(names), labels_(labels) {}

  std::optional<ParsedInsn> match(const OpInfo& info) {
    at_ = 0;
    parsed_ = {};
    parsed_.insn.op = info.op;
    seen_dst_ = seen_src_ = false;
    if (!match_notation(info.notation)) return std::nullopt;
    if (token().kind != TokenKind::kEnd) return fail("the end of the line"), std::nullopt;
    if (info.off.use == FieldUse::kFixed)
      parsed_.insn.off = static_cast<std::int16_t>(info.off.value);
    if (info.imm.use == FieldUse::kFixed) parsed_.insn.imm = info.imm.value;
    return parsed_;
  }

  std::size_t failed_column() const { return tokens_[failed_at_].column; }
  std::string failure() const {
    const Token& token = tokens_[failed_at_];
    if (failed_at_ == 0) {
      return fmt::format("'{}' begins no instruction (registers are r0 to r10 and w0 to w10)",
                         token.text);
    }
    std::string words;
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      words += i == 0 ? "" : i + 1 == expected_.size() ? " or " : ", ";
      words += expected_[i];
    }
    if (token.kind == TokenKind::kEnd)
      return fmt::format("the line ends where {} was expected", words);
    return fmt::format("'{}' where {} was expected", token.text, words);
  }

 private:
  const Token& token() const { return tokens_[at_]; }

  // Remembers what was expected at the furthest token any row reached.
  bool fail(std::string_view expected) {
    if (at_ < failed_at_) return false;
    if (at_ > failed_at_) expected_.clear();
    failed_at_ = at_;
    if (std::ranges::find(expected_, expected) == expected_.end()) expected_.emplace_back(expected);
    return false;
  }

  bool take(std::string_view text) {
    if (token().kind == TokenKind::kEnd || token().text != text)
      return fail(fmt::format("'{}'", text));
    ++at_;
    return true;
  }
  bool take_if(std::string_view text) {
    if (token().kind == TokenKind::kEnd || token().text != text) return false;
    ++at_;
    return true;
  }

  bool match_notation(std::string_view notation) {
    for (std::size_t i = 0; i < notation.size();) {
      if (notation[i] == ' ') {
        ++i;
        continue;
      }
      if (notation[i] == '%' && notation[i + 1] != '%') {
        if (!match_field(notation[i + 1])) return false;
        i += 2;
        continue;
      }
      if (is_word_char(notation[i])) {
        const std::size_t start = i;
        while (i < notation.size() && is_word_char(notation[i])) ++i;
        const std::string_view word = notation.substr(start, i - start);
        const bool is_register = i + 1 < notation.size() && notation[i] == '%' &&
                                 (notation[i + 1] == 'd' || notation[i + 1] == 's');
        if (is_register ? !match_register(word[0], notation[i + 1]) : !take(word)) return false;
        if (is_register) i += 2;
        continue;
      }
      const bool must_join =
          i > 0 && is_operator_char(notation[i]) && is_operator_char(notation[i - 1]);
      if (must_join && !token().is_joined)
        return fail(fmt::format("'{}' without a space before it", notation[i]));
      if (!take(notation.substr(i, 1))) return false;
      i += notation[i] == '%' ? 2 : 1;  // "%%" is one sign
    }
    return true;
  }

  bool match_register(char prefix, char field) {
    const std::string_view text = token().text;
    std::uint8_t number = 0;
    const char* end = text.data() + text.size();
    const bool is_register = token().kind == TokenKind::kWord && text.size() >= 2 &&
                             text[0] == prefix &&
                             std::from_chars(text.data() + 1, end, number).ptr == end &&
                             (text.size() == 2 || text[1] != '0') && number < kRegisterCount;
    if (!is_register) return fail(prefix == 'r' ? "a register r0 to r10" : "a register w0 to w10");
    bool& is_seen = field == 'd' ? seen_dst_ : seen_src_;
    std::uint8_t& place = field == 'd' ? parsed_.insn.dst : parsed_.insn.src;
    if (is_seen && place != number) return fail(fmt::format("{}{} again", prefix, place));
    is_seen = true;
    place = number;
    ++at_;
    return true;
  }

  bool match_field(char field) {
    switch (field) {
      case 'o':
        return match_signed(parsed_.insn.off, "a signed offset of 16 bits (+0)");
      case 'i':
        return match_imm(true, false);
      case 'n':
        return match_imm(false, false);
      case 'x':
        return match_imm(true, true);
      case 'h':
        return match_half(16);
      case 'l':
        return match_half(0);
      case 'j':
        return match_target(LabelUse::kJump16);
      case 'J':
        return match_target(LabelUse::kJump32);
      case 'c':
        return match_callee();
      case 'w':
        return match_wide();
      default:
        return false;
    }
  }

  // A number without sign, of the token at_; does not move.
  std::optional<std::uint64_t> number(bool allow_hex = true) const {
    if (token().kind != TokenKind::kNumber) return std::nullopt;
    std::string_view digits = token().text;
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
      if (!allow_hex) return std::nullopt;
      digits.remove_prefix(2);
      base = 16;
    }
    std::uint64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
    if (error != std::errc() || stop != end) return std::nullopt;
    return value;
  }

  // [+-]number within [low, high]; moves past it or fails.
  std::optional<std::int64_t> signed_number(std::int64_t low, std::int64_t high, bool allow_hex,
                                            bool need_sign, std::string_view expected) {
    const std::size_t start = at_;
    const bool is_negative = take_if("-");
    const bool has_sign = is_negative || take_if("+");
    const std::optional<std::uint64_t> magnitude = number(allow_hex);
    const std::uint64_t bound = is_negative ? std::uint64_t{0} - static_cast<std::uint64_t>(low)
                                            : static_cast<std::uint64_t>(high);
    if (!magnitude || *magnitude > bound || (need_sign && !has_sign)) {
      if (!magnitude && has_sign) return fail(expected), std::nullopt;
      at_ = start;
      return fail(expected), std::nullopt;
    }
    ++at_;
    return static_cast<std::int64_t>(is_negative ? std::uint64_t{0} - *magnitude : *magnitude);
  }

  template <typename T>
  bool match_signed(T& place, std::string_view expected) {
    const auto value = signed_number(std::numeric_limits<T>::min(), std::numeric_limits<T>::max(),
                                     true, true, expected);
    if (!value) return false;
    place = static_cast<T>(*value);
    return true;
  }

  bool match_imm(bool allow_hex, bool is_unsigned_hex) {
    const bool is_hex = token().text.starts_with("0x");
    const std::int64_t high = is_unsigned_hex && is_hex ? std::numeric_limits<std::uint32_t>::max()
                                                        : std::numeric_limits<std::int32_t>::max();
    const auto value = signed_number(std::numeric_limits<std::int32_t>::min(), high, allow_hex,
                                     false, "a number of 32 bits");
    if (!value) return false;
    parsed_.insn.imm = static_cast<std::int32_t>(*value);
    return true;
  }

  bool match_half(int shift) {
    const std::optional<std::uint64_t> value = number();
    if (!value || *value > 0xffff) return fail("a number of 16 bits");
    const std::uint32_t imm =
        static_cast<std::uint32_t>(parsed_.insn.imm) | static_cast<std::uint32_t>(*value) << shift;
    parsed_.insn.imm = static_cast<std::int32_t>(imm);
    ++at_;
    return true;
  }

  bool match_unsigned(std::uint32_t& place, std::string_view expected) {
    const std::optional<std::uint64_t> value = number();
    if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return fail(expected);
    place = static_cast<std::uint32_t>(*value);
    ++at_;
    return true;
  }

  // pc+3, or a label.
  bool match_target(LabelUse use) {
    if (take_if("pc")) {
      if (use == LabelUse::kJump16)
        return match_signed(parsed_.insn.off, "a signed distance of 16 bits (+1)");
      std::int32_t distance = 0;
      if (!match_signed(distance, "a signed distance of 32 bits (+1)")) return false;
      parsed_.insn.imm = distance;
      return true;
    }
    return match_label(use, "pc+1 or a label");
  }

  bool match_label(LabelUse use, std::string_view expected) {
    if (token().kind != TokenKind::kWord) return fail(expected);
    parsed_.fixup = Fixup{use, std::string(token().text), token().column};
    ++at_;
    return true;
  }

  bool skip_name() {
    if (!take_if("#")) return true;
    if (token().kind != TokenKind::kWord) return fail("a name");
    ++at_;
    return true;
  }

  bool match_callee() {
    if (token().text == "pc") {
      parsed_.insn.src = BPF_PSEUDO_CALL;
      return match_target(LabelUse::kJump32) && skip_name();
    }
    if (const std::optional<std::uint64_t> id = number()) {
      if (*id > std::numeric_limits<std::int32_t>::max()) return fail("a helper's number");
      parsed_.insn.imm = static_cast<std::int64_t>(*id);
      ++at_;
      return true;
    }
    if (token().kind != TokenKind::kWord)
      return fail("the name or number of a helper, a kfunc, a label or pc+1");
    const std::string_view name = token().text;
    if (tokens_[at_ + 1].text == "#") {
      at_ += 2;
      return match_numbered_callee(name);
    }
    return match_named_callee(name);
  }

  // NAME#7, as bpftool prints helpers and kfuncs.
  bool match_numbered_callee(std::string_view name) {
    const bool is_kfunc = name == "kfunc" || names_.kfunc(name).has_value();
    const auto id =
        signed_number(std::numeric_limits<std::int32_t>::min(),
                      std::numeric_limits<std::int32_t>::max(), true, false, "a number of 32 bits");
    if (!id) return false;
    parsed_.insn.imm = *id;
    if (!is_kfunc) return true;
    parsed_.insn.src = BPF_PSEUDO_KFUNC_CALL;
    if (!take_if("@")) return true;
    const auto object =
        signed_number(std::numeric_limits<std::int16_t>::min(),
                      std::numeric_limits<std::int16_t>::max(), true, false, "a number of 16 bits");
    if (object) parsed_.insn.off = static_cast<std::int16_t>(*object);
    return object.has_value();
  }

  bool match_named_callee(std::string_view name) {
    if (labels_.contains(name)) {
      parsed_.insn.src = BPF_PSEUDO_CALL;
      return match_label(LabelUse::kCall, "a label");
    }
    if (const auto helper = names_.helper(name)) {
      parsed_.insn.imm = *helper;
    } else if (const auto kfunc = names_.kfunc(name)) {
      parsed_.insn.src = BPF_PSEUDO_KFUNC_CALL;
      parsed_.insn.imm = *kfunc;
    } else {
      return fail("the name of a helper, a kfunc or a label of this text");
    }
    ++at_;
    return true;
  }

  bool match_wide() {
    if (take_if("func")) {
      parsed_.insn.src = BPF_PSEUDO_FUNC;
      return match_label(LabelUse::kAddress, "a label");
    }
    if (take_if("subprog")) return match_subprogram();
    if (take_if("map")) return match_map();
    if (take_if("btf_id")) return match_btf_id();
    if (take_if("ksym")) return match_ksym();
    return match_wide_number();
  }

  bool match_wide_number() {
    const bool is_negative = take_if("-");
    const std::optional<std::uint64_t> value = number();
    if (!value) return fail("a number, map[...], func, subprog[...] or btf_id[...]");
    const bool is_hex = token().text.starts_with("0x");
    ++at_;
    // Decimal without "ll" is the 32-bit immediate of a mov.
    if ((is_negative || !is_hex) && !take("ll")) return false;
    if (is_hex && !is_negative) take_if("ll");
    parsed_.insn.imm = static_cast<std::int64_t>(is_negative ? std::uint64_t{0} - *value : *value);
    return true;
  }

  void set_wide(std::uint32_t low, std::uint32_t high) {
    parsed_.insn.imm = static_cast<std::int64_t>(std::uint64_t{high} << 32 | low);
  }

  bool match_subprogram() {
    parsed_.insn.src = BPF_PSEUDO_FUNC;
    std::int32_t distance = 0;
    std::uint32_t high = 0;
    if (!take("[") || !match_signed(distance, "a signed distance of 32 bits (+1)") || !take("]"))
      return false;
    if (take_if("@") && !match_unsigned(high, "a number of 32 bits")) return false;
    set_wide(static_cast<std::uint32_t>(distance), high);
    return skip_name();
  }

  bool match_map() {
    std::uint32_t number = 0;
    std::uint32_t offset = 0;
    if (!take("[")) return false;
    const bool is_fd = token().text == "id" || token().text == "fd";
    if ((is_fd || token().text == "idx") && tokens_[at_ + 1].text == ":") {
      at_ += 2;
      if (!match_unsigned(number, "the map's number")) return false;
    } else {
      const auto index = token().kind == TokenKind::kWord ? names_.map(token().text) : std::nullopt;
      if (!index) return fail("idx:N, id:N or the name of a map");
      number = *index;
      ++at_;
    }
    if (!take("]")) return false;
    parsed_.insn.src = is_fd ? BPF_PSEUDO_MAP_FD : BPF_PSEUDO_MAP_IDX;
    if (is_fd && take_if("[") && !(take("0") && take("]") && token().text == "+"))
      return fail("[0]+N");
    if (take_if("+")) {
      if (!match_unsigned(offset, "an offset of 32 bits")) return false;
      parsed_.insn.src = is_fd ? BPF_PSEUDO_MAP_VALUE : BPF_PSEUDO_MAP_IDX_VALUE;
    }
    set_wide(number, offset);
    return true;
  }

  bool match_btf_id() {
    parsed_.insn.src = BPF_PSEUDO_BTF_ID;
    std::uint32_t id = 0;
    std::uint32_t object = 0;
    if (!take("[") || !match_unsigned(id, "a number of 32 bits") || !take("]")) return false;
    if (take_if("@") && !match_unsigned(object, "a number of 32 bits")) return false;
    set_wide(id, object);
    return true;
  }

  bool match_ksym() {
    parsed_.insn.src = BPF_PSEUDO_BTF_ID;
    if (!take("[")) return false;
    const auto index = token().kind == TokenKind::kWord ? names_.ksym(token().text) : std::nullopt;
    if (!index) return fail("the name of a kernel symbol");
    set_wide(*index, 0);
    ++at_;
    return take("]");
  }

  std::span<const Token> tokens_;
  const AssembleNames& names_;
  const std::map<std::string, std::uint32_t, std::less<>>& labels_;
  std::size_t at_ = 0;
  std::size_t failed_at_ = 0;
  std::vector<std::string> expected_;
  ParsedInsn parsed_;
  bool seen_dst_ = false;
  bool seen_src_ = false;
};

std::unexpected<Error> bad_text(std::size_t line, std::size_t column, const std::string& what) {
  return make_errno_error(ErrorCode::kMalformed, EINVAL,
                          fmt::format("line {}, column {}: {}", line, column, what));
}

struct SourceLine {
  std::size_t number;  // 1-based
  std::vector<Token> tokens;
  std::vector<Token> labels;  // that stand before the instruction
};

class Assembler {
 public:
  explicit Assembler(const AssembleNames& names) : names_(names) {}

  Result<std::vector<Insn>> run(std::string_view text) {
    LMN_CHECK_OK(read_lines(text));
    for (const SourceLine& line : lines_) LMN_CHECK_OK(assemble_line(line));
    for (const Pending& pending : pending_) LMN_CHECK_OK(patch(pending));
    return std::move(insns_);
  }

 private:
  struct Pending {
    std::uint32_t at;
    std::size_t line;
    Fixup fixup;
  };

  // Cuts all lines and learns the labels' names; where they stand is known only when all lines
  // before are assembled.
  Result<void> read_lines(std::string_view text) {
    for (std::size_t number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      SourceLine line{number, cut_line(text.substr(0, end)), {}};
      text.remove_prefix(std::min(end + 1, text.size()));
      while (line.tokens[0].kind == TokenKind::kWord && line.tokens[1].text == ":") {
        const Token& label = line.tokens[0];
        if (!labels_.emplace(std::string(label.text), 0).second) {
          return bad_text(number, label.column,
                          fmt::format("label '{}' is there already", label.text));
        }
        line.labels.push_back(label);
        line.tokens.erase(line.tokens.begin(), line.tokens.begin() + 2);
      }
      lines_.push_back(std::move(line));
    }
    return {};
  }

  Result<void> assemble_line(const SourceLine& line) {
    for (const Token& label : line.labels) {
      labels_.find(label.text)->second = static_cast<std::uint32_t>(insns_.size());
    }
    if (line.tokens[0].kind == TokenKind::kEnd) return {};
    LineMatcher matcher(line.tokens, names_, labels_);
    for (std::size_t row = 0; row < kOpCount; ++row) {
      const OpInfo& info = op_info(static_cast<Op>(row));
      if (info.notation.empty()) continue;
      const std::optional<ParsedInsn> parsed = matcher.match(info);
      if (!parsed) continue;
      if (const char* problem = field_problem(parsed->insn)) {
        return bad_text(line.number, line.tokens[0].column, problem);
      }
      append(*parsed, line.number);
      return {};
    }
    return bad_text(line.number, matcher.failed_column(), matcher.failure());
  }

  void append(const ParsedInsn& parsed, std::size_t line) {
    if (parsed.fixup)
      pending_.push_back({static_cast<std::uint32_t>(insns_.size()), line, *parsed.fixup});
    insns_.push_back(parsed.insn);
    if (parsed.insn.op == Op::kLddw) insns_.push_back(Insn{.op = Op::kLddwHigh});
  }

  Result<void> patch(const Pending& pending) {
    const Fixup& fixup = pending.fixup;
    const auto label = labels_.find(fixup.label);
    if (label == labels_.end()) {
      return bad_text(pending.line, fixup.column, fmt::format("no label '{}'", fixup.label));
    }
    const std::int64_t distance = std::int64_t{label->second} - pending.at - 1;
    Insn& insn = insns_[pending.at];
    switch (fixup.use) {
      case LabelUse::kJump16:
        if (distance != static_cast<std::int16_t>(distance)) {
          return bad_text(
              pending.line, fixup.column,
              fmt::format(
                  "label '{}' is {} slots away, a jump reaches 32767 (gotol reaches further)",
                  fixup.label, distance));
        }
        insn.off = static_cast<std::int16_t>(distance);
        return {};
      case LabelUse::kJump32:
      case LabelUse::kCall:
        insn.imm = static_cast<std::int32_t>(distance);
        return {};
      case LabelUse::kAddress:
        insn.imm = static_cast<std::uint32_t>(distance);
        return {};
    }
    return {};
  }

  const AssembleNames& names_;
  std::vector<SourceLine> lines_;
  std::map<std::string, std::uint32_t, std::less<>> labels_;  // name, slot
  std::vector<Pending> pending_;
  std::vector<Insn> insns_;
};

}  // namespace

std::optional<std::uint32_t> AssembleNames::helper(std::string_view name) const {
  return uapi_helper_id(name);
}

Result<std::vector<Insn>> assemble(std::string_view text, const AssembleNames* names) {
  const AssembleNames no_names;
  return Assembler(names == nullptr ? no_names : *names).run(text);
}

}  // namespace lmn
