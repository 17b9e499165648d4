// SPDX-License-Identifier: Apache-2.0
//
// Goal: types are shown as bpftool 7.1 shows them, to the byte: as records, as C and as JSON.
// Method: both dump every object that was compiled for the tests and the examples, Debian's XDP
// objects and the running kernel's types.
// Two differences in JSON are bpftool's and taken out before comparing: it prints values of
// unsigned 32-bit enums above 2^31 as 64-bit numbers with the upper half set, and it writes a tab
// as \t where we write \u0009.
#include <gtest/gtest.h>
#include <linux/btf.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "btf/btf_c.h"
#include "btf/btf_text.h"
#include "btf_input.h"
#include "commands_for_tests.h"

namespace lmn {
namespace {

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// JSON without the two differences: values modulo 2^32.
std::string normal_json(const std::string& json) {
  const std::string key = "\"val\":";
  std::string out;
  std::size_t at = 0;
  for (std::size_t found = 0; (found = json.find(key, at)) != std::string::npos;) {
    out.append(json, at, found + key.size() - at);
    char* end = nullptr;
    const char* digits = json.c_str() + found + key.size();
    const std::uint64_t value = *digits == '-'
                                    ? static_cast<std::uint64_t>(std::strtoll(digits, &end, 10))
                                    : std::strtoull(digits, &end, 10);
    out += std::to_string(static_cast<std::uint32_t>(value));
    at = static_cast<std::size_t>(end - json.c_str());
  }
  return replace_all(out + json.substr(at), "\\t", "\\u0009");
}

// The first line that differs, for a message that can be read.
std::string first_difference(const std::string& ours, const std::string& theirs) {
  if (ours == theirs) return {};
  const auto [our_end, their_end] =
      std::mismatch(ours.begin(), ours.end(), theirs.begin(), theirs.end());
  const auto at = static_cast<std::size_t>(our_end - ours.begin());
  const std::size_t from = at < 100 ? 0 : at - 100;
  return "at byte " + std::to_string(at) + "\nours:   " + ours.substr(from, 160) +
         "\ntheirs: " + theirs.substr(from, 160);
}

void expect_equal_to_bpftool(const std::string& path) {
  const auto btf = load_btf_file(path);
  const CommandOutput raw = run_command("bpftool btf dump file '" + path + "' format raw");
  if (!btf) {
    EXPECT_NE(raw.status, 0) << path << ": " << btf.error().to_string();
    return;
  }
  ASSERT_EQ(raw.status, 0) << path << ": " << raw.error;
  EXPECT_EQ(first_difference(btf_raw_text(**btf).value_or("error"), raw.out), "") << path;
  const CommandOutput c = run_command("bpftool btf dump file '" + path + "' format c");
  EXPECT_EQ(first_difference(btf_c_header(**btf).value_or("error"), c.out), "") << path;
  const CommandOutput json = run_command("bpftool -j btf dump file '" + path + "'");
  JsonWriter ours;
  ASSERT_TRUE(write_btf_json(ours, **btf)) << path;
  EXPECT_EQ(first_difference(normal_json(ours.text() + "\n"), normal_json(json.out)), "") << path;
}

std::vector<std::string> objects_in(const std::filesystem::path& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".o") paths.push_back(entry.path());
  }
  return paths;
}

TEST(BtfDump, ObjectsOfTestsAndExamples) {
  if (const auto reason = why_no_bpftool()) GTEST_SKIP() << *reason;
  const std::vector<std::string> paths = objects_in(LMN_BINARY_DIR "/bpf");
  EXPECT_GE(paths.size(), 9u);
  for (const std::string& path : paths) expect_equal_to_bpftool(path);
}

TEST(BtfDump, DebiansXdpObjects) {
  if (const auto reason = why_no_bpftool()) GTEST_SKIP() << *reason;
  const std::filesystem::path folder = "/usr/lib/x86_64-linux-gnu/bpf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder << ": install libxdp1";
  const std::vector<std::string> paths = objects_in(folder);
  EXPECT_FALSE(paths.empty());
  for (const std::string& path : paths) expect_equal_to_bpftool(path);
}

TEST(BtfDump, TheRunningKernel) {
  if (const auto reason = why_no_bpftool()) GTEST_SKIP() << *reason;
  const std::filesystem::path folder = "/sys/kernel/btf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "this kernel does not show its types";
  // Its modules' types are split BTF, which goes on from vmlinux.
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    expect_equal_to_bpftool(entry.path());
  }
}

// BTF that goes on from `base`: struct split { struct leaf member; } and a typedef of it.
std::string split_bytes(const Btf& base) {
  const auto word_at = [&base](std::size_t at) {
    std::uint32_t word = 0;
    for (std::size_t i = 0; i < 4; ++i) word |= std::uint32_t{base.raw()[at + i]} << (8 * i);
    return word;
  };
  const std::string strings("split\0member\0split_t\0", 21);
  const std::uint32_t names = word_at(20);  // btf_header::str_len
  const std::uint32_t leaf = base.find_by_name("leaf", BtfKind::kStruct).value_or(0);
  std::vector<std::uint32_t> types = {names, BTF_KIND_STRUCT << 24 | 1, 4};
  types.insert(types.end(), {names + 6, leaf, 0});
  types.insert(types.end(), {names + 13, BTF_KIND_TYPEDEF << 24, base.type_count()});
  const auto type_bytes = static_cast<std::uint32_t>(types.size() * 4);
  std::vector<std::uint32_t> words = {0x0001eb9f, 24,         0,
                                      type_bytes, type_bytes, std::uint32_t(strings.size())};
  words.insert(words.end(), types.begin(), types.end());
  std::string bytes;
  for (const std::uint32_t word : words) {
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(word >> (8 * i));
  }
  return bytes + strings;
}

TEST(BtfDump, SplitBtf) {
  if (const auto reason = why_no_bpftool()) GTEST_SKIP() << *reason;
  const std::string base_path = LMN_BINARY_DIR "/bpf/inspect_btf_kinds.bpf.o";
  const auto base = load_btf_file(base_path);
  ASSERT_TRUE(base) << base.error().to_string();
  const std::string path = LMN_BINARY_DIR "/bpf/inspect_split.btf";
  std::ofstream(path, std::ios::binary) << split_bytes(**base);
  const auto split = load_btf_file(path, base_path);
  ASSERT_TRUE(split) << split.error().to_string();
  const std::string command = "bpftool -B '" + base_path + "' btf dump file '" + path + "' format ";
  const std::string raw = btf_raw_text(**split).value_or("error");
  EXPECT_NE(raw.find("STRUCT 'split' size=4 vlen=1\n\t'member' "), std::string::npos);
  EXPECT_EQ(first_difference(raw, run_command(command + "raw").out), "");
  const std::string c = btf_c_header(**split).value_or("error");
  EXPECT_EQ(first_difference(c, run_command(command + "c").out), "");
}

}  // namespace
}  // namespace lmn
