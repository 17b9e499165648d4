// SPDX-License-Identifier: Apache-2.0
//
// Compared rows: which rows of helpers.def and kfuncs.def need a comparison with the kernel, and
// whether the sources of the comparisons name them.
//
// A row that has none says why. Each is printed, for scripts/conformance/calls.sh, which asks the
// test programs themselves who called it on both sides (harness/compared_calls.h):
//
//   [ ROW ] bpf_csum_diff compared
//   [ ROW ] bpf_get_prandom_u32 excused a random number
//
// That a source names it is checked in every test run; that a call was made and compared, by the
// script. Threads: one. Tested by what uses it.
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/file.h"

namespace lmn {

// Sources of the comparisons with the kernel; those that list rows are left out.
inline std::string comparison_sources() {
  constexpr std::size_t kSourceBytesMax = 1u << 20;
  std::string all;
  const std::filesystem::path folder = std::string(LMN_SOURCE_DIR) + "/tests/differential";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().string();
    const bool is_source = path.ends_with(".c") || path.ends_with(".cc");
    const bool is_list = path.contains("rows_test") || path.contains("list_test");
    if (!is_source || is_list) continue;
    const auto bytes = read_file(path, kSourceBytesMax);
    EXPECT_TRUE(bytes.has_value()) << path;
    if (bytes) all.append(bytes->begin(), bytes->end());
  }
  return all;
}

// Whether `word` is in `text` as a word.
inline bool names_word(std::string_view text, std::string_view word) {
  const auto is_letter = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  for (std::size_t at = text.find(word); at != std::string_view::npos;
       at = text.find(word, at + 1)) {
    const std::size_t end = at + word.size();
    const bool begins = at == 0 || !is_letter(text[at - 1]);
    if (begins && (end == text.size() || !is_letter(text[end]))) return true;
  }
  return false;
}

// An empty reason: the row must be compared.
inline void print_row(std::string_view name, std::string_view reason) {
  std::printf("[ ROW ] %.*s %s%.*s\n", static_cast<int>(name.size()), name.data(),
              reason.empty() ? "compared" : "excused ", static_cast<int>(reason.size()),
              reason.data());
}

}  // namespace lmn
