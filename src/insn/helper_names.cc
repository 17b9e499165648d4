// SPDX-License-Identifier: Apache-2.0
//
// The list of linux/bpf.h, expanded. Tested by disasm_test.cc.
#include "insn/helper_names.h"

#include <linux/bpf.h>

#include <iterator>

namespace lmn {
namespace {

struct HelperName {
  std::int64_t id;
  std::string_view name;
};

#define LMN_HELPER_NAME(name, id, ...) {id, "bpf_" #name},
constexpr HelperName kHelperNames[] = {___BPF_FUNC_MAPPER(LMN_HELPER_NAME)};
#undef LMN_HELPER_NAME

constexpr bool ids_are_positions() {
  for (std::size_t i = 0; i < std::size(kHelperNames); ++i) {
    if (kHelperNames[i].id != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}
static_assert(ids_are_positions(), "the look-up by number indexes the list");

}  // namespace

std::string_view uapi_helper_name(std::int64_t id) {
  if (id < 0 || id >= static_cast<std::int64_t>(std::size(kHelperNames))) return {};
  return kHelperNames[static_cast<std::size_t>(id)].name;
}

std::optional<std::uint32_t> uapi_helper_id(std::string_view name) {
  for (const HelperName& helper : kHelperNames) {
    if (helper.name == name || helper.name.substr(4) == name)
      return static_cast<std::uint32_t>(helper.id);
  }
  return std::nullopt;
}

}  // namespace lmn
