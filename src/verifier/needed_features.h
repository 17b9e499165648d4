// SPDX-License-Identifier: Apache-2.0
//
// needed_features: what an accepted program needs of its port and engine (abi/features.def), found
// from its live instructions.
//
// Calls, maps and context fields are looked up. The verdicts are what the entry can return: a pass
// over the code follows small constants forward through registers and spilled slots, as sets of
// "may be 0 ... 4, another constant, anything"; what bpf_redirect_map returns is XDP_REDIRECT or
// the fallback in its flags. Where that ends in "anything", the set says action-computed, and a
// port must be able to do all of them. The walk over paths cannot be asked, for it cuts paths whose
// difference only matters for the verdict.
//
// The set may name too much, never too little.
// Threads: pure functions. Tested by features_test.cc.
#pragma once

#include "abi/features.h"
#include "spec/environment.h"
#include "verifier/verifier.h"

namespace lmn {

FeatureSet needed_features(const Environment& env, const StructuredProgram& program,
                           const VerifiedFacts& facts);

}  // namespace lmn
