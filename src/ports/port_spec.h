// SPDX-License-Identifier: Apache-2.0
//
// What a driver uses to read its part of a port specification: internal to src/ports; the public
// side is parse_port_spec() in port.h.
//
// A driver states once which words it knows (SpecRules); everything else is refused by name, with
// the driver's syntax as the remedy. Values are read by find_option() and number_option().
// Threads: plain functions. Tested by port_spec_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ports/port.h"

namespace lmn {

// The words a driver knows.
struct SpecRules {
  std::span<const std::string_view> keys;             // key=value, at most once each
  std::span<const std::string_view> repeatable_keys;  // key=value, any number of times
  std::size_t name_count_min = 0;                     // words without '='
  std::size_t name_count_max = 0;
};

// Errors: kInvalidArgument naming the word that the driver does not know, or the missing one.
Result<void> check_spec(const PortSpec& spec, const SpecRules& rules);

// `port "TEXT": WHAT` with the driver's syntax as remedy.
std::unexpected<Error> spec_error(const PortSpec& spec, std::string_view what);

std::optional<std::string_view> find_option(const PortSpec& spec, std::string_view key);

struct NumberRange {
  std::uint64_t min = 0;
  std::uint64_t max = UINT64_MAX;
};
// The option as a decimal number, or `fallback` when it is not given.
Result<std::uint64_t> number_option(const PortSpec& spec, std::string_view key,
                                    std::uint64_t fallback, NumberRange range);
// The option mtu=, which every driver that has an MTU of its own reads alike.
Result<std::uint32_t> mtu_option(const PortSpec& spec, std::uint32_t fallback);

// What a port without a netdev is: its own ifindex and a locally administered address made of it.
PortInfo make_own_port_info(const PortSpec& spec, std::string name, std::uint32_t mtu,
                            PortResources& resources);

}  // namespace lmn
