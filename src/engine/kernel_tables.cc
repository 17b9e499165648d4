// SPDX-License-Identifier: Apache-2.0
//
// The tables and the shape of their objects. Tested by engine_test.cc.
#include "engine/kernel_tables.h"

#include <algorithm>

#include "base/assert.h"
#include "kfuncs/kernel_types.h"

namespace lmn {

Result<std::unique_ptr<KernelTables>> KernelTables::create(std::uint64_t seed) {
  std::unique_ptr<KernelTables> tables(new KernelTables);
  LMN_TRY(tables->conntrack_, ConntrackTable::create({.seed = seed}));
  LMN_TRY(tables->fdb_, FdbTable::create({.seed = seed}));
  LMN_CHECK_OK(tables->shape_after(nullptr));
  return tables;
}

Result<void> KernelTables::use_types(const std::shared_ptr<const Btf>& target) {
  if (target == nullptr || target == target_) return {};
  LMN_CHECK_OK(shape_after(target.get()));
  target_ = target;
  return {};
}

Result<void> KernelTables::shape_after(const Btf* target) {
  LMN_TRY(std::shared_ptr<const Btf> types, make_kernel_types(target));
  LMN_CHECK_OK(conntrack_->set_layout(nf_conn_layout(*types)));
  flows_.set_layout(flow_layout(*types));
  std::vector<KernelStruct> structs = kernel_structs(*types);
  if (structs_.empty()) {
    structs_ = std::move(structs);
  } else {
    LMN_ASSERT(structs.size() == structs_.size());
    std::ranges::move(structs, structs_.begin());
  }
  types_ = std::move(types);
  return {};
}

void KernelTables::fill(RunContext& context) noexcept {
  context.conntrack = conntrack_.get();
  context.fdb = fdb_.get();
  context.flows = &flows_;
  context.kernel_structs = structs_;
}

}  // namespace lmn
