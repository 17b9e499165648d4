// SPDX-License-Identifier: Apache-2.0
//
// Reading of tab-separated tables and of tags.
#include "verdict_tables.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <utility>

namespace lmn {
namespace {

std::vector<std::string> columns_of(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream stream(line);
  for (std::string column; std::getline(stream, column, '\t');) out.push_back(column);
  return out;
}

double number_of(std::string_view text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string data_file(std::string_view name) {
  return fmt::format("{}/tests/conformance/data/{}", LMN_SOURCE_DIR, name);
}

// The flags that tests of the kernel name in "__flag(...)".
std::uint32_t flag_of(std::string_view name) {
  constexpr std::pair<std::string_view, std::uint32_t> kFlags[] = {
      {"BPF_F_STRICT_ALIGNMENT", BPF_F_STRICT_ALIGNMENT},
      {"BPF_F_ANY_ALIGNMENT", BPF_F_ANY_ALIGNMENT},
      {"BPF_F_TEST_RND_HI32", BPF_F_TEST_RND_HI32},
      {"BPF_F_TEST_STATE_FREQ", BPF_F_TEST_STATE_FREQ},
      {"BPF_F_SLEEPABLE", BPF_F_SLEEPABLE},
      {"BPF_F_XDP_HAS_FRAGS", BPF_F_XDP_HAS_FRAGS},
      {"BPF_F_TEST_REG_INVARIANTS", BPF_F_TEST_REG_INVARIANTS},
  };
  for (const auto& [known, value] : kFlags) {
    if (known == name) return value;
  }
  return 0;
}

// Rows of a table of ours: no heading, comments begin with '#'.
std::vector<std::vector<std::string>> read_rows(std::string_view name, std::size_t columns_min) {
  std::vector<std::vector<std::string>> out;
  std::ifstream file(data_file(name));
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line.front() == '#') continue;
    auto columns = columns_of(line);
    if (columns.size() >= columns_min) out.push_back(std::move(columns));
  }
  return out;
}

// Whether `text` begins with `message`, and if so where that ends. {{[0-9]+}} and {{.*}} in a
// message are the regular expressions that tests use; another one matches nothing.
std::optional<std::size_t> end_of_prefix(std::string_view text, std::string_view message) {
  constexpr std::string_view kNumber = "{{[0-9]+}}";
  constexpr std::string_view kAnything = "{{.*}}";
  const std::size_t plain = std::min(message.find("{{"), message.size());
  if (!text.starts_with(message.substr(0, plain))) return std::nullopt;
  text.remove_prefix(plain);
  message.remove_prefix(plain);
  if (message.empty()) return plain;
  std::size_t taken = 0;
  if (message.starts_with(kNumber)) {
    taken = std::min(text.find_first_not_of("0123456789"), text.size());
    if (taken == 0) return std::nullopt;
    const auto rest = end_of_prefix(text.substr(taken), message.substr(kNumber.size()));
    return rest ? std::optional(plain + taken + *rest) : std::nullopt;
  }
  if (!message.starts_with(kAnything)) return std::nullopt;
  for (; taken <= text.size(); ++taken) {
    const auto rest = end_of_prefix(text.substr(taken), message.substr(kAnything.size()));
    if (rest) return plain + taken + *rest;
  }
  return std::nullopt;
}

// Where `message` ends in the text, or npos. It lies within one line, unless it has line ends of
// its own.
std::size_t end_of(std::string_view text, std::string_view message) {
  if (message.find("{{") == std::string_view::npos) {
    const std::size_t at = text.find(message);
    return at == std::string_view::npos ? at : at + message.size();
  }
  for (std::size_t from = 0; from < text.size(); ++from) {
    const std::size_t line_end = std::min(text.find('\n', from), text.size());
    const auto end = end_of_prefix(text.substr(from, line_end - from), message);
    if (end) return from + *end;
  }
  return std::string_view::npos;
}

}  // namespace

VerdictTable read_xdp_table() {
  VerdictTable out;
  std::ifstream file(data_file("verdicts.tsv"));
  for (std::string line; std::getline(file, line);) {
    const auto columns = columns_of(line);
    if (columns.size() < 6 || columns[3] != "xdp") continue;
    if (columns[5] != "accept" && columns[5] != "reject") continue;
    VerdictRow row;
    row.program = columns[1];
    row.is_accepted = columns[5] == "accept";
    row.is_annotated = !columns[4].empty();
    row.kernel_microseconds = columns.size() > 10 ? number_of(columns[10]) : 0;
    out[columns[0]].push_back(row);
  }
  return out;
}

VerdictTable read_as_xdp_table() {
  VerdictTable out;
  std::ifstream file(data_file("verdicts_as_xdp.tsv"));
  for (std::string line; std::getline(file, line);) {
    const auto columns = columns_of(line);
    if (columns.size() < 7 || columns[4] != columns[6]) continue;
    if (columns.size() > 10 && columns[10] == "n") continue;
    if (columns.size() > 11 && columns[11] == "n") continue;
    if (columns[4] != "accept" && columns[4] != "reject") continue;
    VerdictRow row;
    row.program = columns[1];
    row.is_accepted = columns[6] == "accept";
    row.is_as_xdp = row.is_annotated = true;
    row.kernel_microseconds = columns.size() > 9 ? number_of(columns[9]) : 0;
    out[columns[0]].push_back(row);
  }
  return out;
}

TestTags read_tags(const Btf& btf, const ProgramSpec& program) {
  TestTags out;
  if (program.functions.empty()) return out;
  std::vector<std::pair<std::uint32_t, std::string>> numbered;
  for (std::uint32_t id = 1; id < btf.type_count(); ++id) {
    const BtfType& type = btf.type(id);
    if (type.kind != BtfKind::kDeclTag) continue;
    if (type.type != program.functions.front().btf_type_id) continue;
    std::string_view tag = type.name;
    const auto takes = [&tag](std::string_view prefix) {
      if (!tag.starts_with(prefix)) return false;
      tag.remove_prefix(prefix.size());
      return true;
    };
    if (takes("comment:test_expect_msg=")) {
      // Numbered, so that they stand in order: "0=R1 invalid mem access".
      const std::size_t text = tag.find('=');
      std::uint32_t number = 0;
      std::from_chars(tag.data(), tag.data() + tag.size(), number);
      numbered.emplace_back(number, tag.substr(text + 1));
    } else if (takes("comment:test_log_level=")) {
      std::from_chars(tag.data(), tag.data() + tag.size(), out.log_level);
    } else if (takes("comment:test_prog_flags=")) {
      out.prog_flags |= flag_of(tag);
    } else if (takes("comment:test_btf_path=")) {
      out.btf_object = tag;
    }
  }
  std::ranges::sort(numbered);
  for (auto& [number, text] : numbered) out.messages.push_back(std::move(text));
  return out;
}

std::vector<Wording> read_wordings() {
  std::vector<Wording> out;
  for (const auto& columns : read_rows("wordings.tsv", 2)) out.push_back({columns[0], columns[1]});
  return out;
}

std::optional<std::string> missing_message(std::string_view log,
                                           const std::vector<std::string>& messages,
                                           const std::vector<Wording>& wordings) {
  for (const std::string& message : messages) {
    std::size_t end = end_of(log, message);
    for (const Wording& wording : wordings) {
      if (end != std::string_view::npos) break;
      if (message.find(wording.kernel) == std::string::npos) continue;
      end = end_of(log, wording.ours);
    }
    if (end == std::string_view::npos) return message;
    log.remove_prefix(end);
  }
  return std::nullopt;
}

std::vector<VerdictException> read_exceptions() {
  std::vector<VerdictException> out;
  for (const auto& columns : read_rows("verdict_exceptions.tsv", 4)) {
    out.push_back({columns[0], columns[1], columns[2], columns[3]});
  }
  return out;
}

std::vector<std::string> difference_ids() {
  std::vector<std::string> out;
  std::ifstream file(fmt::format("{}/docs/kernel-differences.md", LMN_SOURCE_DIR));
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| ")) continue;
    const std::size_t end = line.find(" |", 2);
    if (end != std::string::npos) out.push_back(line.substr(2, end - 2));
  }
  return out;
}

}  // namespace lmn
