// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of connection tracking: find, make, insert and change connections.
//
// The connections are the ConntrackTable's, which the engine owns; here are the checks of arguments
// in the kernel's order, since the first one that fails is the errno a program sees. The struct of
// options has two sizes, 12 bytes before zones were added and 16 with them; what the short one
// calls reserved is the zone's number. An engine is one network namespace without numbered
// neighbours: a number that could be one is -ENONET.
// Not as in Linux 6.18: an error is stored only if the options are long enough to hold it
// (docs/kernel-differences.md).
// Tested by table_kfuncs_test.cc and tests/differential/conntrack_test.cc.
// Source: Linux 6.18, net/netfilter/nf_conntrack_bpf.c, nf_nat_bpf.c.
#include <linux/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>

#include "kfuncs/bodies.h"
#include "packet/conntrack_table.h"
#include "packet/jiffies.h"

namespace lmn {
namespace {

// struct bpf_ct_opts.
struct Options {
  std::int32_t netns_id;
  std::int32_t error;
  std::uint8_t l4proto;
  std::uint8_t dir;
  std::uint16_t zone_id;
  std::uint8_t zone_dir;
  std::uint8_t reserved[3];
};
static_assert(sizeof(Options) == 16);

constexpr std::uint32_t kOptionsBytes = 16;
constexpr std::uint32_t kShortOptionsBytes = 12;
constexpr std::uint32_t kBytesToError = 8;
constexpr std::int32_t kCurrentNamespace = BPF_F_CURRENT_NETNS;

// What is asked. Tuple and options are copies: the program's may lie anywhere, in a packet too.
struct Question {
  bpf_sock_tuple tuple{};
  std::uint32_t tuple_bytes;
  Options options{};
  std::uint32_t options_bytes;
  std::uint8_t* program_options;
  bool has_tuple;

  Question(std::uint64_t tuple_address, std::uint64_t tuple_size, std::uint64_t options_address,
           std::uint64_t options_size)
      : tuple_bytes(kfunc::as_u32(tuple_size)),
        options_bytes(kfunc::as_u32(options_size)),
        program_options(kfunc::as_pointer<std::uint8_t>(options_address)),
        has_tuple(tuple_address != 0) {
    if (has_tuple) {
      std::memcpy(&tuple, kfunc::as_pointer<const void>(tuple_address),
                  std::min<std::size_t>(tuple_bytes, sizeof tuple));
    }
    if (program_options == nullptr) return;
    std::memcpy(&options, program_options, std::min<std::size_t>(options_bytes, sizeof options));
  }
  bool is_long() const { return options_bytes == kOptionsBytes; }
  // Tells the program one of its options. REQUIRES: they are long enough for it.
  template <typename T>
  void tell(T Options::* member, T value) {
    const T* place = &(options.*member);
    const auto* start = reinterpret_cast<const std::uint8_t*>(&options);
    options.*member = value;
    std::memcpy(program_options + (reinterpret_cast<const std::uint8_t*>(place) - start), &value,
                sizeof value);
  }
};

std::uint32_t now_of(const RunContext& context) {
  return static_cast<std::uint32_t>(jiffies_of(*context.clock));
}

bool is_tracked(std::uint8_t protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

// 0, or what is wrong with the options' shape; the positive errno.
int check_options(const Question& question, const RunContext& context) {
  if (question.program_options == nullptr || !question.has_tuple) return EINVAL;
  if (!question.is_long() && question.options_bytes != kShortOptionsBytes) return EINVAL;
  const std::uint8_t* reserved = question.options.reserved;
  const bool is_reserved_zero = question.is_long() ? (reserved[0] | reserved[1] | reserved[2]) == 0
                                                   : question.options.zone_id == 0;
  if (!is_reserved_zero) return EINVAL;
  return context.conntrack == nullptr ? ENOENT : 0;
}

// A namespace that may be asked for, there or not.
int check_namespace(const Question& question) {
  return question.options.netns_id < kCurrentNamespace ? EINVAL : 0;
}

int check_protocol(const Question& question) {
  return is_tracked(question.options.l4proto) ? 0 : EPROTO;
}

int check_current(const Question& question) { return question.options.netns_id >= 0 ? ENONET : 0; }

// The first that is not 0.
int first_error(std::initializer_list<int> errors) {
  for (const int error : errors) {
    if (error != 0) return error;
  }
  return 0;
}

// 0 or the errno.
int read_tuple(const Question& question, ConntrackTuple& tuple) {
  tuple.protocol = question.options.l4proto;
  const bpf_sock_tuple& given = question.tuple;
  switch (question.tuple_bytes) {
    case sizeof given.ipv4:
      std::memcpy(tuple.source.data(), &given.ipv4.saddr, 4);
      std::memcpy(tuple.destination.data(), &given.ipv4.daddr, 4);
      tuple.source_port = given.ipv4.sport;
      tuple.destination_port = given.ipv4.dport;
      return 0;
    case sizeof given.ipv6:
      tuple.family = IpFamily::kIpv6;
      std::memcpy(tuple.source.data(), given.ipv6.saddr, 16);
      std::memcpy(tuple.destination.data(), given.ipv6.daddr, 16);
      tuple.source_port = given.ipv6.sport;
      tuple.destination_port = given.ipv6.dport;
      return 0;
    default:
      return EAFNOSUPPORT;
  }
}

ConntrackZone zone_of(Question& question) {
  if (!question.is_long()) return {};
  if (question.options.zone_dir == 0) {
    question.tell(&Options::zone_dir, static_cast<std::uint8_t>(kZoneBoth));
  }
  return {question.options.zone_id, question.options.zone_dir};
}

// The address of a connection's image, or null with the error in the options.
std::uint64_t answer(Question& question, int errno_value) {
  if (question.program_options != nullptr && question.options_bytes >= kBytesToError) {
    question.tell(&Options::error, -errno_value);
  }
  return 0;
}

std::uint64_t address_of(RunContext& context, ConntrackTable::Connection& connection) {
  return reinterpret_cast<std::uintptr_t>(context.conntrack->image(connection));
}

// REQUIRES: an image that a call here gave, as the caller has checked.
ConntrackTable::Connection& connection_at(RunContext& context, std::uint64_t image) {
  return *context.conntrack->at(kfunc::as_pointer<void>(image));
}

}  // namespace

LMN_KFUNC_BODY(bpf_xdp_ct_lookup) {
  Question question(r2, r3, r4, r5);
  if (const int error = check_options(question, *context); error != 0) {
    return answer(question, error);
  }
  ConntrackTuple tuple;
  const int error = first_error({check_protocol(question), check_namespace(question),
                                 read_tuple(question, tuple), check_current(question)});
  if (error != 0) return answer(question, error);
  const ConntrackZone zone = zone_of(question);
  const auto found = context->conntrack->find(tuple, zone, now_of(*context));
  if (found.connection == nullptr) return answer(question, ENOENT);
  question.tell(&Options::dir, static_cast<std::uint8_t>(found.direction));
  return address_of(*context, *found.connection);
}

LMN_KFUNC_BODY(bpf_xdp_ct_alloc) {
  Question question(r2, r3, r4, r5);
  if (const int error = check_options(question, *context); error != 0) {
    return answer(question, error);
  }
  ConntrackTuple tuple;
  const int error = first_error({check_namespace(question), check_protocol(question),
                                 read_tuple(question, tuple), check_current(question)});
  if (error != 0) return answer(question, error);
  const ConntrackZone zone = zone_of(question);
  auto* made = context->conntrack->allocate(tuple, tuple.reversed(), zone, now_of(*context));
  return made == nullptr ? answer(question, ENOMEM) : address_of(*context, *made);
}

LMN_KFUNC_BODY(bpf_ct_insert_entry) {
  return context->conntrack->insert(connection_at(*context, r1), now_of(*context)) ? r1 : 0;
}

LMN_KFUNC_BODY(bpf_ct_release) {
  context->conntrack->release(connection_at(*context, r1));
  return 0;
}

LMN_KFUNC_BODY(bpf_ct_set_timeout) {
  context->conntrack->set_timeout(connection_at(*context, r1), jiffies_from_ms(kfunc::as_u32(r2)),
                                  now_of(*context));
  return 0;
}

LMN_KFUNC_BODY(bpf_ct_change_timeout) {
  return kfunc::failure(context->conntrack->change_timeout(
      connection_at(*context, r1), jiffies_from_ms(kfunc::as_u32(r2)), now_of(*context)));
}

LMN_KFUNC_BODY(bpf_ct_set_status) {
  return kfunc::failure(
      context->conntrack->change_status(connection_at(*context, r1), kfunc::as_u32(r2)));
}

LMN_KFUNC_BODY(bpf_ct_change_status) {
  return kfunc_bpf_ct_set_status(r1, r2, r3, r4, r5, context);
}

LMN_KFUNC_BODY(bpf_ct_set_nat_info) {
  auto& connection = connection_at(*context, r1);
  IpAddress address{};
  std::memcpy(address.data(), kfunc::as_pointer<void>(r2), address.size());
  std::optional<std::uint16_t> port;
  if (kfunc::as_u32(r3) != 0) port = htons(static_cast<std::uint16_t>(r3));
  const NatKind kind = kfunc::as_u32(r4) == 0 ? NatKind::kSource : NatKind::kDestination;
  return kfunc::failure(context->conntrack->set_nat(connection, kind, address, port));
}

}  // namespace lmn
