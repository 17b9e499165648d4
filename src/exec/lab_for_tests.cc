// SPDX-License-Identifier: Apache-2.0
//
// The lab's helpers and its runs. Only for tests of exec.
#include "exec/lab_for_tests.h"

#include <linux/btf.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "exec/interp/guest_type.h"

namespace lmn::lab {
namespace {

constexpr HelperArg kAny{ArgKind::kAnything};
constexpr HelperArg kCtx{ArgKind::kPtrToCtx};
constexpr HelperArg kMap{ArgKind::kConstMapPtr};
constexpr HelperArg kKey{ArgKind::kPtrToMapKey};
constexpr HelperArg kValue{ArgKind::kPtrToMapValue};
constexpr HelperArg kMem{ArgKind::kPtrToMem, kArgRdonly};
constexpr HelperArg kMemOrNull{ArgKind::kPtrToMem, kArgRdonly | kArgMaybeNull};
constexpr HelperArg kMemUninit{ArgKind::kPtrToMem, kArgUninit | kArgWrite};
constexpr HelperArg kSize{ArgKind::kConstSize};
constexpr HelperArg kSizeOrZero{ArgKind::kConstSizeOrZero};
constexpr HelperArg kAllocSize{ArgKind::kConstAllocSizeOrZero};
constexpr HelperArg kFunc{ArgKind::kPtrToFunc};
constexpr HelperArg kStackOrNull{ArgKind::kPtrToStack, kArgMaybeNull};
constexpr HelperArg kRecord{ArgKind::kPtrToRingbufMem, kArgRelease};
constexpr HelperArg kString{ArgKind::kPtrToConstStr};
constexpr HelperArg kLock{ArgKind::kPtrToSpinLock};

const std::array<HelperProto, 16> kProtos = {{
    {1,
     "bpf_map_lookup_elem",
     kHelperPktAccess,
     RetKind::kPtrToMapValue,
     kArgMaybeNull,
     {kMap, kKey},
     "3.18"},
    {2,
     "bpf_map_update_elem",
     kHelperPktAccess,
     RetKind::kInteger,
     0,
     {kMap, kKey, kValue, kAny},
     "3.18"},
    {6, "bpf_trace_printk", kHelperGplOnly, RetKind::kInteger, 0, {kMem, kSize}, "4.1"},
    {12, "bpf_tail_call", kHelperChangesPacket, RetKind::kVoid, 0, {kCtx, kMap, kAny}, "4.2"},
    {28,
     "bpf_csum_diff",
     kHelperPktAccess,
     RetKind::kInteger,
     0,
     {kMemOrNull, kSizeOrZero, kMemOrNull, kSizeOrZero, kAny},
     "4.6"},
    {44, "bpf_xdp_adjust_head", kHelperChangesPacket, RetKind::kInteger, 0, {kCtx, kAny}, "4.10"},
    {93, "bpf_spin_lock", kHelperNoSpinLock, RetKind::kVoid, 0, {kLock}, "5.1"},
    {94, "bpf_spin_unlock", 0, RetKind::kVoid, 0, {kLock}, "5.1"},
    {113,
     "bpf_probe_read_kernel",
     kHelperGplOnly,
     RetKind::kInteger,
     0,
     {kMemUninit, kSizeOrZero, kAny},
     "5.5"},
    {131,
     "bpf_ringbuf_reserve",
     0,
     RetKind::kPtrToMem,
     kArgMaybeNull | kArgAcquire,
     {kMap, kAllocSize, kAny},
     "5.8"},
    {132, "bpf_ringbuf_submit", 0, RetKind::kVoid, 0, {kRecord, kAny}, "5.8"},
    {164,
     "bpf_for_each_map_elem",
     kHelperCallsBack,
     RetKind::kInteger,
     0,
     {kMap, kFunc, kStackOrNull, kAny},
     "5.13"},
    {181,
     "bpf_loop",
     kHelperCallsBack,
     RetKind::kInteger,
     0,
     {kAny, kFunc, kStackOrNull, kAny},
     "5.17"},
    {182, "bpf_strncmp", 0, RetKind::kInteger, 0, {kMem, kSize, kString}, "5.17"},
    {188, "bpf_xdp_get_buff_len", kHelperNoSpinLock, RetKind::kInteger, 0, {kCtx}, "5.18"},
    {189, "bpf_xdp_load_bytes", 0, RetKind::kInteger, 0, {kCtx, kAny, kMemUninit, kSize}, "5.18"},
}};

using Word = std::uint64_t;
Map& map_of(Word r1) { return *reinterpret_cast<Map*>(r1); }

Word lookup(Word r1, Word r2, Word, Word, Word, RunContext* context) noexcept {
  return reinterpret_cast<Word>(map_of(r1).lookup(reinterpret_cast<const void*>(r2), context->cpu));
}
Word update(Word r1, Word r2, Word r3, Word r4, Word, RunContext* context) noexcept {
  return static_cast<Word>(std::int64_t{map_of(r1).update(
      reinterpret_cast<const void*>(r2), reinterpret_cast<const void*>(r3), r4, context->cpu)});
}
Word print(Word, Word r2, Word, Word, Word, RunContext*) noexcept { return r2; }
Word add_sizes(Word, Word r2, Word, Word r4, Word, RunContext*) noexcept { return r2 + r4; }
Word adjust_head(Word, Word r2, Word, Word, Word, RunContext* context) noexcept {
  context->buff->data += static_cast<std::int32_t>(r2);
  context->buff->data_meta = context->buff->data;
  return 0;
}
Word reserve(Word r1, Word r2, Word, Word, Word, RunContext*) noexcept {
  // The first value of the map given is the record's memory.
  const std::uint32_t key = 0;
  return r2 <= map_of(r1).spec().value_size ? reinterpret_cast<Word>(map_of(r1).lookup(&key, 0))
                                            : 0;
}
Word submit(Word, Word, Word, Word, Word, RunContext*) noexcept { return 0; }
Word for_each(Word r1, Word r2, Word r3, Word, Word, RunContext* context) noexcept {
  const std::uint32_t key = 0;
  const std::array<Word, 4> args = {r1, reinterpret_cast<Word>(&key),
                                    reinterpret_cast<Word>(map_of(r1).lookup(&key, 0)), r3};
  context->call_back(context->engine_state, r2, args);
  return 1;
}
Word loop(Word r1, Word r2, Word r3, Word, Word, RunContext* context) noexcept {
  for (Word i = 0; i < r1; ++i) {
    const std::array<Word, 2> args = {i, r3};
    if (context->call_back(context->engine_state, r2, args) != 0) return i + 1;
  }
  return r1;
}
Word compare(Word r1, Word r2, Word r3, Word, Word, RunContext*) noexcept {
  return static_cast<Word>(std::int64_t{
      std::strncmp(reinterpret_cast<const char*>(r1), reinterpret_cast<const char*>(r3), r2)});
}
Word buff_len(Word, Word, Word, Word, Word, RunContext* context) noexcept {
  return context->buff->length();
}
Word read_address(Word r1, Word r2, Word r3, Word, Word, RunContext* context) noexcept {
  return context->read_guest(context->engine_state, r3, {reinterpret_cast<std::uint8_t*>(r1), r2});
}
// A lock whose word is not 0 never opens: the run is stopped.
Word lock(Word r1, Word, Word, Word, Word, RunContext* context) noexcept {
  auto* word = reinterpret_cast<std::uint32_t*>(r1);
  if (*word != 0) {
    context->stop(context->engine_state);
    return 0;
  }
  *word = 1;
  context->held_lock.set(word);
  return 0;
}
Word unlock(Word, Word, Word, Word, Word, RunContext* context) noexcept {
  context->held_lock.release();
  return 0;
}
Word load_first_byte(Word, Word r2, Word r3, Word, Word, RunContext* context) noexcept {
  *reinterpret_cast<std::uint8_t*>(r3) = context->buff->data[r2];
  return 0;
}

}  // namespace

std::span<const HelperProto> protos() { return kProtos; }

HelperFn find_body(std::uint32_t id) noexcept {
  switch (id) {
    case 1:
      return lookup;
    case 2:
      return update;
    case 6:
      return print;
    case 28:
      return add_sizes;
    case 44:
      return adjust_head;
    case 93:
      return lock;
    case 94:
      return unlock;
    case 113:
      return read_address;
    case 131:
      return reserve;
    case 132:
      return submit;
    case 164:
      return for_each;
    case 181:
      return loop;
    case 182:
      return compare;
    case 188:
      return buff_len;
    case 189:
      return load_first_byte;
    default:
      return nullptr;
  }
}

std::shared_ptr<const Btf> item_types() {
  const std::string names("\0bpf_list_node\0bpf_rb_node\0bpf_refcount\0item\0m\0", 47);
  const auto at = [&names](const std::string& name) {
    return static_cast<std::uint32_t>(names.find('\0' + name + '\0')) + 1;
  };
  constexpr std::uint32_t kStruct = BTF_KIND_STRUCT << 24;
  const std::uint32_t m = at("m");
  const std::vector<std::uint32_t> types = {at("bpf_list_node"),
                                            kStruct,
                                            24,
                                            at("bpf_rb_node"),
                                            kStruct,
                                            32,
                                            at("bpf_refcount"),
                                            kStruct,
                                            4,
                                            at("item"),
                                            kStruct | 3,
                                            72,
                                            m,
                                            1,
                                            0,
                                            m,
                                            2,
                                            24 * 8,
                                            m,
                                            3,
                                            56 * 8};
  const auto type_bytes = static_cast<std::uint32_t>(types.size() * 4);
  const std::vector<std::uint32_t> header = {
      BTF_MAGIC | 1u << 16, 24,         0,
      type_bytes,           type_bytes, static_cast<std::uint32_t>(names.size())};
  std::vector<std::uint8_t> bytes(24 + type_bytes + names.size());
  std::memcpy(bytes.data(), header.data(), 24);
  std::memcpy(bytes.data() + 24, types.data(), type_bytes);
  std::memcpy(bytes.data() + 24 + type_bytes, names.data(), names.size());
  auto btf = parse_btf(bytes);
  EXPECT_TRUE(btf.has_value()) << btf.error().to_string();
  return btf ? *btf : nullptr;
}

std::string Outcome::summary() const {
  if (!trapped()) return "verdict " + std::to_string(verdict);
  static constexpr std::string_view kNames[] = {
#define LMN_TRAP_REASON(name, words) #name,
#include "exec/interp/trap_reasons.def"
#undef LMN_TRAP_REASON
  };
  const Trap& trap = traps[0].trap;
  return std::string(kNames[static_cast<std::size_t>(trap.reason)]) + "@" +
         std::to_string(trap.insn.value);
}

Lab::Lab() : pool_(std::move(*FramePool::create(2))) {}

Map& Lab::add_map(const MapSpec& spec) {
  auto map = create_map(spec, MapOptions{}, host_);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  maps_.push_back(std::move(*map));
  return *maps_.back();
}

Environment Lab::environment() const {
  Environment environment;
  environment.helpers = protos();
  environment.map_types = map_type_infos();
  environment.context = kXdpMdFields;
  environment.strictness = strictness;
  environment.kfuncs = kfuncs;
  if (options.guest != nullptr) {
    environment.context = {};
    environment.has_classic_access = options.guest->read_packet != nullptr;
  }
  return environment;
}

Result<std::unique_ptr<CompiledProgram>> Lab::compile(std::string_view text) {
  ProgramSpec program;
  program.name = "lab";
  program.type = BPF_PROG_TYPE_XDP;
  program.expected_attach_type = expected_attach_type;
  program.license = "GPL";
  program.functions.push_back({{0}, "lab", 1});  // a BTF id: tail calls in functions need BTF
  program.exception_callback = exception_callback;
  for (const std::string& name : kfunc_names) program.kfuncs.emplace_back().name = name;
  LMN_TRY(program.insns, assemble(text));
  std::vector<MapSpec> specs;
  std::vector<Map*> maps;
  for (const auto& map : maps_) {
    program.maps.push_back(static_cast<std::uint32_t>(maps.size()));
    specs.push_back(map->spec());
    maps.push_back(map.get());
  }
  LMN_TRY(auto structured, check_structure(environment(), program, specs));
  return make_interpreted(std::move(structured), environment(), maps, {find_body, find_kfunc_body},
                          options);
}

CompiledProgram* Lab::prepare(std::string_view text) {
  auto program = compile(text);
  if (!program) {
    ADD_FAILURE() << program.error().to_string() << "\n" << text;
    return nullptr;
  }
  programs_.push_back(std::move(*program));
  return programs_.back().get();
}

std::string Lab::refusal(std::string_view text) {
  auto program = compile(text);
  return program ? std::string() : program.error().to_string();
}

Outcome Lab::run(std::string_view text) {
  CompiledProgram* program = prepare(text);
  return program != nullptr ? run(*program) : Outcome{};
}

Outcome Lab::run(CompiledProgram& program) {
  std::uint8_t* frame = pool_.allocate();
  XdpBuff buff = make_xdp_buff(pool_, frame, rxq_);
  buff.data_meta -= metadata_bytes;
  buff.data_end += packet.size();
  buff.egress_ifindex = 9;
  std::memset(buff.data_meta, 0x22, metadata_bytes);
  std::ranges::copy(packet, buff.data);
  TrapLog log;
  context.traps = &log;
  Outcome outcome;
  outcome.verdict = program.run(buff, context);
  outcome.packet.assign(buff.data, buff.data_end);
  outcome.traps = log.records();
  outcome.redirect = context.redirect;
  context.traps = nullptr;
  pool_.free(frame);
  return outcome;
}

void Lab::set_tail_call(Map& map, std::uint32_t index, CompiledProgram& program) {
  auto entry = std::make_unique<ProgramEntry>();
  entry->id = static_cast<std::uint32_t>(host_.programs.size() + 1);
  entry->type = BPF_PROG_TYPE_XDP;
  entry->expected_attach_type = expected_attach_type;
  entry->interpreter_image = program.interpreter_image();
  host_.programs.push_back(std::move(entry));
  const auto handle = static_cast<std::uint32_t>(host_.programs.size());
  const std::span<const std::uint8_t> value(reinterpret_cast<const std::uint8_t*>(&handle),
                                            sizeof handle);
  EXPECT_EQ(map.user_update(&index, value, 0), 0);
}

void Lab::set_inner_map(Map& outer, std::uint32_t index, Map& inner) {
  host_.inner_map = &inner;
  const std::uint32_t handle = 1;
  const std::span<const std::uint8_t> value(reinterpret_cast<const std::uint8_t*>(&handle),
                                            sizeof handle);
  EXPECT_EQ(outer.user_update(&index, value, 0), 0);
}

}  // namespace lmn::lab
