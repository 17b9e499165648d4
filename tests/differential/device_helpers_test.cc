// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_check_mtu and the raw SYN cookie helpers answer as the kernel's.
// Method: HelperCaller, with the loopback device of a network namespace of our own, whose MTU this
// test sets. Cookies are made with secret keys, so that only what is not secret compares: errors,
// the segment size that was chosen, and that each side knows its own cookies and no others.
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "base/byte_reader.h"
#include "base/unique_fd.h"
#include "differential/helper_caller.h"
#include "harness/provoked.h"

namespace lmn {
namespace {

// Loopback only, as the kernel's test run sees its namespace.
class Loopback final : public PortDirectory {
 public:
  explicit Loopback(std::uint32_t mtu) : mtu_(mtu) {}
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  std::optional<std::uint32_t> find_mtu(std::uint32_t ifindex) noexcept override {
    if (ifindex != 1) return std::nullopt;
    return mtu_;
  }

 private:
  std::uint32_t mtu_;
};

bool set_loopback_mtu(int mtu) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  struct ifreq request = {};
  std::ranges::copy(std::string_view("lo"), request.ifr_name);
  request.ifr_mtu = mtu;
  return ::ioctl(socket.get(), SIOCSIFMTU, &request) == 0;
}

// Runs `body` on a thread in a network namespace of its own. False: not allowed here.
template <typename Body>
bool in_own_namespace(Body body) {
  bool is_allowed = true;
  std::thread([&] {
    is_allowed = ::unshare(CLONE_NEWNET) == 0;
    if (is_allowed) body();
  }).join();
  return is_allowed;
}

void sweep_check_mtu(int mtu) {
  ASSERT_TRUE(set_loopback_mtu(mtu));
  Loopback ports(static_cast<std::uint32_t>(mtu));
  const RxQueueInfo loopback{.ifindex = 1};
  HelperCaller caller(BPF_FUNC_check_mtu, {context(), word(), memory(0), word(), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  caller.prepare_ours = [&](TestRun& run) {
    run.context.ports = &ports;
    run.buff.rxq = &loopback;
  };
  const std::int64_t m = mtu;
  const std::vector<std::int64_t> stated = {0, 1, m - 1, m, m + 1, 65535, INT32_MAX, UINT32_MAX};
  const std::vector<std::int64_t> changes = {0,  1,         -1,        m - 46,    m - 45,
                                             14, INT32_MAX, INT32_MIN, 1ll << 32, m - 60};
  std::set<std::int64_t> seen;
  for (const std::size_t size : {14u, 60u, 1514u, 3520u}) {
    const std::vector<std::uint8_t> packet(size, 7);
    for (const std::uint64_t ifindex : {0ull, 1ull, 2ull, 77777ull, 1ull << 32}) {
      for (const std::int64_t length : stated) {
        for (const std::int64_t change : changes) {
          for (const std::uint64_t flags : {0ull, 1ull, 1ull << 40}) {
            store_unaligned<std::uint32_t>(caller.memory_in().data(),
                                           static_cast<std::uint32_t>(length));
            const Comparison c =
                caller.compare(packet, {0, ifindex, 0, static_cast<std::uint64_t>(change), flags});
            ASSERT_TRUE(c.is_equal())
                << "mtu " << mtu << ", packet of " << size << ", ifindex " << ifindex << ", stated "
                << length << ", change " << change << ": " << c.difference();
            seen.insert(c.kernel.result);
            Provoked::instance().add_value("bpf_check_mtu", c.kernel.result);
          }
        }
      }
    }
  }
  EXPECT_EQ(seen, (std::set<std::int64_t>{BPF_MTU_CHK_RET_SUCCESS, BPF_MTU_CHK_RET_FRAG_NEEDED,
                                          -EINVAL, -ENODEV}));
}

TEST(CheckMtuDifferential, PacketsLengthsAndChanges) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  const bool is_allowed = in_own_namespace([] {
    for (const int mtu : {68, 1500, 3000}) sweep_check_mtu(mtu);
  });
  if (!is_allowed) GTEST_SKIP() << "no right to make a network namespace";
}

// --- SYN cookies. Memory: the IP header at 0, the TCP header at 64.

constexpr std::size_t kTcpAt = 64;
constexpr std::uint32_t kTcpMax = 60;

class CookieDifferential : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  }
  bool is_ipv6() const { return GetParam(); }
  std::uint32_t gen_id() const {
    return is_ipv6() ? BPF_FUNC_tcp_raw_gen_syncookie_ipv6 : BPF_FUNC_tcp_raw_gen_syncookie_ipv4;
  }
  std::uint32_t check_id() const {
    return is_ipv6() ? BPF_FUNC_tcp_raw_check_syncookie_ipv6
                     : BPF_FUNC_tcp_raw_check_syncookie_ipv4;
  }
  void give_secret(HelperCaller& caller) {
    caller.prepare_ours = [this](TestRun& run) {
      run.context.cookie_secret = &secret_;
      run.context.clock = &clock_;
    };
  }

  CookieSecret secret_{{1, 2}, {3, 4}};
  FakeClock clock_;
  std::mt19937_64 random_{20251120};
};

// Random options, often an MSS.
void fill_options(std::span<std::uint8_t> options, std::mt19937_64& random) {
  constexpr std::uint16_t kSizes[] = {0,    1,    535,  536,  1219, 1220, 1299,
                                      1300, 1439, 1440, 1441, 1460, 8940, 65535};
  for (std::size_t i = 0; i < options.size(); ++i) {
    options[i] = static_cast<std::uint8_t>(random() % 6);
    if (random() % 4 == 0 && options.size() - i >= 4) {
      options[i] = 2;
      options[i + 1] = 4;
      store_unaligned<std::uint16_t>(&options[i + 2], kSizes[random() % std::size(kSizes)],
                                     std::endian::big);
      i += 3;
    }
  }
}

TEST_P(CookieDifferential, ErrorsAndSegmentSizes) {
  HelperCaller caller(gen_id(), {memory(0), memory(kTcpAt), size(0, kTcpMax)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  give_secret(caller);
  const std::vector<std::uint8_t> packet(60);
  std::set<std::int64_t> seen;
  for (int i = 0; i < 5'000; ++i) {
    for (auto& byte : caller.memory_in().first(128)) byte = static_cast<std::uint8_t>(random_());
    const std::uint64_t doff = random_() % 8 == 0 ? random_() % 16 : 5 + random_() % 11;
    caller.memory_in()[kTcpAt + 12] = static_cast<std::uint8_t>(doff << 4 | random_() % 16);
    if (doff > 5) fill_options(caller.memory_in().subspan(kTcpAt + 20, (doff - 5) * 4), random_);
    const std::uint64_t length = random_() % 8 == 0 ? random_() % (kTcpMax + 1) : doff * 4;
    const Comparison c = caller.compare(packet, {0, kTcpAt, length});
    const auto open_part = [](std::int64_t result) { return result < 0 ? result : result >> 32; };
    ASSERT_EQ(open_part(c.kernel.result), open_part(c.ours.result)) << "length " << length;
    c.count();
    seen.insert(open_part(c.kernel.result));
    Provoked::instance().add("bpf_tcp_raw_gen_syncookie", c.kernel.result);
  }
  EXPECT_EQ(seen, is_ipv6() ? (std::set<std::int64_t>{-EINVAL, 1220, 1420, 1440, 8940})
                            : (std::set<std::int64_t>{-EINVAL, 536, 1300, 1440, 1460}));
}

TEST_P(CookieDifferential, EachSideKnowsItsOwnCookies) {
  HelperCaller gen(gen_id(), {memory(0), memory(kTcpAt), size(0, kTcpMax)});
  HelperCaller check(check_id(), {memory(0), memory(kTcpAt)});
  ASSERT_EQ(gen.error(), 0) << gen.log();
  ASSERT_EQ(check.error(), 0) << check.log();
  give_secret(gen);
  give_secret(check);
  const std::vector<std::uint8_t> packet(60);
  for (int i = 0; i < 500; ++i) {
    for (auto& byte : gen.memory_in().first(128)) byte = static_cast<std::uint8_t>(random_());
    gen.memory_in()[kTcpAt + 12] = 5 << 4;
    const Comparison made = gen.compare(packet, {0, kTcpAt, 20});
    const auto sequence =
        load_unaligned<std::uint32_t>(&gen.memory_in()[kTcpAt + 4], std::endian::big);
    // The ACK to either side's cookie, whole and with one bit changed.
    const auto answer = [&](std::int64_t cookie, std::uint32_t flipped) {
      std::ranges::copy(gen.memory_in(), check.memory_in().begin());
      store_unaligned<std::uint32_t>(&check.memory_in()[kTcpAt + 4], sequence + 1,
                                     std::endian::big);
      store_unaligned<std::uint32_t>(&check.memory_in()[kTcpAt + 8],
                                     static_cast<std::uint32_t>(cookie + 1) ^ flipped,
                                     std::endian::big);
      return check.compare(packet, {0, kTcpAt});
    };
    const Comparison to_kernel = answer(made.kernel.result, 0);
    EXPECT_EQ(to_kernel.kernel.result, 0);
    EXPECT_EQ(to_kernel.ours.result, -EACCES) << "a foreign cookie";
    Provoked::instance().add("bpf_tcp_raw_check_syncookie", to_kernel.kernel.result);
    Provoked::instance().add("bpf_tcp_raw_check_syncookie", to_kernel.ours.result);
    const Comparison to_ours = answer(made.ours.result, 0);
    EXPECT_EQ(to_ours.ours.result, 0);
    for (const Comparison* c : {&made, &to_kernel, &to_ours}) c->count();
    EXPECT_EQ(to_ours.kernel.result, -EACCES) << "a foreign cookie";
    EXPECT_EQ(answer(made.kernel.result, 1u << (8 + i % 16)).kernel.result, -EACCES);
    EXPECT_EQ(answer(made.ours.result, 1u << (8 + i % 16)).ours.result, -EACCES);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, CookieDifferential, testing::Bool(),
                         [](const auto& row) { return row.param ? "ipv6" : "ipv4"; });

}  // namespace
}  // namespace lmn
