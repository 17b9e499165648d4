// SPDX-License-Identifier: Apache-2.0
//
// FunctionSignature: what BTF says a function of the program takes and returns.
//
// A global function is judged once, for all callers, by its signature: its body may rely on what
// the types and the argument tags (__arg_ctx, __arg_nonnull ...) promise, and every caller must
// keep that promise. A static function is walked anew at each call and needs none.
// Threads: values and pure functions. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/btf.c (btf_prepare_func_args).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.h"
#include "spec/program_spec.h"

namespace lmn {

struct FunctionArg {
  // kObject: an object of the kernel (__arg_trusted).
  enum class Kind : std::uint8_t { kNumber, kContext, kMemory, kDynptr, kObject };
  Kind kind = Kind::kNumber;
  std::uint32_t size = 0;        // kMemory
  bool may_be_null = false;      // kMemory, kObject
  std::string_view struct_name;  // kObject
};

struct FunctionSignature {
  bool is_usable = false;  // false: `problem` says why; a global function is then refused
  std::string problem;     // in the kernel's words
  std::vector<FunctionArg> args;
};

// REQUIRES nothing of `function`: ids that do not exist make the signature unusable.
FunctionSignature read_signature(const Btf* btf, const FunctionInfo& function);

}  // namespace lmn
