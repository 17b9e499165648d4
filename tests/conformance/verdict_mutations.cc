// SPDX-License-Identifier: Apache-2.0
//
// Goal: on programs that nobody wrote, our verdict is the kernel's. Method: take the kernel's own
// selftest programs, change one to three operands, operations or jumps at random, and ask both;
// this lands close to the border between safe and unsafe, where a verifier goes wrong.
//
//   lmn_verdict_mutations DIR COUNT [SEED [FILE-PREFIX [CHANGES]]]
//
// CHANGES is how many changes a program gets at most, 3 unless told; with 0 each program is judged
// once as it is.
// Programs with types and kernel functions are asked with both: their BTF is loaded, and the
// functions are found by name in the running kernel's.
//
// "We accept and it refuses" is the finding that matters; "we refuse and it accepts" is a loss of
// precision or a missing feature. Each is printed with both reasons and the listing of the program;
// the exit status is 0 when there is none of the first. Needs the rights to load programs; without
// them, or without the folder (scripts/selftests.sh), the run is skipped.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "btf/map_fields.h"
#include "harness/kernel_oracle.h"
#include "helpers/helpers.h"
#include "insn/codec.h"
#include "insn/disasm.h"
#include "insn/insn_table.h"
#include "kfuncs/kfuncs.h"
#include "loadable_btf.h"
#include "object/object_reader.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

// The refusal in a log: the last line before the figures.
std::string last_words(std::string_view log) {
  const std::size_t figures = log.rfind("\nprocessed ");
  const std::string_view words = figures == std::string_view::npos ? log : log.substr(0, figures);
  const std::size_t line = words.rfind('\n');
  return std::string(line == std::string_view::npos ? words : words.substr(line + 1));
}

// A program to start from, with its maps alive in the kernel.
struct Seed {
  std::shared_ptr<ObjectSpec> object;
  ProgramSpec program;
  std::vector<MapSpec> maps;
  std::vector<std::shared_ptr<KernelMap>> kernel_maps;
  std::shared_ptr<UniqueFd> btf;  // null: the kernel does not take it, or there is none
};

struct Counts {
  std::size_t both_accept = 0;
  std::size_t both_refuse = 0;
  std::size_t only_we_accept = 0;
  std::size_t only_we_accept_division = 0;  // explained: the domain knows quotients
  std::size_t only_we_refuse = 0;
};

std::shared_ptr<KernelMap> make_kernel_map(const MapSpec& spec, const Btf* btf, int btf_fd) {
  KernelMapOptions options;
  if (!read_map_fields(btf, spec.btf_value_type_id).fields.empty()) {
    if (btf_fd < 0) return nullptr;
    options.btf_fd = btf_fd;
    options.btf_key_type_id = spec.btf_key_type_id;
    options.btf_value_type_id = spec.btf_value_type_id;
  }
  options.type = spec.type;
  options.key_size = spec.key_size;
  options.value_size = spec.value_size;
  options.max_entries = spec.max_entries;
  options.flags = spec.map_flags;
  options.map_extra = spec.map_extra;
  std::shared_ptr<KernelMap> inner;
  if (spec.inner) {
    inner = make_kernel_map(*spec.inner, btf, btf_fd);
    if (!inner) return nullptr;
    options.inner_map_fd = inner->fd();
  }
  auto map = std::make_shared<KernelMap>(KernelMap::create(options));
  if (!map->is_created()) return nullptr;
  if (!spec.contents.empty() && spec.max_entries == 1) {
    std::vector<std::uint8_t> value = spec.contents;
    value.resize(spec.value_size);
    const std::vector<std::uint8_t> key(4);
    map->update(key, value);
  }
  if (spec.is_frozen_at_load) map->freeze();
  return map;
}

class Mutations {
 public:
  explicit Mutations(std::uint64_t seed) : random_(seed) {
    for (std::uint32_t type = 1; type < __MAX_BPF_MAP_TYPE; ++type) {
      const bool is_direct = type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_ARENA;
      map_types_.push_back(
          {type, "map", is_direct ? std::uint16_t{kMapDirectValue} : std::uint16_t{0}});
    }
    environment_.helpers = known_helper_protos();
    environment_.map_types = map_types_;
    environment_.context = kXdpMdFields;
    const auto known = kfunc_protos();
    kfuncs_.assign(known.begin(), known.end());
    for (KfuncProto& proto : kfuncs_) proto.refusal = {};
    environment_.kfuncs = kfuncs_;
    if (auto bytes = read_file("/sys/kernel/btf/vmlinux", 64u << 20)) {
      if (auto btf = parse_btf(*bytes)) kernel_types_ = *btf;
    }
    environment_.kernel_types = kernel_types_.get();
  }

  void add_object(const std::string& path) {
    const auto bytes = read_file(path, 64u << 20);
    if (!bytes) return;
    ReadOptions options;
    options.object_name = object_name_of(path);
    options.target_btf = kernel_types_;
    options.kernel_version = (6u << 16) | (18u << 8);
    auto read = read_object(*bytes, options);
    if (!read) return;
    auto object = std::make_shared<ObjectSpec>(*std::move(read));
    std::shared_ptr<UniqueFd> types;
    if (object->btf)
      types = std::make_shared<UniqueFd>(load_kernel_btf(loadable_btf(*object->btf)));
    const int types_fd = types ? types->get() : -1;
    if (types_fd < 0) fmt::print("{}: the kernel does not take its types\n", path);
    std::map<std::uint32_t, std::shared_ptr<KernelMap>> made;
    for (const ProgramSpec& program : object->programs) {
      if (program.defect || program.insns.size() > 400 || !knows_kfuncs(program)) continue;
      Seed seed{object, program, {}, {}, types_fd < 0 ? nullptr : types};
      bool is_usable = true;
      for (const std::uint32_t position : program.maps) {
        const MapSpec& spec = object->maps[position];
        if (!made.contains(position)) {
          made[position] = make_kernel_map(spec, object->btf.get(), types_fd);
        }
        is_usable = is_usable && made[position] != nullptr;
        seed.maps.push_back(spec);
        seed.kernel_maps.push_back(made[position]);
      }
      if (!is_usable) continue;
      seed.program.type = BPF_PROG_TYPE_XDP;
      seed.program.expected_attach_type = BPF_XDP;
      seed.program.license = "GPL";
      if (!seed.btf) {
        for (FunctionInfo& function : seed.program.functions) function.is_global = false;
      }
      seeds_.push_back(std::move(seed));
    }
  }

  std::size_t seed_count() const { return seeds_.size(); }

  // The programs as they are, with the reasons where both refuse.
  void judge_all() {
    is_showing_reasons_ = true;
    for (const Seed& seed : seeds_) judge(seed, seed.program);
  }

  void run_one(std::size_t changes_max) {
    const Seed& seed = seeds_[below(seeds_.size())];
    ProgramSpec program = seed.program;
    const std::size_t changes = below(changes_max + 1);
    for (std::size_t i = 0; i < changes; ++i) mutate(program.insns);
    judge(seed, program);
  }

  const Counts& counts() const { return counts_; }

 private:
  // The number of a function in the kernel's BTF; 0: it has none of this name.
  std::uint32_t kernel_function(const std::string& name) const {
    return kernel_types_ ? kernel_types_->find_by_name(name, BtfKind::kFunc).value_or(0) : 0;
  }

  bool knows_kfuncs(const ProgramSpec& program) const {
    return std::ranges::all_of(
        program.kfuncs, [&](const KfuncRef& kfunc) { return kernel_function(kfunc.name) != 0; });
  }

  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }

  std::int64_t some_number() {
    constexpr std::int64_t kCorners[] = {0,
                                         1,
                                         -1,
                                         2,
                                         4,
                                         7,
                                         8,
                                         14,
                                         15,
                                         16,
                                         31,
                                         32,
                                         63,
                                         64,
                                         255,
                                         256,
                                         -8,
                                         -16,
                                         4095,
                                         4096,
                                         0xffff,
                                         0x7fffffff,
                                         -0x80000000ll,
                                         48};
    return kCorners[below(std::size(kCorners))];
  }

  void mutate(std::vector<Insn>& insns) {
    const std::size_t at = below(insns.size());
    Insn insn = insns[at];
    if (insn.op == Op::kLddw || insn.op == Op::kLddwHigh || is_kfunc_call(insn)) return;
    switch (below(7)) {
      case 0:
        insn.imm = below(2) == 0 ? some_number() : insn.imm + static_cast<int>(below(17)) - 8;
        break;
      case 1:
        insn.off = static_cast<std::int16_t>(insn.off + static_cast<int>(below(17)) - 8);
        break;
      case 2:
        insn.dst = static_cast<std::uint8_t>(below(11));
        break;
      case 3:
        insn.src = static_cast<std::uint8_t>(below(11));
        break;
      case 4:
      case 5:
        insn.op = similar(insn.op);
        break;
      default:
        insn = {.op = Op::kMov64Imm, .dst = static_cast<std::uint8_t>(below(10))};
        insn.imm = some_number();
    }
    if (field_problem(insn) == nullptr) insns[at] = insn;
  }

  // Another operation that uses its fields alike.
  Op similar(Op op) {
    for (int i = 0; i < 50; ++i) {
      const auto other = static_cast<Op>(below(kOpCount));
      const OpInfo& a = op_info(op);
      const OpInfo& b = op_info(other);
      if (a.op_class == b.op_class && a.dst.use == b.dst.use && a.src.use == b.src.use &&
          a.imm.use == b.imm.use) {
        return other;
      }
    }
    return op;
  }

  void judge(const Seed& seed, const ProgramSpec& program) {
    std::string ours;
    bool we_accept = false;
    auto structure = check_structure(environment_, program, seed.maps, {.defers_operations = true});
    std::vector<std::uint32_t> starts;
    if (!structure) {
      ours = structure.error().to_string();
      for (const FunctionInfo& function : program.functions) starts.push_back(function.insn.value);
    } else {
      for (const Subprogram& function : structure->subprograms()) {
        starts.push_back(function.start.value);
      }
      VerifierReport report;
      VerifyOptions options;
      options.btf = seed.object->btf.get();
      options.report = &report;
      we_accept = verify(environment_, *std::move(structure), options).has_value();
      ours = fmt::format("insn {}: {}", report.insn.value, report.kernel_message);
    }
    tally(seed, program, we_accept, load(seed, program, starts), ours);
  }

  KernelProgram load(const Seed& seed, const ProgramSpec& program,
                     const std::vector<std::uint32_t>& starts) const {
    KernelLoadOptions options;
    if (seed.btf) {
      options.btf_fd = seed.btf->get();
      for (const FunctionInfo& function : program.functions) {
        options.functions.push_back({function.insn.value, function.btf_type_id});
      }
    } else if (starts.size() > 1) {
      options.function_starts = starts;
    }
    for (const auto& map : seed.kernel_maps) options.fd_array.push_back(map->fd());
    std::vector<std::uint8_t> bytes = encode_program(program.insns);
    const std::span insns(reinterpret_cast<struct bpf_insn*>(bytes.data()),
                          bytes.size() / sizeof(struct bpf_insn));
    for (struct bpf_insn& insn : insns) {
      const bool is_kfunc =
          insn.code == (BPF_JMP | BPF_CALL) && insn.src_reg == BPF_PSEUDO_KFUNC_CALL;
      const auto position = static_cast<std::uint32_t>(insn.imm);
      if (!is_kfunc || position >= program.kfuncs.size()) continue;
      insn.imm = static_cast<std::int32_t>(kernel_function(program.kfuncs[position].name));
    }
    return KernelProgram::load(insns, options);
  }

  void tally(const Seed& seed, const ProgramSpec& program, bool we_accept,
             const KernelProgram& loaded, const std::string& ours) {
    if (we_accept == loaded.is_loaded()) {
      ++(we_accept ? counts_.both_accept : counts_.both_refuse);
      if (!we_accept && is_showing_reasons_) {
        fmt::print("--- both refuse {}\n  ours:   {}\n  kernel: {}\n", program.name, ours,
                   last_words(loaded.log()));
      }
      return;
    }
    const bool divides = std::ranges::any_of(program.insns, [](const Insn& insn) {
      const int operation = BPF_OP(opcode_of(insn.op));
      return op_class(insn.op) == OpClass::kAlu && (operation == BPF_DIV || operation == BPF_MOD);
    });
    if (we_accept && divides) {
      ++counts_.only_we_accept_division;
      return;
    }
    ++(we_accept ? counts_.only_we_accept : counts_.only_we_refuse);
    std::string log = loaded.log();
    if (log.size() > 600) log = log.substr(log.size() - 600);
    fmt::print("=== {}: program {}\n  ours: {}\n", we_accept ? "ONLY WE ACCEPT" : "only we refuse",
               program.name, ours);
    fmt::print("{}\n", disassemble_program(program.insns));
    if (we_accept) {
      fmt::print("--- kernel (errno {}):\n{}\n", -loaded.error(), log);
    }
    static_cast<void>(seed);
  }

  std::mt19937_64 random_;
  std::vector<MapTypeInfo> map_types_;
  std::vector<KfuncProto> kfuncs_;
  std::shared_ptr<const Btf> kernel_types_;
  Environment environment_;
  std::vector<Seed> seeds_;
  Counts counts_;
  bool is_showing_reasons_ = false;
};

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) {
    fmt::print(stderr, "usage: lmn_verdict_mutations DIR COUNT [SEED [FILE-PREFIX [CHANGES]]]\n");
    return 2;
  }
  if (const auto reason = why_no_kernel_oracle()) {
    fmt::print("[  SKIPPED ] {}\n", *reason);
    return 0;
  }
  if (!std::filesystem::is_directory(arguments[0])) {
    fmt::print("[  SKIPPED ] no folder {}: run scripts/selftests.sh first\n", arguments[0]);
    return 0;
  }
  const std::uint64_t seed =
      arguments.size() > 2 ? std::stoull(arguments[2]) : std::random_device{}();
  const std::string prefix = arguments.size() > 3 ? arguments[3] : "verifier_";
  Mutations mutations(seed);
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(arguments[0])) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".bpf.o")) paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  for (const std::string& path : paths) mutations.add_object(path);
  fmt::print("seed {}: {} programs to start from\n", seed, mutations.seed_count());
  if (mutations.seed_count() == 0) return 2;
  const std::size_t changes = arguments.size() > 4 ? std::stoull(arguments[4]) : 3;
  if (changes == 0) mutations.judge_all();
  for (std::size_t i = 0; changes > 0 && i < std::stoull(arguments[1]); ++i) {
    mutations.run_one(changes);
  }
  const Counts& counts = mutations.counts();
  fmt::print(
      "both accept {}, both refuse {}, only we accept {} (and {} that divide), only we "
      "refuse {}\n",
      counts.both_accept, counts.both_refuse, counts.only_we_accept, counts.only_we_accept_division,
      counts.only_we_refuse);
  return counts.only_we_accept == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lmn

int main(int count, char** words) { return lmn::run({words + 1, words + count}); }
