// SPDX-License-Identifier: Apache-2.0
//
// Goal: helpers.def says of each helper what the kernel's own prototype says: argument types,
// return type, licence, packet access; and lists exactly the helpers that an XDP program may call.
// Method: two. (1) Every helper number is loaded in a program of its own; the verifier's words tell
// an unknown helper from a misused one, and a GPL-only one from others. (2) The kernel's
// bpf_func_proto structures are found in its read-only data, by the address of the function that
// they begin with, and compared field by field. Reading that memory needs bpf_probe_read_kernel and
// readable /proc/kallsyms; the layout and the numbers are those of Linux 6.18, so other kernels
// skip (2).
// Source: Linux 6.18, include/linux/bpf.h (bpf_func_proto, bpf_arg_type, bpf_return_type).
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "base/byte_reader.h"
#include "differential/helper_caller.h"
#include "differential/raw_insn.h"

namespace lmn {
namespace {

using raw::insn;

constexpr std::uint32_t kHelperIdEnd = 256;

const HelperProto* find_known(std::uint32_t id) {
  const auto protos = known_helper_protos();
  const auto found = std::ranges::find(protos, id, &HelperProto::id);
  return found == protos.end() ? nullptr : &*found;
}

KernelProgram load_call(std::uint32_t id, const char* license) {
  struct bpf_insn program[3] = {};
  program[0].code = BPF_JMP | BPF_CALL;
  program[0].imm = static_cast<std::int32_t>(id);
  program[1].code = BPF_ALU64 | BPF_MOV | BPF_K;
  program[2].code = BPF_JMP | BPF_EXIT;
  KernelLoadOptions options;
  options.license = license;
  return KernelProgram::load(program, options);
}

bool says(const KernelProgram& program, const char* words) {
  return program.log().find(words) != std::string::npos;
}

bool is_linux_6_18() {
  struct utsname name = {};
  ::uname(&name);
  return std::string_view(name.release).starts_with("6.18.");
}

TEST(HelperRows, AreTheHelpersThatTheKernelLetsXdpCall) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  if (!is_linux_6_18()) GTEST_SKIP() << "the rows are Linux 6.18's";
  for (std::uint32_t id = 1; id < kHelperIdEnd; ++id) {
    const KernelProgram gpl = load_call(id, "GPL");
    const bool is_refused =
        says(gpl, "cannot use helper") || says(gpl, "unknown func") || says(gpl, "invalid func");
    const HelperProto* row = find_known(id);
    ASSERT_EQ(row != nullptr, !is_refused) << id << ": " << gpl.log();
    if (row == nullptr) continue;
    const bool is_gpl_only = says(load_call(id, "Proprietary"), "GPL-restricted");
    EXPECT_EQ((row->flags & kHelperGplOnly) != 0, is_gpl_only) << row->name;
  }
}

// r7 points to a byte of the packet before the call, and is read after it. Empty for a helper that
// takes arguments this cannot make.
std::vector<struct bpf_insn> packet_read_behind(const HelperProto& proto, int prog_array_fd) {
  constexpr int kMove = BPF_ALU64 | BPF_MOV;
  std::vector<struct bpf_insn> program = {
      insn(kMove | BPF_X, 6, 1, 0, 0),
      insn(BPF_LDX | BPF_MEM | BPF_W, 7, 1, offsetof(struct xdp_md, data), 0),
      insn(BPF_LDX | BPF_MEM | BPF_W, 2, 1, offsetof(struct xdp_md, data_end), 0),
      insn(kMove | BPF_X, 3, 7, 0, 0),
      insn(BPF_ALU64 | BPF_ADD | BPF_K, 3, 0, 0, 1),
      insn(BPF_JMP | BPF_JLE | BPF_X, 3, 2, 2, 0),
      insn(kMove | BPF_K, 0, 0, 0, 0),
      insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
      insn(BPF_ST | BPF_MEM | BPF_DW, 10, 0, -8, 0),
  };
  for (std::size_t i = 0; i < proto.args.size(); ++i) {
    const int reg = static_cast<int>(i) + 1;
    switch (proto.args[i].kind) {
      case ArgKind::kNone:
        break;
      case ArgKind::kAnything:
        program.push_back(insn(kMove | BPF_K, reg, 0, 0, 0));
        break;
      case ArgKind::kConstSize:
      case ArgKind::kConstSizeOrZero:
        program.push_back(insn(kMove | BPF_K, reg, 0, 0, 8));
        break;
      case ArgKind::kPtrToCtx:
        program.push_back(insn(kMove | BPF_X, reg, 6, 0, 0));
        break;
      case ArgKind::kPtrToMem:
        if ((proto.args[i].flags & kArgFixedSize) != 0) return {};
        program.push_back(insn(kMove | BPF_X, reg, 10, 0, 0));
        program.push_back(insn(BPF_ALU64 | BPF_ADD | BPF_K, reg, 0, 0, -8));
        break;
      case ArgKind::kConstMapPtr:
        if (proto.id != BPF_FUNC_tail_call) return {};
        append_map_reference(program, static_cast<std::uint8_t>(reg), prog_array_fd);
        break;
      default:
        return {};
    }
  }
  program.push_back(insn(BPF_JMP | BPF_CALL, 0, 0, 0, static_cast<int>(proto.id)));
  program.push_back(insn(BPF_LDX | BPF_MEM | BPF_B, 0, 7, 0, 0));
  program.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return program;
}

TEST(HelperRows, MoveThePacketWhereTheKernelForgetsPacketPointers) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  if (!is_linux_6_18()) GTEST_SKIP() << "the rows are Linux 6.18's";
  const KernelMap prog_array =
      KernelMap::create({.type = BPF_MAP_TYPE_PROG_ARRAY, .value_size = 4});
  ASSERT_TRUE(prog_array.is_created());
  std::size_t judged = 0;
  for (const HelperProto& proto : known_helper_protos()) {
    const auto program = packet_read_behind(proto, prog_array.fd());
    if (program.empty()) continue;
    const KernelProgram loaded = KernelProgram::load(program);
    const bool forgets = says(loaded, "R7 invalid mem access");
    if (!loaded.is_loaded() && !forgets) continue;  // refused for another reason
    EXPECT_EQ((proto.flags & kHelperChangesPacket) != 0, forgets) << proto.name << loaded.log();
    ++judged;
  }
  EXPECT_GE(judged, 30u);
}

// What Linux 6.18 calls the kinds, by number.
constexpr ArgKind kArgKinds[] = {
    ArgKind::kNone,
    ArgKind::kConstMapPtr,
    ArgKind::kPtrToMapKey,
    ArgKind::kPtrToMapValue,
    ArgKind::kPtrToMem,
    ArgKind::kNone /* arena: in kfuncs */,
    ArgKind::kConstSize,
    ArgKind::kConstSizeOrZero,
    ArgKind::kPtrToCtx,
    ArgKind::kAnything,
    ArgKind::kPtrToSpinLock,
    ArgKind::kPtrToSockCommon,
    ArgKind::kPtrToSocket,
    ArgKind::kPtrToBtfId,
    ArgKind::kPtrToRingbufMem,
    ArgKind::kConstAllocSizeOrZero,
    ArgKind::kPtrToSockCommon /* or its BTF type */,
    ArgKind::kPtrToPercpuBtfId,
    ArgKind::kPtrToFunc,
    ArgKind::kPtrToStack,
    ArgKind::kPtrToConstStr,
    ArgKind::kPtrToTimer,
    ArgKind::kKptrXchgDest,
    ArgKind::kPtrToDynptr,
};
constexpr RetKind kRetKinds[] = {
    RetKind::kInteger,       RetKind::kVoid,
    RetKind::kPtrToMapValue, RetKind::kPtrToSocket,
    RetKind::kPtrToTcpSock,  RetKind::kPtrToSockCommon,
    RetKind::kPtrToMem,      RetKind::kPtrToPercpuObject,
    RetKind::kPtrToBtfId,
};
struct FlagPair {
  std::uint32_t theirs;
  std::uint16_t ours;
};
constexpr FlagPair kTypeFlags[] = {
    {1u << 8, kArgMaybeNull},  {1u << 9, kArgRdonly},       {1u << 13, kArgRelease},
    {1u << 15, kArgUninit},    {1u << 16, kArgDynptrLocal}, {1u << 17, kArgDynptrRingbuf},
    {1u << 18, kArgFixedSize}, {1u << 25, kArgAligned},     {1u << 26, kArgWrite},
};

std::uint16_t type_flags(std::uint32_t type) {
  std::uint16_t flags = 0;
  for (const FlagPair& pair : kTypeFlags) {
    if ((type & pair.theirs) != 0) flags |= pair.ours;
  }
  return flags;
}

// struct bpf_func_proto as it lies in memory.
struct KernelProto {
  bool is_gpl_only = false;
  bool has_packet_access = false;
  std::uint32_t ret = 0;
  std::array<std::uint32_t, 5> args{};
  std::array<std::uint64_t, 5> sizes{};
};
constexpr std::size_t kProtoBytes = 96;

// Nothing when the bytes cannot be one.
std::optional<KernelProto> parse_proto(ByteSpan bytes) {
  ByteReader reader(bytes.first(kProtoBytes));
  reader.skip(8);
  std::array<std::uint8_t, 4> bits{};
  for (auto& bit : bits) bit = *reader.u8();
  if (std::ranges::any_of(bits, [](auto bit) { return bit > 1; })) return std::nullopt;
  KernelProto proto{.is_gpl_only = bits[0] != 0, .has_packet_access = bits[1] != 0};
  proto.ret = *reader.u32();
  if ((proto.ret & 0xff) >= std::size(kRetKinds)) return std::nullopt;
  for (auto& arg : proto.args) {
    arg = *reader.u32();
    if ((arg & 0xff) >= std::size(kArgKinds)) return std::nullopt;
  }
  reader.skip(4);
  for (auto& size : proto.sizes) size = *reader.u64();
  return proto;
}

// "" when the row says what the prototype says, else the first difference.
std::string row_difference(const HelperProto& row, const KernelProto& proto) {
  std::ostringstream out;
  if (((row.flags & kHelperGplOnly) != 0) != proto.is_gpl_only) out << "gpl_only ";
  if (((row.flags & kHelperPktAccess) != 0) != proto.has_packet_access) out << "pkt_access ";
  constexpr std::uint16_t kRetFlags = kArgMaybeNull | kArgRdonly;
  if (row.ret != kRetKinds[proto.ret & 0xff] && row.ret != RetKind::kPtrToDynptrMem) out << "ret ";
  if ((row.ret_flags & kRetFlags) != (type_flags(proto.ret) & kRetFlags)) out << "ret flags ";
  for (std::size_t i = 0; i < row.args.size(); ++i) {
    const HelperArg& arg = row.args[i];
    if (arg.kind != kArgKinds[proto.args[i] & 0xff]) out << "arg" << i + 1 << " kind ";
    if (arg.flags != type_flags(proto.args[i])) out << "arg" << i + 1 << " flags ";
    const bool is_fixed = (proto.args[i] & (1u << 18)) != 0;
    if (is_fixed && arg.fixed_size != proto.sizes[i]) out << "arg" << i + 1 << " size ";
  }
  return out.str();
}

// The kernel function behind a helper of XDP programs where it is not called bpf_<name>.
std::string function_name(std::string_view helper) {
  static const std::map<std::string_view, std::string> kNames = {
      {"bpf_redirect", "bpf_xdp_redirect"},
      {"bpf_redirect_map", "bpf_xdp_redirect_map"},
      {"bpf_fib_lookup", "bpf_xdp_fib_lookup"},
      {"bpf_check_mtu", "bpf_xdp_check_mtu"},
      {"bpf_sk_lookup_tcp", "bpf_xdp_sk_lookup_tcp"},
      {"bpf_sk_lookup_udp", "bpf_xdp_sk_lookup_udp"},
      {"bpf_skc_lookup_tcp", "bpf_xdp_skc_lookup_tcp"},
      {"bpf_perf_event_output", "bpf_xdp_event_output"},
      {"bpf_get_prandom_u32", "bpf_user_rnd_u32"},
      {"bpf_get_cgroup_classid", "bpf_get_cgroup_classid_curr"},
  };
  const auto found = kNames.find(helper);
  return found == kNames.end() ? std::string(helper) : found->second;
}

// The addresses of the helpers' functions, and of the end of the kernel's code.
struct KernelSymbols {
  std::map<std::uint64_t, const HelperProto*> functions;
  std::uint64_t text_end = 0;
};

KernelSymbols read_symbols() {
  std::map<std::string, const HelperProto*> wanted;
  for (const HelperProto& proto : known_helper_protos()) {
    if (proto.id != BPF_FUNC_tail_call) wanted[function_name(proto.name)] = &proto;
  }
  KernelSymbols symbols;
  std::ifstream file("/proc/kallsyms");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string address, type, name, module;
    fields >> address >> type >> name >> module;
    if (!module.empty()) continue;
    const std::uint64_t value = std::stoull(address, nullptr, 16);
    if (name == "_etext") symbols.text_end = value;
    if (auto found = wanted.find(name); found != wanted.end())
      symbols.functions[value] = found->second;
  }
  symbols.functions.erase(0);
  return symbols;
}

TEST(HelperRows, SayWhatTheKernelsPrototypesSay) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  if (!is_linux_6_18()) GTEST_SKIP() << "the layout of bpf_func_proto is Linux 6.18's";
  const KernelSymbols symbols = read_symbols();
  if (symbols.text_end == 0) GTEST_SKIP() << "/proc/kallsyms shows no addresses";

  constexpr std::size_t kChunk = 8192;
  constexpr std::size_t kDataBytesMax = 24u << 20;
  HelperCaller reader(BPF_FUNC_probe_read_kernel, {memory(0), size(kChunk, kChunk), word()});
  ASSERT_EQ(reader.error(), 0) << reader.log();
  const std::vector<std::uint8_t> packet(14);
  std::map<std::string_view, std::string> open;  // helper -> its nearest difference so far
  for (const auto& [address, proto] : symbols.functions) open[proto->name] = "no prototype found";
  const std::size_t helper_count = open.size();

  for (std::size_t at = 0; at < kDataBytesMax && !open.empty(); at += kChunk - kProtoBytes) {
    const std::uint64_t from = symbols.text_end / 8 * 8 + at;
    const CallOutcome read = reader.compare(packet, {0, kChunk, from}).kernel;
    if (read.result != 0) continue;
    const ByteSpan bytes = std::span(read.memory).first(kChunk);
    for (std::size_t i = 0; i + kProtoBytes <= bytes.size(); i += 8) {
      const auto found = symbols.functions.find(load_unaligned<std::uint64_t>(&bytes[i]));
      if (found == symbols.functions.end()) continue;
      const auto row = open.find(found->second->name);
      const auto proto = parse_proto(bytes.subspan(i));
      if (row == open.end() || !proto) continue;
      // One function may serve several prototypes (a tracing variant): one of them must fit.
      row->second = row_difference(*found->second, *proto);
      if (row->second.empty()) open.erase(row);
    }
  }
  for (const auto& [name, difference] : open) ADD_FAILURE() << name << ": " << difference;
  EXPECT_GE(helper_count, 95u);
  std::printf("%zu of %zu prototypes equal the kernel's\n", helper_count - open.size(),
              helper_count);
}

}  // namespace
}  // namespace lmn
