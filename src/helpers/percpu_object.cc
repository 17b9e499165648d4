// SPDX-License-Identifier: Apache-2.0
//
// bpf_per_cpu_ptr and bpf_this_cpu_ptr: one CPU's part of an object of bpf_percpu_obj_new.
//
// The caller has checked that r1 is such an object. Linux gives these helpers the kernel's own
// per-CPU variables (__ksym) too, of which there are none here: reading such a symbol is refused
// when the object is loaded.
// Threads: any worker. Tested by tests/differential/kernel_objects_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_per_cpu_ptr, bpf_this_cpu_ptr).
#include "helpers/bodies.h"
#include "maps/object_heap.h"

namespace lmn {
namespace {

std::uint64_t part_of(const RunContext& context, std::uint64_t object, std::uint32_t cpu) {
  const ObjectHeap::Found found = context.objects->find(object);
  return object + std::uint64_t{cpu} * ObjectLayout::part_stride(found.part_bytes);
}

}  // namespace

LMN_HELPER_BODY(per_cpu_ptr) {
  const std::uint32_t cpu = helper::as_u32(r2);
  return cpu < context->cpu_count ? part_of(*context, r1, cpu) : 0;
}

LMN_HELPER_BODY(this_cpu_ptr) { return part_of(*context, r1, context->cpu); }

}  // namespace lmn
