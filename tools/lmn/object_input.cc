// SPDX-License-Identifier: Apache-2.0
//
// Finding the object and the program a command line means.
#include "object_input.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/bpf.h>

#include <algorithm>

#include "abi/limits.h"
#include "base/file.h"
#include "insn/insn_table.h"
#include "kfuncs/kernel_types.h"
#include "object/object_reader.h"

namespace lmn {

namespace {

constexpr std::size_t kKernelBtfBytesMax = 64u << 20;

// What a kernel's configuration would say of what LMN imitates, for programs that ask (.kconfig).
constexpr std::string_view kConfiguration =
    "CONFIG_HZ=250\n"
    "CONFIG_HZ_250=y\n"
    "CONFIG_BPF=y\n"
    "CONFIG_BPF_SYSCALL=y\n"
    "CONFIG_NF_CONNTRACK=y\n"
    "CONFIG_NF_CONNTRACK_MARK=y\n"
    "CONFIG_NF_FLOW_TABLE=y\n";
constexpr std::uint32_t kLikeLinuxVersion = 6u << 16 | 18u << 8;  // KERNEL_VERSION(6, 18, 0)

bool has_defect(const ObjectSpec& spec) {
  for (const ProgramSpec& program : spec.programs) {
    if (program.defect) return true;
  }
  return false;
}

// Programs that read what a device knows of a packet are loaded for that device. Loaders say so by
// a flag, which no object file can; here the ports are the device.
void bind_to_device(ObjectSpec& spec) {
  for (ProgramSpec& program : spec.programs) {
    const bool asks_device = std::ranges::any_of(program.kfuncs, [](const auto& kfunc) {
      return kfunc.name.starts_with("bpf_xdp_metadata_rx_");
    });
    if (program.type == BPF_PROG_TYPE_XDP && asks_device) {
      program.prog_flags |= BPF_F_XDP_DEV_BOUND_ONLY;
    }
  }
}

}  // namespace

std::shared_ptr<const Btf> kernel_btf() {
  const auto bytes = read_file("/sys/kernel/btf/vmlinux", kKernelBtfBytesMax);
  if (!bytes) return nullptr;
  auto btf = parse_btf(*bytes);
  return btf ? *btf : nullptr;
}

bool calls_helper(const ObjectSpec& spec, std::uint32_t helper_id) {
  const auto is_call = [&](const Insn& insn) {
    return is_helper_call(insn) && static_cast<std::uint32_t>(insn.imm) == helper_id;
  };
  return std::ranges::any_of(spec.programs, [&](const ProgramSpec& program) {
    return std::ranges::any_of(program.insns, is_call);
  });
}

Result<ObjectSpec> load_object_file(const std::string& path) {
  LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(path, limits::kObjectBytesMax));
  ReadOptions options;
  options.object_name = object_name_of(path);
  Result<ObjectSpec> spec = read_object(bytes, options);
  if (spec && has_defect(*spec)) {
    // CO-RE relocations want a kernel's types; parsing those costs more than most objects, so only
    // now.
    options.kconfig = kConfiguration;
    options.kernel_version = kLikeLinuxVersion;
    // Types and functions that no kernel has are in LMN's own; without a kernel's that is all.
    LMN_TRY(std::shared_ptr<const Btf> own, make_kernel_types(nullptr));
    options.target_btf = kernel_btf();
    if (options.target_btf == nullptr) {
      options.target_btf = std::move(own);
    } else {
      options.target_modules.push_back(std::move(own));
    }
    spec = read_object(bytes, options);
  }
  if (!spec) return make_error(std::move(spec).error().with_context(path));
  bind_to_device(*spec);
  return spec;
}

Result<const ProgramSpec*> choose_program(const ObjectSpec& spec, const std::string& name) {
  std::vector<std::string> names;
  const ProgramSpec* only = nullptr;
  std::size_t xdp_count = 0;
  for (const ProgramSpec& program : spec.programs) {
    if (!name.empty() && program.name == name) return &program;
    names.push_back(fmt::format("{} (section '{}')", program.name, program.section));
    if (program.type != BPF_PROG_TYPE_XDP) continue;
    only = &program;
    ++xdp_count;
  }
  const std::string there = names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
  if (!name.empty()) {
    return make_error(ErrorCode::kNotFound,
                      fmt::format("no program '{}'; there is: {}", name, there));
  }
  if (xdp_count == 1) return only;
  return make_error(ErrorCode::kInvalidArgument,
                    fmt::format("the object has {} XDP programs; there is: {}", xdp_count, there),
                    "name one with --prog");
}

}  // namespace lmn
