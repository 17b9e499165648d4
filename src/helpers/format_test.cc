// SPDX-License-Identifier: Apache-2.0
//
// Goal: the format language, specifier by specifier, and each of its errors. Method: a table of
// formats, arguments and texts; the same formats are compared with the kernel's bpf_snprintf in
// tests/differential/helpers_test.cc.
#include "helpers/format.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "helpers/test_run.h"

namespace lmn::helper {
namespace {

struct Outcome {
  std::int64_t result;
  std::string text;
};

constexpr std::uint8_t kIpv6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
constexpr std::uint8_t kWord[] = {'w', 'o', 'r', 'd', 0};

Outcome format(std::string_view text, std::span<const std::uint64_t> arguments,
               std::size_t room = 1024) {
  TestRun run({});
  run.allow_read(kIpv6);
  run.allow_read(kWord);
  std::string out(room, '?');
  const std::int64_t result = format_text(run.context, text, arguments, out);
  out.resize(std::min(out.find('\0'), out.size()));
  return {result, result < 0 ? "" : out};
}

std::uint64_t address(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

TEST(Format, Texts) {
  struct Case {
    std::string_view format;
    std::uint64_t argument;
    std::string_view expected;
  };
  const Case kCases[] = {
      {"%d", 0xffffffffffffffff, "-1"},
      {"%d", 0x1'0000'0005, "5"},
      {"%i|", 7, "7|"},
      {"%u", 0xffffffffffffffff, "4294967295"},
      {"%lu", 0xffffffffffffffff, "18446744073709551615"},
      {"%llu", 1, "1"},
      {"%ld", 0xffffffffffffffff, "-1"},
      {"%lld", 0x8000000000000000, "-9223372036854775808"},
      {"%x %%", 0xdeadBEEF, "deadbeef %"},
      {"%X", 0xdeadbeef, "DEADBEEF"},
      {"%llx", 0x123456789a, "123456789a"},
      {"%5d|", 42, "   42|"},
      {"%-5d|", 42, "42   |"},
      {"%05d|", 0xffffffd6, "-0042|"},
      {"%+d", 42, "+42"},
      {"% d", 42, " 42"},
      {"%+u", 42, "42"},
      {"%-05d|", 42, "42   |"},
      {"%c|", 'A', "A|"},
      {"%3c|", 'A', "  A|"},
      {"%-3c|", 'A', "A  |"},
      {"%s", address(kWord), "word"},
      {"%6s|", address(kWord), "  word|"},
      {"%-6s|", address(kWord), "word  |"},
      {"%s|", 16, "|"},
      {"%pks|", address(kWord), "word|"},
      {"%9pks|", address(kWord), "word|"},
      {"%pus|", address(kWord), "|"},
      {"%px", 0xffff8880, "00000000ffff8880"},
      {"%4px|", 0x12, "  12|"},
      {"%p", 0, "0000000000000000"},
      {"%p", ~21ull, "ffffffffffffffea"},
      {"%pB", 0x1234, "0x1234"},
      {"%pS", 0x1234, "0x1234"},
      {"%ps|", 0x1234, "0x1234|"},
      {"%pI4", address(kIpv6), "32.1.13.184"},
      {"%pi4", address(kIpv6), "032.001.013.184"},
      {"%pI6", address(kIpv6), "2001:0db8:0000:0000:0000:0000:0000:0001"},
      {"%pi6", address(kIpv6), "20010db8000000000000000000000001"},
      {"%pI6c", address(kIpv6), "2001:0db8:0000:0000:0000:0000:0000:0001"},
      {"%pI4", 16, "0.0.0.0"},
  };
  for (const Case& c : kCases) {
    const std::uint64_t arguments[] = {c.argument};
    const Outcome outcome = format(c.format, arguments);
    EXPECT_EQ(outcome.text, c.expected) << c.format;
    EXPECT_EQ(outcome.result, static_cast<std::int64_t>(c.expected.size())) << c.format;
  }
}

TEST(Format, DigestsHideAddressesAndTellThemApart) {
  const std::uint64_t arguments[] = {0xffff888000001000, 0xffff888000001000, 0xffff888000001008};
  const Outcome outcome = format("%p %p %p", arguments);
  const std::string first = outcome.text.substr(0, 16);
  EXPECT_EQ(first.substr(0, 8), "00000000");
  EXPECT_EQ(outcome.text.substr(17, 16), first);
  EXPECT_NE(outcome.text.substr(34, 16), first);
  EXPECT_EQ(outcome.text.find("ffff8880"), std::string::npos);
}

TEST(Format, Errors) {
  constexpr std::string_view kBad[] = {
      "%",   "%z",   "%hd", "%f",  "%n",    "%5",  "%.5s", "%#x", "%*d",  "%lllu", "%sx",    "%s%d",
      "%pX", "%pI5", "%pI", "%pi", "%pksx", "%pk", "%lc",  "%ls", "\x01", "\x7f",  "%s\x80",
  };
  const std::uint64_t arguments[] = {0};
  for (const std::string_view bad : kBad) {
    EXPECT_EQ(format(bad, arguments).result, -EINVAL) << bad;
  }
  EXPECT_EQ(format("%d", {}).result, -EINVAL) << "more specifiers than arguments";
  EXPECT_EQ(format("\xc3\xa9", arguments).text, "\xc3\xa9") << "more than ASCII is text";
  EXPECT_EQ(format("%pI4\xc3|", arguments).text, "0.0.0.0|") << "a letter of Latin-1";
  EXPECT_EQ(format("\t\n", arguments).result, 2) << "white space is text";
}

TEST(Format, ScratchBoundsWhatStringsPrint) {
  std::vector<std::uint8_t> text(600, 'x');
  text.back() = 0;
  TestRun run({});
  run.allow_read(text);
  std::array<char, 1024> out;
  const std::uint64_t arguments[] = {address(text.data()), address(text.data()), 1};
  EXPECT_EQ(format_text(run.context, "%s", arguments, out), 511) << "cut to the scratch area";
  EXPECT_EQ(format_text(run.context, "%s %s", arguments, out), -ENOSPC) << "none left";
  const std::uint64_t rest[] = {address(text.data()) + 599 - 507, 1, 1};
  EXPECT_EQ(format_text(run.context, "%s %d", rest, out), 509) << "508 of 512 bytes, then 4";
  EXPECT_EQ(format_text(run.context, "%s %ld", rest, out), -ENOSPC);
  EXPECT_EQ(format_text(run.context, "%s %d %c", rest, out), -ENOSPC);
}

TEST(Format, AddressBehindExhaustedScratchIsCutAndEndsTheArguments) {
  std::vector<std::uint8_t> text(492, 'x');
  text.back() = 0;
  TestRun run({});
  run.allow_read(text);
  std::array<char, 1024> out;
  const std::uint64_t arguments[] = {address(text.data()), address(text.data()), 1};
  // 492 of 512 bytes are used: room for the 16 bytes of the address, not for its 39 characters.
  EXPECT_EQ(format_text(run.context, "%s%pI6", arguments, out), 491 + 19);
  EXPECT_EQ(format_text(run.context, "%s%pI6%d", arguments, out), -ENOSPC);
}

TEST(Format, TextsOfPointersAreNotCountedOnceTheOutputIsFull) {
  const std::uint64_t arguments[] = {address(kWord), address(kWord)};
  EXPECT_EQ(format("%pks %s", arguments, 64).result, 9);
  EXPECT_EQ(format("%pks %s", arguments, 2).result, 9) << "full inside the first";
  EXPECT_EQ(format("%pks %s", arguments, 0).result, 5);
  EXPECT_EQ(format("%s %pks", arguments, 2).result, 5);
}

TEST(Format, OutputIsCutAndAlwaysEnds) {
  const std::uint64_t arguments[] = {12345};
  EXPECT_EQ(format("%d", arguments, 3).text, "12");
  EXPECT_EQ(format("%d", arguments, 3).result, 5);
  EXPECT_EQ(format("%d", arguments, 1).text, "");
  EXPECT_EQ(format("%d", arguments, 0).result, 5);
  const Outcome wide = format("%9999999999d", arguments, 8);
  EXPECT_EQ(wide.result, (1 << 23) - 1);
}

}  // namespace
}  // namespace lmn::helper
