// SPDX-License-Identifier: Apache-2.0
//
// The canary: a planted crash. A driver that does not find it within its slice, or finds it and
// exits 0, would let every real crash pass too. tests/repository/fuzz_driver_test.py expects the
// failure; no other test runs this target.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size >= 4 && data[0] == 0x7f && data[size - 1] == 0xff) std::abort();
  return 0;
}
