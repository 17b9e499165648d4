// SPDX-License-Identifier: Apache-2.0
//
// Trap: why the checked interpreter stopped a program, and where traps are told.
//
// A trap is the interpreter's answer to a rule that a run broke: an access outside its object, a
// register nobody wrote, a pointer whose object is gone. The packet's verdict becomes XDP_ABORTED
// and the trap goes to the run's TrapSink (RunContext::traps). A program that the verifier accepts
// never traps: each trap of such a program is a bug of ours, which is why the record holds all that
// is needed to find it.
//
//   prog "xdp_fw": insn 14: memory access out of bounds: read of 4 bytes at offset 12 of packet (14
//   bytes) through r2 (fw.c:33)
//
// Nothing here allocates or locks: traps may come at packet rate, from a program that traps on
// each. Threads: TrapSink::report from any worker; TrapLog::records from any thread. Tested by
// trap_test.cc and exec_test.cc.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "exec/interp/shadow.h"
#include "spec/program_spec.h"

namespace lmn {

enum class TrapReason : std::uint8_t {
#define LMN_TRAP_REASON(name, words) name,
#include "exec/interp/trap_reasons.def"
#undef LMN_TRAP_REASON
};

// "memory access out of bounds"
std::string_view trap_reason_words(TrapReason reason);

// The facts, as plain numbers. Which of them a reason uses is told by describe_trap.
struct Trap {
  static constexpr std::uint8_t kNoRegister = 0xff;

  TrapReason reason = TrapReason::kNotExecutable;
  InsnIndex insn;
  std::uint8_t reg = kNoRegister;                       // the register whose value broke the rule
  interp::ValueKind kind = interp::ValueKind::kScalar;  // of that register
  bool is_write = false;
  std::uint32_t helper_id = 0;    // of a call, or 0
  std::string_view kfunc{};       // of a call of a kernel function: its name, which is static
  std::uint64_t value = 0;        // of that register
  std::int64_t offset = 0;        // of the access, from the start of its object
  std::uint64_t size_bytes = 0;   // of the access
  std::uint64_t bound_bytes = 0;  // of the object
};

// "insn 14: memory access out of bounds: read of 4 bytes at offset 12 of packet pointer (14 bytes)
// through r2 (fw.c:33)".
std::string describe_trap(const Trap& trap, const ProgramSpec& program);

// Told of every trap, on the data path: must not allocate, lock or print.
class TrapSink {
 public:
  virtual ~TrapSink() = default;
  virtual void report(const Trap& trap, const ProgramSpec& program) noexcept = 0;
};

// A trap as kept: the program may be gone when somebody reads it.
struct TrapRecord {
  Trap trap;
  std::string program;  // name
  std::string text;     // describe_trap's
};

// Counts all traps and keeps the first few.
// Invariant: a slot is written by one reporter, before its flag is set, and read only after.
class TrapLog final : public TrapSink {
 public:
  static constexpr std::size_t kRecordsMax = 64;

  TrapLog();
  ~TrapLog() override;
  void report(const Trap& trap, const ProgramSpec& program) noexcept override;
  // All traps, those not kept included.
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  // The first kRecordsMax, in the order they came in.
  std::vector<TrapRecord> records() const;

 private:
  // Text in place, since the reporter may not allocate.
  struct Slot {
    std::atomic<bool> is_ready{false};
    Trap trap;
    std::array<char, 64> program{};
    std::array<char, 320> text{};
  };
  std::unique_ptr<std::array<Slot, kRecordsMax>> slots_;
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace lmn
