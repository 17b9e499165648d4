// SPDX-License-Identifier: Apache-2.0
//
// The kernel's types as this engine offers them: structs of the objects that calls give, and LMN's
// own functions, as BTF.
//
// A program that reads `ct->mark` was compiled against one kernel's struct nf_conn and relocated
// (CO-RE) for another's; the object it is handed must have the shape of the latter. So the engine
// takes the structs that it knows out of the BTF that programs are relocated for, and lays its
// objects out after them; a struct which that BTF lacks, or all of them when there is none, has the
// shape of Linux 6.18 as Debian builds it, as own_types.h lists it. The result is a small graph of
// its own: pointers in the structs lead nowhere (they are void *), since there is nothing behind
// them here, but for those from the buffer of a packet to its queue and device (device_images.h).
// Of these only some members are kept up; the others are there by name, as kUnkeptTypeName, so that
// the verifier can refuse them by it.
//
//   LMN_TRY(auto types, make_kernel_types(host_btf.get()));
//   environment.kernel_types = types.get();            // what the verifier judges accesses by
//   LMN_CHECK_OK(table.set_layout(nf_conn_layout(*types)));
//
// The same graph, made without a host's, is LMN's own BTF: a second target for CO-RE, so that
// programs find the types and functions that no kernel has.
// Threads: pure functions. Tested by kernel_types_test.cc.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "btf/btf.h"
#include "kfuncs/device_images.h"
#include "packet/conntrack_table.h"
#include "packet/flow_table.h"
#include "packet/kernel_struct.h"

namespace lmn {

// `target` is what programs are relocated for, or null. Errors: kMalformed when it has such a
// struct in a shape that cannot be, for instance without the field that makes it what it is.
Result<std::shared_ptr<const Btf>> make_kernel_types(const Btf* target);

// Where the fields of `struct nf_conn` lie. REQUIRES: `types` of make_kernel_types.
NfConnLayout nf_conn_layout(const Btf& types);

// Where those of `struct xdp_buff` and of what it leads to lie. REQUIRES: as above.
DeviceLayout device_layout(const Btf& types);

// Where those of `struct flow_offload_tuple_rhash` lie. REQUIRES: as above.
FlowLayout flow_layout(const Btf& types);

// What the executing engine must know of them. REQUIRES: as above.
std::vector<KernelStruct> kernel_structs(const Btf& types);

}  // namespace lmn
