// SPDX-License-Identifier: Apache-2.0
//
// InnerMaps: which maps a map of maps takes: those that look like its template.
//
// A program is checked against the template, so every inner map must agree with it in type, sizes,
// flags and what its values hold besides bytes, and where programs have the count built into their
// code, in max_entries too. Threads: immutable after creation. Tested by maps_test.cc and
// tests/contract/maps_contract_test.cc. Source: Linux 6.18, kernel/bpf/map_in_map.c, arraymap.c
// (array_map_meta_equal), net/xdp/xskmap.c.
#pragma once

#include "maps/map.h"

namespace lmn {

class InnerMaps {
 public:
  // Errors: the template's own; kInvalidArgument with EBADF when spec.inner is missing, with EINVAL
  // when it holds maps itself; kNotSupported for types that cannot be inside.
  static Result<InnerMaps> create(const MapSpec& spec, const MapOptions& options, MapHost& host);

  // The map behind a handle that user space wrote, with a reference, or null and -errno in `error`.
  Map* acquire(std::uint32_t handle, int& error) const noexcept;
  void release(Map* map) const noexcept { host_->release_map(map); }
  // What to make an inner map from: the template as it was given.
  const MapSpec& shape() const { return template_; }

 private:
  InnerMaps(MapSpec given, MapSpec shape, MapFields fields, MapHost& host)
      : template_(std::move(given)),
        shape_(std::move(shape)),
        fields_(std::move(fields)),
        host_(&host) {}
  bool fits(const Map& map) const noexcept;

  MapSpec template_;
  MapSpec shape_;     // of a map made from it: a devmap has a flag then that nobody may ask for
  MapFields fields_;  // of the template's values
  MapHost* host_;
};

}  // namespace lmn
