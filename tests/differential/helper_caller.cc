// SPDX-License-Identifier: Apache-2.0
//
// The kernel's program, and the same call on our body. See helper_caller.h.
#include "differential/helper_caller.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "differential/raw_insn.h"

namespace lmn {
namespace {

constexpr std::size_t kResultOffset = 40;
constexpr std::size_t kMemoryOffset = 64;
constexpr std::size_t kValueBytes = kMemoryOffset + HelperCaller::kMemoryBytes;
constexpr std::uint32_t kRan = 2;  // the program's verdict after the call

using namespace raw;  // NOLINT(google-build-using-namespace): programs are written in it

constexpr int kContextRegister = 6;
constexpr int kSharedRegister = 7;
constexpr int kScratchRegister = 8;

// Argument `i` into r(i + 1). A size out of its bounds returns verdict 0.
void append_argument(std::vector<struct bpf_insn>& program, const CallArgument& argument, int i) {
  const int reg = i + 1;
  const std::size_t word_offset = static_cast<std::size_t>(i) * 8;
  switch (argument.kind) {
    case CallArgument::Kind::kContext:
      program.push_back(move(reg, kContextRegister));
      return;
    case CallArgument::Kind::kWord:
      program.push_back(load_word(reg, kSharedRegister, word_offset));
      return;
    case CallArgument::Kind::kMemory:
      program.push_back(load_word(kScratchRegister, kSharedRegister, word_offset));
      program.push_back(alu_imm(BPF_AND, kScratchRegister, static_cast<int>(argument.mask)));
      program.push_back(move(reg, kSharedRegister));
      program.push_back(alu_imm(BPF_ADD, reg, kMemoryOffset));
      program.push_back(alu(BPF_ADD, reg, kScratchRegister));
      return;
    case CallArgument::Kind::kSize:
      program.push_back(load_word(reg, kSharedRegister, word_offset));
      program.push_back(jump_imm(BPF_JGE, reg, static_cast<int>(argument.minimum), 2));
      program.push_back(move_imm(0, 0));
      program.push_back(exit());
      program.push_back(jump_imm(BPF_JLE, reg, static_cast<int>(argument.maximum), 2));
      program.push_back(move_imm(0, 0));
      program.push_back(exit());
      return;
    case CallArgument::Kind::kMap:
      append_map_reference(program, static_cast<std::uint8_t>(reg), argument.map_fd);
      return;
    case CallArgument::Kind::kValue:
      append_map_reference(program, static_cast<std::uint8_t>(reg), argument.map_fd,
                           BPF_PSEUDO_MAP_VALUE);
      return;
    case CallArgument::Kind::kNull:
      program.push_back(move_imm(reg, 0));
      return;
  }
}

std::vector<struct bpf_insn> caller_program(std::uint32_t id,
                                            std::span<const CallArgument> arguments,
                                            int shared_fd) {
  std::vector<struct bpf_insn> program;
  program.push_back(move(kContextRegister, 1));
  append_map_reference(program, kSharedRegister, shared_fd, BPF_PSEUDO_MAP_VALUE);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    append_argument(program, arguments[i], static_cast<int>(i));
  }
  program.push_back(call(id));
  program.push_back(store_word(kSharedRegister, kResultOffset, 0));
  program.push_back(move_imm(0, kRan));
  program.push_back(exit());
  return program;
}

}  // namespace

HelperCaller::HelperCaller(std::uint32_t id, std::vector<CallArgument> arguments)
    : id_(id),
      arguments_(std::move(arguments)),
      shared_(KernelMap::create(
          {.type = BPF_MAP_TYPE_ARRAY, .value_size = kValueBytes, .flags = BPF_F_MMAPABLE})),
      memory_in_(kMemoryBytes) {
  LMN_ASSERT(shared_.is_created());
  void* memory = ::mmap(nullptr, kValueBytes, PROT_READ | PROT_WRITE, MAP_SHARED, shared_.fd(), 0);
  LMN_ASSERT(memory != MAP_FAILED);
  shared_memory_ = static_cast<std::uint8_t*>(memory);
  program_ = KernelProgram::load(caller_program(id_, arguments_, shared_.fd()));
}

HelperCaller::~HelperCaller() { ::munmap(shared_memory_, kValueBytes); }

Comparison HelperCaller::compare(std::span<const std::uint8_t> packet,
                                 std::array<std::uint64_t, 5> words, std::uint32_t metadata_bytes) {
  const auto protos = known_helper_protos();
  const auto proto = std::ranges::find(protos, id_, &HelperProto::id);
  return {proto->name, run_kernel(packet, words, metadata_bytes),
          run_ours(packet, words, metadata_bytes)};
}

CallOutcome HelperCaller::run_kernel(std::span<const std::uint8_t> packet,
                                     std::span<const std::uint64_t> words,
                                     std::uint32_t metadata_bytes) {
  std::memcpy(shared_memory_, words.data(), words.size_bytes());
  std::memcpy(shared_memory_ + kMemoryOffset, memory_in_.data(), kMemoryBytes);
  KernelRunOptions options;
  options.context_in.emplace();
  options.context_in->data = metadata_bytes;
  options.context_in->data_end = static_cast<std::uint32_t>(packet.size());
  const KernelRun run = program_.run(packet, options);
  LMN_ASSERT(run.error == 0);
  LMN_ASSERT(run.retval == kRan);
  CallOutcome outcome;
  std::memcpy(&outcome.result, shared_memory_ + kResultOffset, sizeof outcome.result);
  outcome.packet = run.data_out;
  outcome.metadata_bytes = run.context_out.data - run.context_out.data_meta;
  outcome.memory.assign(shared_memory_ + kMemoryOffset, shared_memory_ + kValueBytes);
  return outcome;
}

CallOutcome HelperCaller::run_ours(std::span<const std::uint8_t> packet,
                                   std::span<const std::uint64_t> words,
                                   std::uint32_t metadata_bytes) {
  CallOutcome outcome;
  outcome.memory = memory_in_;
  // BPF_PROG_TEST_RUN puts the metadata into the head-room: the packet begins where it always does.
  TestRun run(packet, TestRun::kZeroedFrame);
  std::memmove(run.buff.data - metadata_bytes, run.buff.data, packet.size());
  run.buff.data_meta -= metadata_bytes;
  run.buff.data_end -= metadata_bytes;
  std::memset(run.buff.data_end, 0, metadata_bytes);
  run.allow_read(outcome.memory);
  if (prepare_ours) prepare_ours(run);
  std::array<std::uint64_t, 5> r{};
  for (std::size_t i = 0; i < arguments_.size(); ++i) {
    const CallArgument& argument = arguments_[i];
    switch (argument.kind) {
      case CallArgument::Kind::kContext:
      case CallArgument::Kind::kNull:
        break;
      case CallArgument::Kind::kWord:
      case CallArgument::Kind::kSize:
        r[i] = words[i];
        break;
      case CallArgument::Kind::kMemory:
        r[i] = reinterpret_cast<std::uintptr_t>(outcome.memory.data()) + (words[i] & argument.mask);
        break;
      case CallArgument::Kind::kMap:
      case CallArgument::Kind::kValue:
        r[i] = reinterpret_cast<std::uintptr_t>(argument.ours);
        break;
    }
  }
  outcome.result = run.call(id_, r[0], r[1], r[2], r[3], r[4]);
  outcome.packet.assign(run.buff.data_meta, run.buff.data_end);
  outcome.metadata_bytes = run.buff.metadata_length();
  return outcome;
}

std::string Comparison::difference() const {
  std::string text = fmt::format("result: kernel {}, ours {}", kernel.result, ours.result);
  const auto compare_bytes = [&](std::string_view what, const std::vector<std::uint8_t>& theirs,
                                 const std::vector<std::uint8_t>& mine) {
    if (theirs == mine) return;
    if (theirs.size() != mine.size()) {
      text += fmt::format("; {}: kernel {} bytes, ours {}", what, theirs.size(), mine.size());
      return;
    }
    const auto at = std::ranges::mismatch(theirs, mine);
    text += fmt::format("; {}: byte {}: kernel {:#x}, ours {:#x}", what, at.in1 - theirs.begin(),
                        *at.in1, *at.in2);
  };
  if (kernel.metadata_bytes != ours.metadata_bytes) {
    text += fmt::format("; metadata: kernel {} bytes, ours {}", kernel.metadata_bytes,
                        ours.metadata_bytes);
  }
  compare_bytes("packet", kernel.packet, ours.packet);
  compare_bytes("memory", kernel.memory, ours.memory);
  return text;
}

}  // namespace lmn
