// SPDX-License-Identifier: Apache-2.0
//
// HeapMeter: the most heap that was live at one time during one fuzz input.
//
// A parser must bound its memory by itself: the peak of the process says little, since the seeds,
// the mutants kept and the sanitizer's own memory are in it. Under AddressSanitizer every
// allocation can be watched without replacing operator new (which would blind it to mismatched
// pairs), and only there is it measured: elsewhere start() says no and peaks are 0.
//
// Threads: one; the meter is per process. Tested by heap_meter_test.cc (in the asan preset).
#pragma once

#include <cstddef>

namespace lmn::fuzz::heap_meter {

// Starts watching; false: this build cannot.
bool start();
// From here a new peak is measured.
void reset_peak();
// Bytes that were allocated after reset_peak(), less those freed, at the worst moment.
std::size_t peak_bytes();

}  // namespace lmn::fuzz::heap_meter
