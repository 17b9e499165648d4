// SPDX-License-Identifier: Apache-2.0
//
// Helpers that call a function of the program again and again: bpf_loop and bpf_for_each_map_elem.
//
// The function is called through RunContext::call_back; a result other than 0 ends the loop, and so
// does a trap in it. Both give the number of calls made.
//
// A walk over a map goes by places, of which there is a fixed number: the callback may delete any
// element and insert others. It is given the key where it lies in the map, whatever its size.
//
// Linux puts a bpf_loop whose flags are known to be 0 into the program's own code. Two things
// differ there from the helper's own text, and they are what programs see, so they are so here: the
// whole 64-bit count is compared with the limit, and -E2BIG comes back as 32 bits, zero-extended.
// Tested by algorithms_test.cc and tests/differential/helper_programs_test.cc.
// Source: Linux 6.18, kernel/bpf/bpf_iter.c (bpf_loop), kernel/bpf/verifier.c (inline_bpf_loop),
// kernel/bpf/arraymap.c and hashtab.c (for_each_*_elem).
#include <array>
#include <cerrno>

#include "abi/limits.h"
#include "helpers/bodies.h"
#include "maps/map.h"

namespace lmn {
namespace {

// What the function of the program gave for these arguments; not 0 ends the loop.
std::uint64_t call_program(RunContext& context, std::uint64_t function,
                           std::span<const std::uint64_t> arguments) {
  return context.call_back(context.engine_state, function, arguments);
}

}  // namespace

LMN_HELPER_BODY(loop) {
  const std::uint64_t count = r1;
  if (r4 != 0) return helper::failure(EINVAL);
  if (count > limits::kLoopIterationsMax) return helper::as_u32(helper::failure(E2BIG));
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::array<std::uint64_t, 2> arguments = {i, r3};
    if (call_program(*context, r2, arguments) != 0) return i + 1;
  }
  return count;
}

LMN_HELPER_BODY(for_each_map_elem) {
  if (r4 != 0) return helper::failure(EINVAL);
  Map& map = *helper::as_pointer<Map>(r1);
  std::uint64_t calls = 0;
  for (MapWalk walk; map.next_element(walk, context->cpu);) {
    ++calls;
    const std::array<std::uint64_t, 4> arguments = {r1, reinterpret_cast<std::uintptr_t>(walk.key),
                                                    reinterpret_cast<std::uintptr_t>(walk.value),
                                                    r3};
    if (call_program(*context, r2, arguments) != 0) return calls;
  }
  return calls;
}

}  // namespace lmn
