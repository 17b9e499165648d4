// SPDX-License-Identifier: Apache-2.0
//
// Chooses a runner by kind. Tested by tests/examples/examples_test.cc.
#include "runners/object_runner.h"

#include <sched.h>

#include "harness/kernel_oracle.h"

namespace lmn {
namespace {

// The kernel runner pins its thread to CPU 0; a cpuset may forbid that.
bool may_use_cpu0() {
  cpu_set_t cpus;
  return ::sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_ISSET(0, &cpus);
}

}  // namespace

std::optional<std::string> why_no_runner(RunnerKind kind) {
  switch (kind) {
    case RunnerKind::kKernel:
      if (!may_use_cpu0()) return "no kernel oracle: this process may not run on CPU 0";
      return why_no_kernel_oracle();
    case RunnerKind::kInterpreter:
      return std::nullopt;
  }
  return std::nullopt;
}

Result<std::unique_ptr<ObjectRunner>> open_runner(RunnerKind kind, const std::string& path,
                                                  const std::string& program) {
  switch (kind) {
    case RunnerKind::kKernel:
      return open_kernel_runner(path, program);
    case RunnerKind::kInterpreter:
      return open_engine_runner(path, program, nullptr);
  }
  return make_error(ErrorCode::kInternal, "a runner kind without a case");
}

}  // namespace lmn
