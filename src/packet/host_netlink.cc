// SPDX-License-Identifier: Apache-2.0
//
// One netlink socket per dump. Tested by tests/differential/host_tables_test.cc.
#include "packet/host_netlink.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace lmn {
namespace {

constexpr std::size_t kAlignment = 4;
constexpr std::size_t kAnswerBytesMax = std::size_t{1} << 20;
constexpr int kTriesMax = 10;

constexpr std::size_t aligned(std::size_t length) {
  return (length + kAlignment - 1) & ~(kAlignment - 1);
}

std::unexpected<Error> netlink_error(std::string_view what, int errno_value) {
  return make_error(system_error(fmt::format("{} of the host", what), errno_value));
}

enum class DumpState : std::uint8_t { kGoesOn, kDone, kDisturbed };

// One datagram of an answer.
Result<DumpState> read_answer(const NetlinkQuestion& question, ByteSpan datagram,
                              const NetlinkVisitor& visit) {
  bool is_disturbed = false;
  bool is_done = false;
  const auto read = [&](const NetlinkMessage& message) -> Result<void> {
    if (is_done) return {};
    is_disturbed = is_disturbed || (message.flags & NLM_F_DUMP_INTR) != 0;
    if (message.type != NLMSG_ERROR && message.type != NLMSG_DONE) {
      return visit(message.type, message.body);
    }
    const auto code = static_cast<int>(attribute_number<std::uint32_t>(message.body));
    if (code < 0) return netlink_error(question.what, -code);
    is_done = true;
    return {};
  };
  LMN_TRY(const bool is_whole, read_netlink_datagram(datagram, read));
  if (is_disturbed) return DumpState::kDisturbed;
  if (is_done) return DumpState::kDone;
  if (!is_whole) return netlink_error(question.what, EPROTO);
  return DumpState::kGoesOn;
}

Result<DumpState> dump_once(const NetlinkQuestion& question, std::span<std::uint8_t> room,
                            const NetlinkVisitor& visit) {
  const UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, question.protocol));
  if (!fd.is_open()) return netlink_error(question.what, errno);
  std::vector<std::uint8_t> request(sizeof(nlmsghdr) + aligned(question.body.size()));
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + question.body.size());
  header.nlmsg_type = question.type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  std::memcpy(request.data(), &header, sizeof header);
  std::ranges::copy(question.body, request.begin() + sizeof header);
  if (::send(fd.get(), request.data(), request.size(), 0) < 0) {
    return netlink_error(question.what, errno);
  }
  bool is_disturbed = false;
  while (true) {
    const ssize_t got = ::recv(fd.get(), room.data(), room.size(), MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return netlink_error(question.what, errno);
    if (static_cast<std::size_t>(got) > room.size()) return netlink_error(question.what, EMSGSIZE);
    LMN_TRY(const DumpState state,
            read_answer(question, room.first(static_cast<std::size_t>(got)), visit));
    is_disturbed = is_disturbed || state == DumpState::kDisturbed;
    if (state == DumpState::kDone || got == 0) break;
    // The rest of a disturbed dump is not worth reading: the socket goes, and its queue with it.
    if (is_disturbed) break;
  }
  return is_disturbed ? DumpState::kDisturbed : DumpState::kDone;
}

}  // namespace

Result<bool> read_netlink_datagram(
    ByteSpan datagram, const std::function<Result<void>(const NetlinkMessage&)>& visit) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    const nlmsghdr header = *netlink_head<nlmsghdr>(datagram);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) return false;
    const ByteSpan body = datagram.subspan(sizeof header, header.nlmsg_len - sizeof header);
    LMN_CHECK_OK(visit({header.nlmsg_type, header.nlmsg_flags, body}));
    datagram = datagram.subspan(std::min<std::size_t>(aligned(header.nlmsg_len), datagram.size()));
  }
  return true;
}

Result<void> HostNetlink::dump(const NetlinkQuestion& question,
                               const std::function<void()>& start_again,
                               const NetlinkVisitor& visit) const {
  std::vector<std::uint8_t> room(kAnswerBytesMax);
  for (int i = 0; i < kTriesMax; ++i) {
    start_again();
    LMN_TRY(const DumpState state, dump_once(question, room, visit));
    if (state == DumpState::kDone) return {};
  }
  return make_errno_error(
      ErrorCode::kIo, EINTR,
      fmt::format("{} of the host: changed during each of {} tries", question.what, kTriesMax));
}

void for_each_attribute(ByteSpan body, std::size_t head_bytes,
                        const std::function<void(std::uint16_t, ByteSpan)>& visit) {
  constexpr std::size_t kHead = 2 * sizeof(std::uint16_t);
  body = body.subspan(std::min(aligned(head_bytes), body.size()));
  while (body.size() >= kHead) {
    const auto length = load_unaligned<std::uint16_t>(body.data());
    const auto type = load_unaligned<std::uint16_t>(body.data() + sizeof length);
    if (length < kHead || length > body.size()) return;
    visit(type & NLA_TYPE_MASK, body.subspan(kHead, length - kHead));
    body = body.subspan(std::min(aligned(length), body.size()));
  }
}

}  // namespace lmn
