// SPDX-License-Identifier: Apache-2.0
//
// LMN's own kfuncs of bridges: where an Ethernet address is, and that it was heard of.
//
// Both take a struct bpf_lmn_fdb (include/lmn/bpf/kfuncs.h). Its ifindex says as which port of a
// bridge is asked: 0 stands for the port that the packet came in by, whose VLAN tag the caller has
// read from the packet. A longer struct of a later version is refused while its end is not zero.
// Tested by table_kfuncs_test.cc.
#include <cerrno>
#include <cstring>

#include "kfuncs/bodies.h"
#include "packet/fdb_table.h"

namespace lmn {
namespace {

// struct bpf_lmn_fdb.
struct FdbQuestion {
  MacAddress mac;
  std::uint16_t vlan_id;
  std::uint32_t ifindex;
  std::uint32_t flags;
};
static_assert(sizeof(FdbQuestion) == 16);

// 0, or the positive errno.
int check(const RunContext& context, std::uint64_t address, std::uint32_t size_bytes) {
  const auto* bytes = kfunc::as_pointer<const std::uint8_t>(address);
  if (size_bytes < sizeof(FdbQuestion)) return EINVAL;
  for (std::uint32_t i = sizeof(FdbQuestion); i < size_bytes; ++i) {
    if (bytes[i] != 0) return E2BIG;
  }
  return context.fdb == nullptr ? ENODEV : 0;
}

FdbQuestion read_question(const RunContext& context, std::uint64_t address) {
  FdbQuestion question;
  std::memcpy(&question, kfunc::as_pointer<void>(address), sizeof question);
  const RxQueueInfo* rxq = context.buff->rxq;
  if (question.ifindex == 0 && rxq != nullptr) question.ifindex = rxq->ifindex;
  return question;
}

}  // namespace

LMN_KFUNC_BODY(bpf_lmn_fdb_lookup) {
  if (const int error = check(*context, r2, kfunc::as_u32(r3)); error != 0) {
    return kfunc::failure(error);
  }
  FdbQuestion question = read_question(*context, r2);
  const FdbTable::Answer answer = context->fdb->find(
      question.ifindex, question.mac, question.vlan_id, context->clock->monotonic_ns());
  if (answer.error != 0) return kfunc::failure(answer.error);
  question.ifindex = answer.port;
  question.flags = answer.flags;
  std::memcpy(kfunc::as_pointer<void>(r2), &question, sizeof question);
  return 0;
}

LMN_KFUNC_BODY(bpf_lmn_fdb_learn) {
  if (const int error = check(*context, r2, kfunc::as_u32(r3)); error != 0) {
    return kfunc::failure(error);
  }
  const FdbQuestion question = read_question(*context, r2);
  return kfunc::failure(context->fdb->learn(question.ifindex, question.mac, question.vlan_id,
                                            context->clock->monotonic_ns()));
}

}  // namespace lmn
