// SPDX-License-Identifier: Apache-2.0
//
// The tables and the shape of their objects. Tested by engine_test.cc.
#include "engine/kernel_tables.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/assert.h"
#include "kfuncs/kernel_types.h"

namespace lmn {
namespace {

// As kernel_structs() lists them.
constexpr std::uint32_t kConnectionStruct = 0;

std::uint32_t namespace_number() {
  struct stat status = {};
  return ::stat("/proc/self/ns/net", &status) == 0 ? static_cast<std::uint32_t>(status.st_ino) : 0;
}

}  // namespace

Result<std::unique_ptr<KernelTables>> KernelTables::create(std::uint64_t seed,
                                                           std::uint32_t cpu_count) {
  std::unique_ptr<KernelTables> tables(new KernelTables);
  LMN_TRY(tables->conntrack_, ConntrackTable::create({.seed = seed}));
  LMN_TRY(tables->fdb_, FdbTable::create({.seed = seed}));
  tables->devices_.resize(cpu_count);
  for (DeviceImages& images : tables->devices_) images.set_namespace(namespace_number());
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
  for (DeviceImages& images : devices_) images.set_layout(device_layout(*types));
  std::vector<KernelStruct> structs = kernel_structs(*types);
  if (structs_.empty()) {
    structs_ = std::move(structs);
  } else {
    LMN_ASSERT(structs.size() == structs_.size());
    std::ranges::move(structs, structs_.begin());
  }
  LMN_ASSERT(structs_[kConnectionStruct].name == "nf_conn");
  types_ = std::move(types);
  return {};
}

void KernelTables::fill(RunContext& context) noexcept {
  context.conntrack = conntrack_.get();
  context.fdb = fdb_.get();
  context.flows = &flows_;
  context.kernel_structs = structs_;
  context.kernel_objects = this;
}

std::optional<std::uint32_t> KernelTables::find(std::uint64_t address) const noexcept {
  const auto* image = reinterpret_cast<const void*>(static_cast<std::uintptr_t>(address));
  if (conntrack_->at(image) == nullptr) return std::nullopt;
  return kConnectionStruct;
}

std::uint64_t KernelTables::context_object(RunContext& context) noexcept {
  return context.cpu < devices_.size() ? devices_[context.cpu].refresh(context) : 0;
}

std::size_t KernelTables::read(RunContext& context, std::uint64_t address,
                               std::span<std::uint8_t> out) noexcept {
  return context.cpu < devices_.size() ? devices_[context.cpu].read(context, address, out) : 0;
}

}  // namespace lmn
