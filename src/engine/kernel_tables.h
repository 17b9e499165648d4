// SPDX-License-Identifier: Apache-2.0
//
// KernelTables: what programs ask a kernel for beside packets and maps: connections, bridges,
// flows, and the types of the objects they get for it.
//
// One per engine. The objects have the shape that the BTF says which programs are relocated for
// (kfuncs/kernel_types.h), so a program that was relocated for another kernel than an earlier one
// changes the shape of all; that is refused as soon as there are connections, whose fields programs
// may be looking at. Programs that were not relocated get LMN's own types.
//
// Threads: control calls while nothing runs; what fill() gives is for workers.
// Tested by engine_test.cc and tests/differential/conntrack_test.cc.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "btf/btf.h"
#include "kfuncs/device_images.h"
#include "packet/conntrack_table.h"
#include "packet/fdb_table.h"
#include "packet/flow_table.h"
#include "packet/run_context.h"

namespace lmn {

class KernelTables final : public KernelObjects {
 public:
  // `seed` is of hashes and of the ports that address translation chooses; RunContext::cpu is below
  // `cpu_count`.
  static Result<std::unique_ptr<KernelTables>> create(std::uint64_t seed, std::uint32_t cpu_count);

  // Shapes all objects after `target`; null, or the one of the last call: nothing changes. Errors:
  // kMalformed for types that cannot be, kInvalidArgument when connections have another shape.
  Result<void> use_types(const std::shared_ptr<const Btf>& target);
  const Btf& types() const { return *types_; }
  // What the last call was given: the numbers of types in programs are of this; null before it.
  const Btf* target() const { return target_.get(); }

  void fill(RunContext& context) noexcept;

  ConntrackTable& conntrack() { return *conntrack_; }
  FdbTable& fdb() { return *fdb_; }
  FlowTable& flows() { return flows_; }

  // KernelObjects
  std::optional<std::uint32_t> find(std::uint64_t address) const noexcept override;
  std::uint64_t context_object(RunContext& context) noexcept override;
  std::size_t read(RunContext& context, std::uint64_t address,
                   std::span<std::uint8_t> out) noexcept override;

 private:
  KernelTables() = default;
  Result<void> shape_after(const Btf* target);

  std::shared_ptr<const Btf> target_;
  std::shared_ptr<const Btf> types_;
  std::vector<KernelStruct> structs_;  // contexts hold a view: never resized after create()
  std::unique_ptr<ConntrackTable> conntrack_;
  std::unique_ptr<FdbTable> fdb_;
  FlowTable flows_;
  std::vector<DeviceImages> devices_;  // by CPU
};

}  // namespace lmn
