// SPDX-License-Identifier: Apache-2.0
//
// Port specifications: taken apart here, judged by the drivers through check_spec().
// Tested by port_spec_test.cc.
#include "ports/port_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/assert.h"

namespace lmn {
namespace {

constexpr std::string_view kNetdevDriver = "packet";  // the best driver for a bare netdev name
constexpr std::size_t kNetdevNameMax = 15;            // IFNAMSIZ without its zero

std::string driver_names() {
  std::string out;
  for (const PortDriver& driver : port_drivers()) {
    if (!out.empty()) out += ", ";
    out += driver.name;
  }
  return out;
}

// Cuts at commas; a backslash makes the character after it an ordinary one.
Result<std::vector<std::string>> split_words(const PortSpec& spec, std::string_view text) {
  std::vector<std::string> words(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      words.emplace_back();
      continue;
    }
    if (text[i] == '\\' && ++i == text.size()) return spec_error(spec, "ends with a backslash");
    words.back() += text[i];
  }
  return words;
}

Result<PortSpec> bare_netdev(PortSpec spec) {
  if (spec.text.size() > kNetdevNameMax) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("port '{}': a netdev name has at most {} characters, this has {}",
                                  spec.text, kNetdevNameMax, spec.text.size()),
                      fmt::format("drivers: {}", driver_names()));
  }
  spec.driver = kNetdevDriver;
  spec.names.push_back(spec.text);
  return spec;
}

bool contains(std::span<const std::string_view> words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

}  // namespace

std::unexpected<Error> spec_error(const PortSpec& spec, std::string_view what) {
  const PortDriver* driver = find_port_driver(spec.driver);
  return make_error(ErrorCode::kInvalidArgument, fmt::format("port '{}': {}", spec.text, what),
                    driver == nullptr ? std::string() : fmt::format("syntax: {}", driver->syntax));
}

Result<PortSpec> parse_port_spec(std::string_view text) {
  PortSpec spec;
  spec.text = text;
  if (text.empty()) {
    return make_error(ErrorCode::kInvalidArgument, "empty port specification",
                      fmt::format("a netdev name, or DRIVER:... with one of: {}", driver_names()));
  }
  const std::size_t head_end = text.find_first_of(":,");
  const std::string_view head = text.substr(0, head_end);
  const bool has_driver = find_port_driver(head) != nullptr;
  if (head_end == std::string_view::npos && !has_driver) return bare_netdev(std::move(spec));
  if (!has_driver) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("port '{}': no port driver '{}'", text, head),
                      fmt::format("drivers: {}", driver_names()));
  }
  spec.driver = head;
  if (head_end == std::string_view::npos || head_end + 1 == text.size()) return spec;
  LMN_TRY(const std::vector<std::string> words, split_words(spec, text.substr(head_end + 1)));
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (word.empty() || equals == 0) return spec_error(spec, "an empty word between commas");
    if (equals == std::string::npos) {
      spec.names.push_back(word);
    } else {
      spec.options.push_back({word.substr(0, equals), word.substr(equals + 1)});
    }
  }
  return spec;
}

Result<void> check_spec(const PortSpec& spec, const SpecRules& rules) {
  for (const PortOption& option : spec.options) {
    if (contains(rules.repeatable_keys, option.key)) continue;
    if (!contains(rules.keys, option.key)) {
      return spec_error(spec, fmt::format("unknown option '{}'", option.key));
    }
    if (std::ranges::count(spec.options, option.key, &PortOption::key) > 1) {
      return spec_error(spec, fmt::format("option '{}' given twice", option.key));
    }
  }
  if (spec.names.size() > rules.name_count_max) {
    return spec_error(spec, fmt::format("unknown word '{}'", spec.names[rules.name_count_max]));
  }
  if (spec.names.size() < rules.name_count_min) {
    return spec_error(spec,
                      fmt::format("{} of {} names given", spec.names.size(), rules.name_count_min));
  }
  return {};
}

std::optional<std::string_view> find_option(const PortSpec& spec, std::string_view key) {
  const auto found = std::ranges::find(spec.options, key, &PortOption::key);
  if (found == spec.options.end()) return std::nullopt;
  return found->value;
}

Result<std::uint64_t> number_option(const PortSpec& spec, std::string_view key,
                                    std::uint64_t fallback, NumberRange range) {
  const std::optional<std::string_view> text = find_option(spec, key);
  if (!text) return fallback;
  std::uint64_t value = 0;
  const char* end = text->data() + text->size();
  const auto [stop, failure] = std::from_chars(text->data(), end, value);
  if (failure != std::errc() || stop != end) {
    return spec_error(spec, fmt::format("{}={}: not a decimal number", key, *text));
  }
  if (value < range.min || value > range.max) {
    return spec_error(spec,
                      fmt::format("{}={}: not within {} to {}", key, value, range.min, range.max));
  }
  return value;
}

Result<std::uint32_t> mtu_option(const PortSpec& spec, std::uint32_t fallback) {
  constexpr std::uint64_t kMtuMin = 68;  // ETH_MIN_MTU of the kernel
  LMN_TRY(const std::uint64_t mtu,
          number_option(spec, "mtu", fallback, {.min = kMtuMin, .max = limits::kMtuMax}));
  return static_cast<std::uint32_t>(mtu);
}

PortInfo make_own_port_info(const PortSpec& spec, std::string name, std::uint32_t mtu,
                            PortResources& resources) {
  PortInfo info;
  info.name = std::move(name);
  info.driver = spec.driver;
  info.ifindex = resources.next_own_ifindex++;
  info.mtu = mtu;
  info.mac = {0x02,
              'l',
              'm',
              static_cast<std::uint8_t>(info.ifindex >> 16),
              static_cast<std::uint8_t>(info.ifindex >> 8),
              static_cast<std::uint8_t>(info.ifindex)};
  return info;
}

}  // namespace lmn
