// SPDX-License-Identifier: Apache-2.0
//
// create_object_map: a map of an object file, with the types of its keys and values as libbpf gives
// them to the kernel: not to every type of map, and not where they do not fit.
//
// Threads: a call on the control thread. Tested by engine_test.cc and tests/contract/.
// Source: libbpf 1.5, src/libbpf.c (bpf_object__create_map).
#pragma once

#include <memory>
#include <string>

#include "btf/btf.h"
#include "maps/map.h"

namespace lmn {

// `types` are the object's, or null. `note` gets why a map was made without its types, as libbpf
// does it: its values are bytes then. Errors: create_map's, with the map's name.
Result<std::unique_ptr<Map>> create_object_map(const MapSpec& spec,
                                               const std::shared_ptr<const Btf>& types,
                                               const MapOptions& options, MapHost& host,
                                               std::string& note);

}  // namespace lmn
