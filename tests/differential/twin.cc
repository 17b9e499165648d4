// SPDX-License-Identifier: Apache-2.0
//
// Two of everything, made alike. The interpreter runs with the environment that the engine would
// give it.
#include "differential/twin.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "harness/call_counter.h"
#include "helpers/helpers.h"
#include "insn/codec.h"

namespace lmn {
namespace {

Environment twin_environment() {
  Environment environment;
  environment.helpers = helper_protos();
  environment.map_types = map_type_infos();
  environment.context = kXdpMdFields;
  environment.strictness = Strictness::kTrusted;  // as root has in the kernel
  return environment;
}

std::vector<struct bpf_insn> raw_of(std::span<const Insn> insns) {
  const std::vector<std::uint8_t> bytes = encode_program(insns);
  std::vector<struct bpf_insn> raw(bytes.size() / sizeof(struct bpf_insn));
  std::memcpy(raw.data(), bytes.data(), bytes.size());
  return raw;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

std::vector<KernelMap::Entry> entries_of(Map& map) {
  std::vector<KernelMap::Entry> found;
  std::vector<std::uint8_t> key(map.spec().key_size);
  std::vector<std::uint8_t> next(map.spec().key_size);
  const void* after = nullptr;
  while (map.next_key(after, next.data()) == 0) {
    key = next;
    after = key.data();
    KernelMap::Entry entry{key, std::vector<std::uint8_t>(map.user_value_bytes())};
    if (map.copy_value(key.data(), entry.value, 0) == 0) found.push_back(std::move(entry));
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

const ProgramEntry* TwinHost::acquire_program(std::uint32_t handle) noexcept {
  return handle < entries.size() ? entries[handle].get() : nullptr;
}

std::uint32_t TwinMaps::add(const MapSpec& spec) {
  MapOptions options;
  options.cpu_count = kernel_possible_cpus();
  auto map = create_map(spec, options, host_);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  ours_.push_back(std::move(*map));
  kernel_.push_back(KernelMap::create({.type = spec.type,
                                       .key_size = spec.key_size,
                                       .value_size = spec.value_size,
                                       .max_entries = spec.max_entries,
                                       .flags = spec.map_flags,
                                       .map_extra = spec.map_extra,
                                       .name = spec.name}));
  EXPECT_TRUE(kernel_.back().is_created()) << spec.name << ": errno " << -kernel_.back().error();
  return static_cast<std::uint32_t>(ours_.size() - 1);
}

void TwinMaps::fill(std::size_t index, std::span<const std::uint8_t> key,
                    std::span<const std::uint8_t> value) {
  EXPECT_EQ(kernel_[index].update(key, value), 0);
  EXPECT_EQ(ours_[index]->user_update(key.data(), value, 0), 0);
}

void TwinMaps::clear(std::size_t index) {
  for (const KernelMap::Entry& entry : kernel_[index].entries()) kernel_[index].erase(entry.key);
  for (const KernelMap::Entry& entry : entries_of(*ours_[index]))
    ours_[index]->user_erase(entry.key.data());
}

void TwinMaps::set_tail_call(std::size_t index, std::uint32_t slot, const TwinProgram& program) {
  auto entry = std::make_unique<ProgramEntry>();
  entry->id = static_cast<std::uint32_t>(host_.entries.size() + 1);
  entry->type = BPF_PROG_TYPE_XDP;
  entry->expected_attach_type = BPF_XDP;
  entry->interpreter_image = program.ours().interpreter_image();
  const auto handle = static_cast<std::uint32_t>(host_.entries.size());
  host_.entries.push_back(std::move(entry));
  auto bytes = [](const std::uint32_t& value) {
    return std::span<const std::uint8_t>(reinterpret_cast<const std::uint8_t*>(&value),
                                         sizeof value);
  };
  const auto fd = static_cast<std::uint32_t>(program.kernel().fd());
  EXPECT_EQ(kernel_[index].update(bytes(slot), bytes(fd)), 0);
  EXPECT_EQ(ours_[index]->user_update(&slot, bytes(handle), 0), 0);
}

std::string TwinMaps::difference() {
  for (std::size_t index = 0; index < ours_.size(); ++index) {
    if (ours_[index]->spec().type == BPF_MAP_TYPE_PROG_ARRAY) continue;
    const auto kernel = kernel_[index].entries();
    const auto ours = entries_of(*ours_[index]);
    if (kernel == ours) continue;
    std::string text = fmt::format("map '{}': kernel has {} entries, we have {}",
                                   ours_[index]->spec().name, kernel.size(), ours.size());
    for (std::size_t i = 0; i < std::min(kernel.size(), ours.size()); ++i) {
      if (kernel[i] == ours[i]) continue;
      return text + fmt::format("\n  kernel {} = {}\n  ours   {} = {}", hex(kernel[i].key),
                                hex(kernel[i].value), hex(ours[i].key), hex(ours[i].value));
    }
    return text;
  }
  return {};
}

std::string TwinRun::difference() const {
  if (kernel_error != 0) return fmt::format("the kernel could not run it: errno {}", -kernel_error);
  if (!traps.empty()) return "we trapped: " + traps[0].text;
  if (kernel_verdict != our_verdict)
    return fmt::format("return code: kernel {:#x}, ours {:#x}", kernel_verdict, our_verdict);
  if (kernel_packet == our_packet) return {};
  return fmt::format("packet:\n  kernel {}\n  ours   {}", hex(kernel_packet), hex(our_packet));
}

TwinProgram::TwinProgram(TwinMaps& maps, std::vector<Insn> insns,
                         std::vector<std::uint32_t> function_starts,
                         const InterpreterOptions& options) {
  KernelLoadOptions load;
  load.function_starts = function_starts;
  ProgramSpec spec;
  spec.name = "twin";
  spec.type = BPF_PROG_TYPE_XDP;
  spec.expected_attach_type = BPF_XDP;
  spec.license = "GPL";
  std::vector<MapSpec> specs;
  std::vector<Map*> ours;
  for (std::size_t index = 0; index < maps.count(); ++index) {
    load.fd_array.push_back(maps.kernel(index).fd());
    spec.maps.push_back(static_cast<std::uint32_t>(index));
    specs.push_back(maps.ours(index).spec());
    ours.push_back(&maps.ours(index));
  }
  kernel_ = KernelProgram::load(raw_of(insns), load);
  for (const std::uint32_t start : function_starts) spec.functions.push_back({{start}, "f", 3});
  spec.insns = std::move(insns);
  auto structured = check_structure(twin_environment(), spec, specs);
  if (!structured) {
    our_refusal_ = structured.error().to_string();
    return;
  }
  static CallCounter counter(known_helper_protos());
  InterpreterOptions counted = options;
  if (counted.trace == nullptr) counted.trace = &counter;
  auto made = make_interpreted(std::move(*structured), twin_environment(), ours, {helper_function},
                               counted);
  if (made) {
    ours_ = std::move(*made);
  } else {
    our_refusal_ = made.error().to_string();
  }
}

std::string TwinProgram::refusal() const {
  if (!kernel_accepts()) return "kernel: " + kernel_.log();
  return we_accept() ? "" : "ours: " + our_refusal_;
}

TwinRun TwinProgram::run(std::span<const std::uint8_t> packet) {
  TwinRun run;
  KernelRunOptions options;
  options.data_out_bytes_max = 4096;
  const KernelRun kernel = kernel_.run(packet, options);
  run.kernel_error = kernel.error;
  run.kernel_verdict = kernel.retval;
  run.kernel_packet = kernel.data_out;

  // A frame as the kernel's test run makes it: a zeroed page with 256 bytes of head-room, queue 0
  // of loopback.
  alignas(64) std::array<std::uint8_t, limits::kFrameBytes> frame{};
  const RxQueueInfo rxq{1, 0};
  XdpBuff buff;
  buff.hard_start = frame.data();
  buff.data = buff.data_meta = frame.data() + limits::kHeadroomBytes;
  buff.data_end = buff.data + packet.size();
  buff.frame_bytes = limits::kFrameBytes;
  buff.rxq = &rxq;
  std::ranges::copy(packet, buff.data);
  TrapLog log;
  RunContext context;
  context.traps = &log;
  run.our_verdict = ours_->run(buff, context);
  run.our_packet.assign(buff.data_meta, buff.data_end);  // as the kernel copies it out
  if (log.count() > 0) run.traps = log.records();
  return run;
}

}  // namespace lmn
