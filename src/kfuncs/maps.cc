// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of maps: how many elements one has.
//
// Linux counts the elements of hash maps only; every other map has none.
// Tested by kfuncs_test.cc.
// Source: Linux 6.18, kernel/bpf/map_iter.c (bpf_map_sum_elem_count).
#include "kfuncs/bodies.h"
#include "maps/map.h"

namespace lmn {

LMN_KFUNC_BODY(bpf_map_sum_elem_count) {
  return kfunc::result(kfunc::as_pointer<Map>(r1)->element_count());
}

}  // namespace lmn
