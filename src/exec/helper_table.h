// SPDX-License-Identifier: Apache-2.0
//
// HelperTable: how the execution engines find the body of a helper or kernel function. The promises
// and demands of a call are in Environment::helpers; what is behind it is asked here, so that exec
// does not depend on the helpers module (its sibling) and a test can put its own functions in.
#pragma once

#include <cstdint>
#include <string_view>

#include "packet/run_context.h"

namespace lmn {

struct HelperTable {
  // The body of helper `id`, or null. helpers/helpers.h: helper_function.
  HelperFn (*find_body)(std::uint32_t id) noexcept = nullptr;
  // The body of a kernel function, or null. kfuncs/kfuncs.h: kfunc_function.
  HelperFn (*find_kfunc_body)(std::string_view name) noexcept = nullptr;
};

}  // namespace lmn
