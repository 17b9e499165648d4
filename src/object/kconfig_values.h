// SPDX-License-Identifier: Apache-2.0
//
// Values for .kconfig variables, from the text of a kernel's .config: the conversion from
// "CONFIG_HZ=1000" to bytes of the C type the program declared. Tested by kconfig_values_test.cc.
// Source: Linux 6.18, Documentation/kbuild/kconfig-language.rst; libbpf 1.5's rules for types and
// ranges.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "btf/btf.h"

namespace lmn {

enum class KconfigType : std::uint8_t { kUnknown, kBool, kTristate, kChar, kInteger, kCharArray };

// What a .kconfig variable of that BTF type can hold; kUnknown: not a type for one.
KconfigType kconfig_type(const Btf& btf, std::uint32_t type_id, bool& is_signed);

// "CONFIG_X" -> "y", "1000", "\"text\"". Lines that set nothing are passed over.
std::map<std::string_view, std::string_view> parse_kconfig(std::string_view text);

// Writes the value as the type wants it; an error names what does not fit.
Result<void> store_kconfig(std::string_view name, std::string_view value, KconfigType type,
                           bool is_signed, std::span<std::uint8_t> to);

}  // namespace lmn
