// SPDX-License-Identifier: Apache-2.0
//
// Goal: settings become the bytes a program expects, or an error that says what does not fit.
// Method: tables.
#include "object/kconfig_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace lmn {
namespace {

using ::testing::HasSubstr;

TEST(KconfigValuesTest, LinesOfAConfig) {
  const auto values = parse_kconfig(
      "# CONFIG_A is not set\nCONFIG_B=y\r\nCONFIG_C=\nOTHER=1\nCONFIG_D=\"a=b\"\nCONFIG_E=3");
  EXPECT_EQ(values.size(), 3u);
  EXPECT_EQ(values.at("CONFIG_B"), "y");
  EXPECT_EQ(values.at("CONFIG_D"), "\"a=b\"");
  EXPECT_EQ(values.at("CONFIG_E"), "3");
}

TEST(KconfigValuesTest, ValuesThatFit) {
  struct Case {
    const char* value;
    KconfigType type;
    bool is_signed;
    std::vector<std::uint8_t> bytes;
  };
  for (const Case& c :
       {Case{"y", KconfigType::kBool, false, {1}}, Case{"n", KconfigType::kBool, false, {0}},
        Case{"m", KconfigType::kTristate, false, {2, 0, 0, 0}},
        Case{"y", KconfigType::kChar, false, {'y'}},
        Case{"1000", KconfigType::kInteger, false, {0xe8, 3}},
        Case{"-2", KconfigType::kInteger, true, {0xfe, 0xff}},
        Case{"0x10", KconfigType::kInteger, false, {16, 0}},
        Case{"010", KconfigType::kInteger, false, {8, 0}},
        Case{"65535", KconfigType::kInteger, false, {0xff, 0xff}},
        Case{"65", KconfigType::kChar, true, {65}},
        Case{"\"abcdef\"", KconfigType::kCharArray, false, {'a', 'b', 'c', 0}},
        Case{"\"\"", KconfigType::kCharArray, false, {0, 0}}}) {
    std::vector<std::uint8_t> to(c.bytes.size(), 0xaa);
    auto stored = store_kconfig("CONFIG_X", c.value, c.type, c.is_signed, to);
    ASSERT_TRUE(stored) << c.value << ": " << stored.error().to_string();
    EXPECT_EQ(to, c.bytes) << c.value;
  }
}

TEST(KconfigValuesTest, ValuesThatDoNot) {
  struct Case {
    const char* value;
    KconfigType type;
    bool is_signed;
    const char* message;
  };
  for (const Case& c : {Case{"m", KconfigType::kBool, false, "is a module"},
                        Case{"y", KconfigType::kInteger, false, "does not fit its type"},
                        Case{"65536", KconfigType::kInteger, false, "does not fit 2 bytes"},
                        Case{"32768", KconfigType::kInteger, true, "does not fit 2 bytes"},
                        Case{"-32769", KconfigType::kInteger, true, "does not fit 2 bytes"},
                        Case{"text", KconfigType::kInteger, false, "is no number"},
                        Case{"0x", KconfigType::kInteger, false, "is no number"},
                        Case{"12 ", KconfigType::kInteger, false, "is no number"},
                        Case{"1", KconfigType::kBool, false, "is a number"},
                        Case{"\"a\"", KconfigType::kInteger, false, "is text"},
                        Case{"\"", KconfigType::kCharArray, false, "no closing quote"}}) {
    std::vector<std::uint8_t> to(2);
    auto stored = store_kconfig("CONFIG_X", c.value, c.type, c.is_signed, to);
    ASSERT_FALSE(stored) << c.value;
    EXPECT_THAT(stored.error().message, HasSubstr(c.message));
    EXPECT_THAT(stored.error().message, HasSubstr("CONFIG_X"));
  }
}

}  // namespace
}  // namespace lmn
