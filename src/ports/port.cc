// SPDX-License-Identifier: Apache-2.0
//
// The table of port drivers, expanded from port_drivers.def. Tested by port_spec_test.cc.
#include "ports/port.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/assert.h"

namespace lmn {

#define LMN_PORT_DRIVER(name, open, syntax, summary) \
  Result<OpenedPorts> open(const PortSpec& spec, PortResources& resources);
#include "ports/port_drivers.def"
#undef LMN_PORT_DRIVER

namespace {

constexpr PortDriver kDrivers[] = {
#define LMN_PORT_DRIVER(name, open, syntax, summary) {#name, syntax, summary, open},
#include "ports/port_drivers.def"
#undef LMN_PORT_DRIVER
};

constexpr bool starts_with_own_name(const PortDriver& driver) {
  return driver.syntax.starts_with(driver.name);
}
static_assert(std::ranges::is_sorted(kDrivers, {}, &PortDriver::name) &&
                  std::ranges::adjacent_find(kDrivers, {}, &PortDriver::name) ==
                      std::ranges::end(kDrivers),
              "rows are sorted by name and unique, so that a row is found at a glance");
static_assert(std::ranges::all_of(kDrivers, starts_with_own_name),
              "the syntax is shown in errors without the driver's name before it");

}  // namespace

std::span<const PortDriver> port_drivers() { return kDrivers; }

const PortDriver* find_port_driver(std::string_view name) {
  const auto* found = std::ranges::find(kDrivers, name, &PortDriver::name);
  return found == std::ranges::end(kDrivers) ? nullptr : found;
}

Result<OpenedPorts> open_port(const PortSpec& spec, PortResources& resources) {
  LMN_ASSERT(resources.pool != nullptr);
  LMN_ASSERT(resources.clock != nullptr);
  const PortDriver* driver = find_port_driver(spec.driver);
  if (driver == nullptr) {
    return make_error(ErrorCode::kNotFound, fmt::format("no port driver '{}'", spec.driver));
  }
  return driver->open(spec, resources);
}

}  // namespace lmn
