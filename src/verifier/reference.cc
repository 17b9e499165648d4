// SPDX-License-Identifier: Apache-2.0
//
// What must be balanced: objects acquired and released, sections entered and left; and what is no
// longer good when the packet moves. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (acquire_reference, release_reference,
// check_resource_leak, clear_all_pkt_pointers).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"

namespace lmn {

std::uint32_t Explorer::acquire(std::uint32_t id) {
  state_->references.push_back({Reference::Kind::kObject, id, at_, nullptr});
  return id;
}

bool Explorer::release(std::uint32_t id) {
  auto& held = state_->references;
  const auto found = std::ranges::find_if(held, [&](const Reference& reference) {
    return reference.kind == Reference::Kind::kObject && reference.id == id;
  });
  if (found == held.end()) {
    return reject(Rule::kReference, "release of an object that is not held", {}, EINVAL);
  }
  held.erase(found);
  state_->for_each_register([&](RegState& reg) {
    if (reg.reference == id) reg = is_trusted() ? RegState::unknown() : RegState{};
  });
  return true;
}

bool Explorer::check_nothing_held(std::string_view where, bool ignore_locks) {
  for (const Reference& reference : state_->references) {
    if (reference.kind != Reference::Kind::kObject) continue;
    return reject(
        Rule::kReference,
        fmt::format("Unreleased reference id={} alloc_insn={}\n{} would lead to reference "
                    "leak",
                    reference.id, reference.insn, where),
        fmt::format("what insn {} acquired is not released on this path", reference.insn));
  }
  if (!ignore_locks && state_->active_locks > 0) {
    return reject(Rule::kLock,
                  fmt::format("{} cannot be used inside bpf_spin_lock-ed region", where));
  }
  if (state_->active_interrupts != 0) {
    return reject(Rule::kLock,
                  fmt::format("{} cannot be used inside bpf_local_irq_save-ed region", where));
  }
  if (state_->active_rcu > 0) {
    return reject(Rule::kLock,
                  fmt::format("{} cannot be used inside bpf_rcu_read_lock-ed region", where));
  }
  if (state_->active_preempt > 0) {
    return reject(Rule::kLock,
                  fmt::format("{} cannot be used inside bpf_preempt_disable-ed region", where));
  }
  return true;
}

// The RCU section ends: what it protected can be read on, without trust.
void Explorer::forget_rcu_protection() {
  const auto forget = [](RegState& reg) {
    if (!reg.has(kRcuProtected)) return;
    reg.flags &= static_cast<std::uint16_t>(~(kRcuProtected | kMayBeNull));
    reg.flags |= kUntrusted;
  };
  state_->for_each_register(forget);
  for (FrameState& frame : state_->frames) {
    for (StackSlot& slot : frame.stack) {
      if (slot.bytes[0] == SlotByte::kIterator) forget(slot.spilled);
    }
  }
}

bool Explorer::check_in_section(const HelperProto& proto) {
  if (state_->active_locks == 0) return true;
  if (proto.id == BPF_FUNC_spin_unlock) return true;
  return reject(Rule::kLock, "function calls are not allowed while holding a lock");
}

void Explorer::forget_packet_pointers() {
  state_->for_each_register([&](RegState& reg) {
    const bool is_slice = reg.kind == RegKind::kMemory && reg.has(kPacketSlice);
    if (reg.is_packet() || reg.kind == RegKind::kPacketEnd || is_slice) {
      reg = is_trusted() ? RegState::unknown() : RegState{};
    }
  });
}

}  // namespace lmn
