// SPDX-License-Identifier: Apache-2.0
//
// Helpers that call a function of the program again and again: bpf_loop and bpf_for_each_map_elem.
//
// The function is called through RunContext::call_back; a result other than 0 ends the loop, and so
// does a trap in it. Both give the number of calls made.
//
// A walk over a map fetches the next key before it shows an element, so that the callback may
// delete the element that it is shown. When it deletes the one that would have come next, the walk
// ends there: keys have no order by which it could go on. A callback that deletes and inserts in
// turn could lead a walk in circles; so it ends after as many calls as the map has room for
// entries. Linux puts a bpf_loop whose flags are known to be 0 into the program's own code. Two
// things differ there from the helper's own text, and they are what programs see, so they are so
// here: the whole 64-bit count is compared with the limit, and -E2BIG comes back as 32 bits,
// zero-extended. Not done yet: the element deleted ahead of the walk needs a cursor in Map. Tested
// by algorithms_test.cc and tests/differential/helper_programs_test.cc. Source: Linux 6.18,
// kernel/bpf/bpf_iter.c (bpf_loop), kernel/bpf/verifier.c (inline_bpf_loop), kernel/bpf/arraymap.c
// and hashtab.c (for_each_*_elem).
#include <array>
#include <cerrno>
#include <cstring>

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

using KeyBuffer = std::array<std::uint8_t, limits::kKeyBytesMax>;

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
  KeyBuffer key;
  KeyBuffer next;
  if (map.next_key(nullptr, key.data()) != 0) return 0;
  std::uint64_t calls = 0;
  for (bool has_more = true; has_more && calls < map.spec().max_entries;) {
    has_more = map.next_key(key.data(), next.data()) == 0;
    const void* value = map.lookup(key.data(), context->cpu);
    if (value == nullptr) return calls;
    ++calls;
    const std::array<std::uint64_t, 4> arguments = {r1,
                                                    reinterpret_cast<std::uintptr_t>(key.data()),
                                                    reinterpret_cast<std::uintptr_t>(value), r3};
    if (call_program(*context, r2, arguments) != 0) return calls;
    std::memcpy(key.data(), next.data(), map.spec().key_size);
  }
  return calls;
}

}  // namespace lmn
