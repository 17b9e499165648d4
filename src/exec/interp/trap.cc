// SPDX-License-Identifier: Apache-2.0
//
// Traps in words. One formatter writes into any bounded buffer, so that the data path can keep a
// text without allocating and describe_trap gives the same words. Tested by trap_test.cc.
#include "exec/interp/trap.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace lmn {
namespace {

constexpr std::size_t kTextBytesMax = 320;

// Appends to a fixed buffer and drops what does not fit.
class BoundedText {
 public:
  explicit BoundedText(std::span<char> buffer) : buffer_(buffer) {}

  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    const std::size_t room = buffer_.size() - 1 - used_;
    const auto result =
        fmt::format_to_n(buffer_.data() + used_, room, format, std::forward<Args>(args)...);
    used_ += std::min<std::size_t>(result.size, room);
    buffer_[used_] = '\0';
  }

 private:
  std::span<char> buffer_;
  std::size_t used_ = 0;
};

void add_access(BoundedText& text, const Trap& trap) {
  text.add(": {} of {} bytes at offset {} of {} bytes, through {} r{}",
           trap.is_write ? "write" : "read", trap.size_bytes, trap.offset, trap.bound_bytes,
           interp::value_kind_words(trap.kind), trap.reg);
}

void add_register(BoundedText& text, const Trap& trap) {
  text.add(": r{} ({})", trap.reg, interp::value_kind_words(trap.kind));
  if (trap.kind == interp::ValueKind::kScalar) text.add(" is {:#x}", trap.value);
}

void add_numbers(BoundedText& text, const Trap& trap) {
  switch (trap.reason) {
    case TrapReason::kUninitRegister:
      text.add(": r{}", trap.reg);
      return;
    case TrapReason::kUninitStack:
    case TrapReason::kStackObject:
    case TrapReason::kOutOfBounds:
    case TrapReason::kReadOnly:
    case TrapReason::kWriteOnly:
    case TrapReason::kContextAccess:
    case TrapReason::kContextWrite:
    case TrapReason::kMisaligned:
      return add_access(text, trap);
    case TrapReason::kNotAPointer:
    case TrapReason::kNotAccessible:
    case TrapReason::kAtomicMemory:
    case TrapReason::kStalePacket:
    case TrapReason::kDeadFrame:
    case TrapReason::kReleasedMemory:
    case TrapReason::kArgument:
    case TrapReason::kArgumentModified:
    case TrapReason::kMapForHelper:
      return add_register(text, trap);
    case TrapReason::kArgumentSize:
      text.add(": r{} is {}", trap.reg, trap.value);
      return;
    case TrapReason::kUnreleased:
    case TrapReason::kTooManyReferences:
    case TrapReason::kInsnLimit:
    case TrapReason::kCallDepth:
      text.add(" ({})", trap.bound_bytes);
      return;
    case TrapReason::kUninitReturn:
    case TrapReason::kSpinLock:
    case TrapReason::kStopped:
    case TrapReason::kSection:
    case TrapReason::kUnreachable:
    case TrapReason::kNotExecutable:
      return;
  }
}

void write_text(std::span<char> buffer, const Trap& trap, const ProgramSpec& program) {
  BoundedText text(buffer);
  text.add("insn {}: {}", trap.insn.value, trap_reason_words(trap.reason));
  add_numbers(text, trap);
  if (trap.helper_id != 0) text.add(", in call of helper {}", trap.helper_id);
  if (!trap.kfunc.empty()) text.add(", in call of {}", trap.kfunc);
  if (const LineInfo* line = program.line_of(trap.insn))
    text.add(" ({}:{})", line->file, line->line);
}

}  // namespace

std::string_view trap_reason_words(TrapReason reason) {
  static constexpr std::string_view kWords[] = {
#define LMN_TRAP_REASON(name, words) words,
#include "exec/interp/trap_reasons.def"
#undef LMN_TRAP_REASON
  };
  return kWords[static_cast<std::size_t>(reason)];
}

std::string describe_trap(const Trap& trap, const ProgramSpec& program) {
  std::array<char, kTextBytesMax> buffer{};
  write_text(buffer, trap, program);
  return buffer.data();
}

TrapLog::TrapLog() : slots_(std::make_unique<std::array<Slot, kRecordsMax>>()) {}
TrapLog::~TrapLog() = default;

void TrapLog::report(const Trap& trap, const ProgramSpec& program) noexcept {
  const std::uint64_t index = count_.fetch_add(1, std::memory_order_relaxed);
  if (index >= kRecordsMax) return;
  Slot& slot = (*slots_)[index];
  slot.trap = trap;
  const std::size_t length = std::min(program.name.size(), slot.program.size() - 1);
  std::memcpy(slot.program.data(), program.name.data(), length);
  static_assert(std::tuple_size_v<decltype(Slot::text)> == kTextBytesMax,
                "both texts are cut at the same place");
  write_text(slot.text, trap, program);
  slot.is_ready.store(true, std::memory_order_release);
}

std::vector<TrapRecord> TrapLog::records() const {
  std::vector<TrapRecord> records;
  for (const Slot& slot : *slots_) {
    if (!slot.is_ready.load(std::memory_order_acquire)) continue;
    records.push_back({slot.trap, slot.program.data(), slot.text.data()});
  }
  return records;
}

}  // namespace lmn
