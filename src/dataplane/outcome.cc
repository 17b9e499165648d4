// SPDX-License-Identifier: Apache-2.0
//
// One function per verdict, and the broadcast of a devmap. Tested by dataplane_test.cc.
#include "dataplane/outcome.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "exec/compiled_program.h"
#include "maps/map.h"
#include "packet/action.h"

namespace lmn {
namespace {

void release(const XdpBuff& buff) noexcept { buff.pool->free(buff.hard_start); }

Counter redirect_error_counter(int error) noexcept {
  switch (error) {
    case EINVAL:
      return Counter::kRedirectNoTarget;
    case ENETDOWN:
      return Counter::kRedirectDown;
    case EMSGSIZE:
      return Counter::kRedirectTooLong;
    default:
      return Counter::kRedirectFailed;
  }
}

// One poll's delivery: the arguments that every step needs.
class Delivery {
 public:
  Delivery(const OutcomeTargets& targets, RunContext& context, Counters& counters, FlushList& flush)
      : targets_(targets), context_(context), counters_(counters), flush_(flush) {}

  void hand_over(XdpBuff& buff, std::uint32_t verdict, const RedirectSlot& redirect) noexcept;

 private:
  void drop(const XdpBuff& buff, Counter reason) noexcept {
    counters_.add(reason);
    release(buff);
  }
  // Moves the frame to `sink`. 0, or the errno that kept it; then the frame is still the caller's.
  int send(const XdpBuff& buff, FrameSink* sink) noexcept {
    if (const int error = sink->check(buff.length()); error != 0) return error;
    sink->enqueue(to_frame(buff));
    flush_.add(sink);
    return 0;
  }
  void pass(const XdpBuff& buff) noexcept;
  void transmit(const XdpBuff& buff) noexcept;
  void redirect(XdpBuff& buff, const RedirectSlot& slot) noexcept;
  void redirect_to(XdpBuff& buff, const RedirectTarget& target) noexcept;
  bool entry_program_keeps(XdpBuff& buff, const RedirectTarget& target) noexcept;
  void broadcast(XdpBuff& buff, const RedirectSlot& slot) noexcept;
  bool copy_of(const XdpBuff& buff, XdpBuff& copy) noexcept;

  const OutcomeTargets& targets_;
  RunContext& context_;
  Counters& counters_;
  FlushList& flush_;
};

void Delivery::hand_over(XdpBuff& buff, std::uint32_t verdict, const RedirectSlot& slot) noexcept {
  switch (verdict) {
    case XDP_ABORTED:
      return drop(buff, Counter::kXdpAborted);
    case XDP_DROP:
      return drop(buff, Counter::kXdpDrop);
    case XDP_PASS:
      return pass(buff);
    case XDP_TX:
      return transmit(buff);
    case XDP_REDIRECT:
      return redirect(buff, slot);
    default:
      return drop(buff, Counter::kXdpUnknown);
  }
}

void Delivery::pass(const XdpBuff& buff) noexcept {
  counters_.add(Counter::kXdpPass);
  if (targets_.pass_sink == nullptr) return drop(buff, Counter::kPassNoStack);
  if (send(buff, targets_.pass_sink) != 0) return drop(buff, Counter::kPassFailed);
  counters_.add(Counter::kPassDelivered);
}

void Delivery::transmit(const XdpBuff& buff) noexcept {
  counters_.add(Counter::kXdpTx);
  if (targets_.tx == nullptr) return drop(buff, Counter::kTxFailed);
  if (send(buff, targets_.tx) != 0) drop(buff, Counter::kTxFailed);
}

void Delivery::redirect(XdpBuff& buff, const RedirectSlot& slot) noexcept {
  counters_.add(Counter::kXdpRedirect);
  RedirectTarget target;
  switch (slot.kind) {
    case RedirectSlot::Kind::kNone:
      return drop(buff, Counter::kRedirectNoTarget);
    case RedirectSlot::Kind::kBroadcast:
      return broadcast(buff, slot);
    case RedirectSlot::Kind::kIfindex:
      target.ifindex = slot.ifindex;
      target.sink = context_.ports != nullptr ? context_.ports->find_sink(slot.ifindex) : nullptr;
      break;
    case RedirectSlot::Kind::kSink:
      target.ifindex = slot.ifindex;
      target.sink = slot.sink;
      target.program = slot.program;
      break;
  }
  redirect_to(buff, target);
}

void Delivery::redirect_to(XdpBuff& buff, const RedirectTarget& target) noexcept {
  if (target.sink == nullptr) return drop(buff, Counter::kRedirectNoTarget);
  // As in Linux, what cannot be sent is lost before the entry's program sees it.
  if (const int error = target.sink->check(buff.length()); error != 0) {
    return drop(buff, redirect_error_counter(error));
  }
  if (!entry_program_keeps(buff, target)) return drop(buff, Counter::kRedirectDropped);
  if (const int error = send(buff, target.sink); error != 0)
    return drop(buff, redirect_error_counter(error));
  counters_.add(Counter::kRedirectDelivered);
}

// Runs the devmap entry's own program, if it has one: PASS sends, every other verdict drops.
bool Delivery::entry_program_keeps(XdpBuff& buff, const RedirectTarget& target) noexcept {
  if (target.program == nullptr) return true;
  LMN_DCHECK(target.program->program != nullptr);
  buff.egress_ifindex = target.ifindex;
  const std::uint32_t verdict = target.program->program->run(buff, context_);
  buff.egress_ifindex = 0;
  return verdict == XDP_PASS;
}

bool Delivery::copy_of(const XdpBuff& buff, XdpBuff& copy) noexcept {
  std::uint8_t* room = buff.pool->allocate();
  if (room == nullptr) return false;
  copy = buff;
  copy.hard_start = room;
  copy.data_meta = room + (buff.data_meta - buff.hard_start);
  copy.data = room + (buff.data - buff.hard_start);
  copy.data_end = room + (buff.data_end - buff.hard_start);
  std::memcpy(copy.data_meta, buff.data_meta,
              static_cast<std::size_t>(buff.data_end - buff.data_meta));
  return true;
}

void Delivery::broadcast(XdpBuff& buff, const RedirectSlot& slot) noexcept {
  const std::uint32_t ingress = buff.rxq != nullptr ? buff.rxq->ifindex : 0;
  RedirectTarget last;
  RedirectTarget target;
  std::uint64_t cursor = 0;
  while (slot.map->next_redirect_target(cursor, target)) {
    if (target.sink == nullptr || target.sink->check(buff.length()) != 0) continue;
    if (slot.excludes_ingress && target.ifindex == ingress) continue;
    if (last.sink != nullptr) {
      counters_.add(Counter::kGenerated);
      XdpBuff copy;
      if (copy_of(buff, copy)) {
        redirect_to(copy, last);
      } else {
        counters_.add(Counter::kRedirectFailed);
      }
    }
    last = target;
  }
  if (last.sink == nullptr) return drop(buff, Counter::kRedirectNoGroup);
  redirect_to(buff, last);
}

}  // namespace

void deliver(FrameBatch& batch, const OutcomeTargets& targets, RunContext& context,
             Counters& counters, FlushList& flush) noexcept {
  Delivery delivery(targets, context, counters, flush);
  for (std::size_t i = 0; i < batch.count; ++i) {
    delivery.hand_over(batch.buffs[i], batch.verdicts[i], batch.redirects[i]);
  }
  batch.clear();
}

std::string accounting_error(const CounterSnapshot& counters) {
  struct Equation {
    const char* left_name;
    std::vector<Counter> left;
    std::vector<Counter> right;
  };
  const Equation equations[] = {
      {"rx_packets = sum of the verdicts",
       {Counter::kRxPackets},
       {Counter::kXdpAborted, Counter::kXdpDrop, Counter::kXdpUnknown, Counter::kXdpPass,
        Counter::kXdpTx, Counter::kXdpRedirect}},
      {"xdp_pass = delivered + no stack + failed",
       {Counter::kXdpPass},
       {Counter::kPassDelivered, Counter::kPassNoStack, Counter::kPassFailed}},
      {"xdp_redirect + generated = sum of the redirect outcomes",
       {Counter::kXdpRedirect, Counter::kGenerated},
       {Counter::kRedirectDelivered, Counter::kRedirectDropped, Counter::kRedirectNoTarget,
        Counter::kRedirectNoGroup, Counter::kRedirectDown, Counter::kRedirectTooLong,
        Counter::kRedirectFailed}},
  };
  const auto sum = [&](const std::vector<Counter>& which) {
    std::uint64_t total = 0;
    for (Counter counter : which) total += counters[static_cast<std::size_t>(counter)];
    return total;
  };
  for (const Equation& equation : equations) {
    if (sum(equation.left) == sum(equation.right)) continue;
    return fmt::format("accounting: {}: {} != {}", equation.left_name, sum(equation.left),
                       sum(equation.right));
  }
  return {};
}

}  // namespace lmn
