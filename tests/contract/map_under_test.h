// SPDX-License-Identifier: Apache-2.0
//
// MapUnderTest: the user-side operations of a map, whoever answers: LMN or the kernel of the
// machine.
//
// Thin on purpose: each call is one call of the side behind it, and what comes back is what that
// side said: 0 or -errno, and the bytes of the buffer whether or not they were written. Test code
// only. Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/kernel_oracle.h"
#include "maps/map.h"
#include "maps/map_batch.h"

namespace lmn {

using Bytes = std::vector<std::uint8_t>;

class MapUnderTest {
 public:
  virtual ~MapUnderTest() = default;
  // Keys may be empty where bpf(2) takes a null address.
  virtual int update(const Bytes& key, const Bytes& value, std::uint64_t flags) = 0;
  virtual int lookup(const Bytes& key, Bytes& out, std::uint64_t flags) = 0;
  virtual int erase(const Bytes& key) = 0;
  virtual int next_key(const Bytes& key, Bytes& next) = 0;
  virtual int lookup_and_erase(const Bytes& key, Bytes& out, std::uint64_t flags) = 0;
  virtual int freeze() = 0;
  // The calls on many elements. The kernel's cookies are its own: both sides get buffers alone.
  enum class Batch : std::uint8_t { kLookup, kLookupAndErase, kUpdate, kErase };
  virtual int batch(Batch what, MapBatch& batch) = 0;
};

// What BPF_MAP_CREATE says to `spec`: 0 or -errno, for parameters that KernelMapOptions does not
// have too (NUMA node, BTF ids).
// `inner_fd` is the template of a map of maps, `btf_fd` what the spec's type ids are of.
int kernel_create_error(const MapSpec& spec, int inner_fd = 0, int btf_fd = 0);

// Null when the side refuses to make it.
std::unique_ptr<MapUnderTest> make_lmn_map(const MapSpec& spec, MapHost& host);
std::unique_ptr<MapUnderTest> make_kernel_map(const MapSpec& spec, int inner_fd = 0,
                                              int btf_fd = 0);

}  // namespace lmn
