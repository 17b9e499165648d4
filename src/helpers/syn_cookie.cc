// SPDX-License-Identifier: Apache-2.0
//
// Helpers of SYN cookies: make the sequence number of a SYN-ACK that needs no memory of the SYN,
// and know it again when it comes back in the ACK. The raw ones look at packets only; the other two
// serve a listener of the SocketTable, and answer only when the host's setting has cookies.
//
// A cookie is the kernel's: two keyed hashes of the addresses and ports, the client's sequence
// number, the minute, and which of four segment sizes the client can take. It is valid in the
// minute it was made in and the one after. Only the keys and the hash's input layout are our own:
// cookies of another machine are as foreign here as those of another kernel are to Linux.
//
//   cookie = H0(addresses, ports) + client sequence + (minute << 24)
//            + (H1(addresses, ports, minute) + segment class) mod 2^24
//
// The keys come from the engine and are the same for all its workers, since an ACK may arrive at
// another one than its SYN; a run without them is -EOPNOTSUPP, as a kernel without SYN cookies.
//
// A listener takes cookies that were made for it in the last two minutes (here: by this engine; the
// time is kept with the socket). Its queue of half-open connections is the host's and is never full
// as far as this engine can see, so that the setting "1, when the queue is full" makes none.
// Tested by algorithms_test.cc, sockets_test.cc, tests/differential/device_helpers_test.cc and
// tests/differential/sockets_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_tcp_raw_*, bpf_tcp_*_syncookie),
// net/ipv4/syncookies.c, net/ipv6/syncookies.c, net/ipv4/tcp_input.c (tcp_parse_mss_option);
// SipHash-2-4 (Aumasson, Bernstein 2012).
#include <linux/bpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <optional>

#include "base/byte_reader.h"
#include "helpers/bodies.h"
#include "packet/socket_table.h"

namespace lmn {
namespace {

constexpr std::size_t kTcpHeaderBytes = 20;
constexpr std::uint64_t kNsPerMinute = 60'000'000'000;
constexpr std::uint32_t kCountBits = 24;
constexpr std::uint32_t kLowMask = (1u << kCountBits) - 1;
constexpr std::uint32_t kAgeMax = 2;  // minutes, MAX_SYNCOOKIE_AGE
constexpr std::uint16_t kMssDefaultIpv4 = 536;
constexpr std::uint16_t kMssDefaultIpv6 = 1280 - 60;

using MssClasses = std::array<std::uint16_t, 4>;
constexpr MssClasses kMssIpv4 = {536, 1300, 1440, 1460};
constexpr MssClasses kMssIpv6 = {1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60};

// What identifies a connection: addresses and ports, 12 or 36 bytes.
struct Flow {
  std::array<std::uint8_t, 36> bytes{};
  std::size_t size = 0;

  void append(ByteSpan part) {
    std::copy(part.begin(), part.end(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    size += part.size();
  }
};

// A TCP header of 20 bytes at least.
class TcpHeader {
 public:
  explicit TcpHeader(const std::uint8_t* bytes) : bytes_(bytes) {}
  ByteSpan ports() const { return {bytes_, 4}; }
  std::uint32_t sequence() const {
    return load_unaligned<std::uint32_t>(bytes_ + 4, std::endian::big);
  }
  std::uint32_t acknowledged() const {
    return load_unaligned<std::uint32_t>(bytes_ + 8, std::endian::big);
  }
  bool has(std::uint8_t flag) const { return (bytes_[13] & flag) != 0; }
  std::size_t length() const { return (bytes_[12] >> 4) * std::size_t{4}; }
  ByteSpan options() const { return {bytes_ + kTcpHeaderBytes, length() - kTcpHeaderBytes}; }

 private:
  const std::uint8_t* bytes_;
};

Flow ipv4_flow(const std::uint8_t* ip, const TcpHeader& tcp) {
  Flow flow;
  flow.append({ip + 12, 8});
  flow.append(tcp.ports());
  return flow;
}

Flow ipv6_flow(const std::uint8_t* ip, const TcpHeader& tcp) {
  Flow flow;
  flow.append({ip + 8, 32});
  flow.append(tcp.ports());
  return flow;
}

// The maximum segment size that the options state, or 0. The last one counts; options after a
// malformed one are not looked at.
std::uint16_t stated_mss(ByteSpan options) {
  constexpr std::uint8_t kEnd = 0;
  constexpr std::uint8_t kNoOperation = 1;
  constexpr std::uint8_t kMss = 2;
  std::uint16_t mss = 0;
  while (!options.empty() && options[0] != kEnd) {
    if (options[0] == kNoOperation) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < 2 || options[1] < 2 || options[1] > options.size()) break;
    if (options[0] == kMss && options[1] == 4) {
      const auto value = load_unaligned<std::uint16_t>(&options[2], std::endian::big);
      if (value != 0) mss = value;
    }
    options = options.subspan(options[1]);
  }
  return mss;
}

class SipHash {
 public:
  explicit SipHash(const std::array<std::uint64_t, 2>& key)
      : v_{key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
           key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull} {}

  void add(std::uint64_t word) {
    v_[3] ^= word;
    rounds(2);
    v_[0] ^= word;
  }
  std::uint64_t finish() {
    v_[2] ^= 0xff;
    rounds(4);
    return v_[0] ^ v_[1] ^ v_[2] ^ v_[3];
  }

 private:
  void rounds(int count) {
    for (; count > 0; --count) {
      v_[0] += v_[1];
      v_[2] += v_[3];
      v_[1] = std::rotl(v_[1], 13) ^ v_[0];
      v_[3] = std::rotl(v_[3], 16) ^ v_[2];
      v_[0] = std::rotl(v_[0], 32);
      v_[2] += v_[1];
      v_[0] += v_[3];
      v_[1] = std::rotl(v_[1], 17) ^ v_[2];
      v_[3] = std::rotl(v_[3], 21) ^ v_[0];
      v_[2] = std::rotl(v_[2], 32);
    }
  }
  std::array<std::uint64_t, 4> v_;
};

std::uint32_t flow_hash(const Flow& flow, std::uint32_t minute, const CookieKey& key) {
  SipHash hash(key);
  std::array<std::uint8_t, 40> padded{};
  std::copy_n(flow.bytes.begin(), flow.size, padded.begin());
  const std::size_t words = (flow.size + 7) / 8;
  for (std::size_t i = 0; i < words; ++i) hash.add(load_unaligned<std::uint64_t>(&padded[i * 8]));
  hash.add(minute | std::uint64_t{flow.size} << 56);
  return static_cast<std::uint32_t>(hash.finish());
}

std::uint32_t minute_of(const RunContext& context) {
  return static_cast<std::uint32_t>(context.clock->monotonic_ns() / kNsPerMinute);
}

std::uint64_t make_cookie(const RunContext& context, const Flow& flow, const TcpHeader& tcp,
                          const MssClasses& classes, std::uint16_t default_mss) {
  const CookieSecret& secret = *context.cookie_secret;
  const std::uint16_t stated = stated_mss(tcp.options());
  const std::uint16_t mss = stated != 0 ? stated : default_mss;
  auto mss_class = static_cast<std::uint32_t>(classes.size() - 1);
  while (mss_class > 0 && mss < classes[mss_class]) --mss_class;
  const std::uint32_t minute = minute_of(context);
  const std::uint32_t cookie = flow_hash(flow, 0, secret.first) + tcp.sequence() +
                               (minute << kCountBits) +
                               ((flow_hash(flow, minute, secret.second) + mss_class) & kLowMask);
  return cookie | std::uint64_t{classes[mss_class]} << 32;
}

// 0 when the ACK answers a cookie of ours, else -EACCES.
std::uint64_t check_cookie(const RunContext& context, const Flow& flow, const TcpHeader& tcp,
                           const MssClasses& classes) {
  const CookieSecret& secret = *context.cookie_secret;
  const std::uint32_t cookie =
      tcp.acknowledged() - 1 - flow_hash(flow, 0, secret.first) - (tcp.sequence() - 1);
  const std::uint32_t minute = minute_of(context);
  const std::uint32_t age = (minute - (cookie >> kCountBits)) & (0xffffffffu >> kCountBits);
  if (age >= kAgeMax) return helper::failure(EACCES);
  const std::uint32_t mss_class =
      (cookie - flow_hash(flow, minute - age, secret.second)) & kLowMask;
  return mss_class < classes.size() ? 0 : helper::failure(EACCES);
}

// The TCP header of a gen call, when `length` is what the header itself says.
std::optional<TcpHeader> whole_header(std::uint64_t address, std::uint32_t length) {
  if (length < kTcpHeaderBytes) return std::nullopt;
  const TcpHeader tcp(helper::as_pointer<const std::uint8_t>(address));
  if (length != tcp.length()) return std::nullopt;
  return tcp;
}

constexpr std::uint8_t kFin = 0x01;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kAck = 0x10;

// An IP header of the program's and the listener it is for.
struct Served {
  const Socket& listener;
  const std::uint8_t* ip;
  std::uint32_t ip_bytes;

  static constexpr std::uint32_t kIpv4Bytes = 20;
  static constexpr std::uint32_t kIpv6Bytes = 40;

  bool is_ipv4() const { return ip[0] >> 4 == 4; }
  // 0, or the failure for a header that the listener cannot get.
  std::uint64_t failure() const {
    if (ip_bytes < kIpv4Bytes) return helper::failure(EINVAL);
    const bool is_ipv6_listener = listener.fields.family == AF_INET6;
    if (is_ipv4()) {
      return is_ipv6_listener && listener.is_ipv6_only ? helper::failure(EINVAL) : 0;
    }
    if (ip[0] >> 4 != 6) return helper::failure(EPROTONOSUPPORT);
    if (ip_bytes < kIpv6Bytes) return helper::failure(EINVAL);
    return is_ipv6_listener ? 0 : helper::failure(EINVAL);
  }
};

// The listener of the table at this address; null for other sockets and other addresses.
const Socket* listener_at(const RunContext& context, std::uint64_t address) {
  if (context.sockets == nullptr) return nullptr;
  const Socket* socket = context.sockets->at(helper::as_pointer<const void>(address));
  if (socket == nullptr || socket->protocol != SocketProtocol::kTcp) return nullptr;
  return socket->fields.state == kTcpListen ? socket : nullptr;
}

std::uint32_t seconds_of(const RunContext& context) {
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  // 0 stands for "never".
  return static_cast<std::uint32_t>(context.clock->monotonic_ns() / kNsPerSecond) + 1;
}

// Whether a cookie was made for it while one could still come back.
bool has_recent_cookie(const RunContext& context, const Socket& listener) {
  constexpr std::uint32_t kValidSeconds = kAgeMax * 60;
  const std::uint32_t last = listener.last_cookie_s();
  return last != 0 && seconds_of(context) - last <= kValidSeconds;
}

}  // namespace

LMN_HELPER_BODY(tcp_check_syncookie) {
  const std::uint32_t tcp_bytes = helper::as_u32(r5);
  if (tcp_bytes < kTcpHeaderBytes) return helper::failure(EINVAL);
  const Socket* listener = listener_at(*context, r1);
  if (listener == nullptr || context->cookie_secret == nullptr) return helper::failure(EINVAL);
  if (context->sockets->syncookies() == 0) return helper::failure(EINVAL);
  const TcpHeader tcp(helper::as_pointer<const std::uint8_t>(r4));
  if (!tcp.has(kAck) || tcp.has(kRst) || tcp.has(kSyn)) return helper::failure(ENOENT);
  const Served served{*listener, helper::as_pointer<const std::uint8_t>(r2), helper::as_u32(r3)};
  if (served.ip_bytes < Served::kIpv4Bytes) return helper::failure(EINVAL);
  if (!has_recent_cookie(*context, *listener)) return helper::failure(ENOENT);
  if (const std::uint64_t failure = served.failure()) return failure;
  const bool is_ipv4 = served.is_ipv4();
  const std::uint64_t result =
      check_cookie(*context, is_ipv4 ? ipv4_flow(served.ip, tcp) : ipv6_flow(served.ip, tcp), tcp,
                   is_ipv4 ? kMssIpv4 : kMssIpv6);
  return result == 0 ? 0 : helper::failure(ENOENT);
}

LMN_HELPER_BODY(tcp_gen_syncookie) {
  const auto tcp = whole_header(r4, helper::as_u32(r5));
  if (!tcp) return helper::failure(EINVAL);
  const Socket* listener = listener_at(*context, r1);
  if (listener == nullptr) return helper::failure(EINVAL);
  if (context->sockets->syncookies() == 0 || context->cookie_secret == nullptr) {
    return helper::failure(ENOENT);
  }
  const bool is_syn = tcp->has(kSyn) && !tcp->has(kAck) && !tcp->has(kFin) && !tcp->has(kRst);
  if (!is_syn) return helper::failure(EINVAL);
  const Served served{*listener, helper::as_pointer<const std::uint8_t>(r2), helper::as_u32(r3)};
  if (const std::uint64_t failure = served.failure()) return failure;
  if (context->sockets->syncookies() != 2) return helper::failure(ENOENT);
  listener->set_last_cookie_s(seconds_of(*context));
  if (served.is_ipv4()) {
    return make_cookie(*context, ipv4_flow(served.ip, *tcp), *tcp, kMssIpv4, kMssDefaultIpv4);
  }
  return make_cookie(*context, ipv6_flow(served.ip, *tcp), *tcp, kMssIpv6, kMssDefaultIpv6);
}

LMN_HELPER_BODY(tcp_raw_gen_syncookie_ipv4) {
  const auto tcp = whole_header(r2, helper::as_u32(r3));
  if (!tcp) return helper::failure(EINVAL);
  if (context->cookie_secret == nullptr) return helper::failure(EOPNOTSUPP);
  const Flow flow = ipv4_flow(helper::as_pointer<const std::uint8_t>(r1), *tcp);
  return make_cookie(*context, flow, *tcp, kMssIpv4, kMssDefaultIpv4);
}

LMN_HELPER_BODY(tcp_raw_gen_syncookie_ipv6) {
  const auto tcp = whole_header(r2, helper::as_u32(r3));
  if (!tcp) return helper::failure(EINVAL);
  if (context->cookie_secret == nullptr) return helper::failure(EOPNOTSUPP);
  const Flow flow = ipv6_flow(helper::as_pointer<const std::uint8_t>(r1), *tcp);
  return make_cookie(*context, flow, *tcp, kMssIpv6, kMssDefaultIpv6);
}

LMN_HELPER_BODY(tcp_raw_check_syncookie_ipv4) {
  if (context->cookie_secret == nullptr) return helper::failure(EOPNOTSUPP);
  const TcpHeader tcp(helper::as_pointer<const std::uint8_t>(r2));
  return check_cookie(*context, ipv4_flow(helper::as_pointer<const std::uint8_t>(r1), tcp), tcp,
                      kMssIpv4);
}

LMN_HELPER_BODY(tcp_raw_check_syncookie_ipv6) {
  if (context->cookie_secret == nullptr) return helper::failure(EOPNOTSUPP);
  const TcpHeader tcp(helper::as_pointer<const std::uint8_t>(r2));
  return check_cookie(*context, ipv6_flow(helper::as_pointer<const std::uint8_t>(r1), tcp), tcp,
                      kMssIpv6);
}

}  // namespace lmn
