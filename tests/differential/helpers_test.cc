// SPDX-License-Identifier: Apache-2.0
//
// Goal: each helper body answers what the kernel of this machine answers: result, packet, metadata
// and memory, over sweeps that cross every edge.
// Method: HelperCaller runs the same call on both sides. Each test names the results that its sweep
// must have provoked in the kernel, and all that were are printed at the end, so that a sweep that
// lost an edge fails. Not provoked: -ENOTSUPP of adjust_meta, for which no driver is here;
// helpers_test.cc beside the bodies has it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <random>

#include "differential/helper_caller.h"
#include "harness/compared_calls.h"
#include "harness/provoked.h"
#include "maps/map.h"

namespace lmn {
namespace {

std::string name_of(std::uint32_t id) {
  const auto protos = known_helper_protos();
  return std::string(std::ranges::find(protos, id, &HelperProto::id)->name);
}

std::vector<std::uint8_t> packet_of(std::size_t size) {
  std::vector<std::uint8_t> packet(size);
  for (std::size_t i = 0; i < size; ++i) packet[i] = static_cast<std::uint8_t>(i * 7 + 1);
  return packet;
}

class HelpersDifferential : public testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  }

  // One call on both sides; stops the test at the first difference.
  bool same(HelperCaller& caller, std::uint32_t id, std::span<const std::uint8_t> packet,
            std::array<std::uint64_t, 5> words, std::uint32_t metadata_bytes = 0) {
    const Comparison c = caller.compare(packet, words, metadata_bytes);
    // Of a redirect the verdict is the answer.
    if (id == BPF_FUNC_redirect || id == BPF_FUNC_redirect_map) {
      Provoked::instance().add_value(name_of(id), c.kernel.result);
    } else {
      Provoked::instance().add(name_of(id), c.kernel.result);
    }
    if (c.is_equal()) return true;
    ADD_FAILURE() << "arguments " << words[0] << ", " << static_cast<std::int64_t>(words[1]) << ", "
                  << static_cast<std::int64_t>(words[2]) << ", "
                  << static_cast<std::int64_t>(words[3]) << ", "
                  << static_cast<std::int64_t>(words[4]) << ", packet of " << packet.size()
                  << " with " << metadata_bytes << " of metadata: " << c.difference();
    return false;
  }

  // The kernel gave each of these at least once; 0 stands for every result that is no errno.
  static void expect_provoked(std::uint32_t id, std::initializer_list<std::int64_t> results) {
    for (const std::int64_t result : results) {
      EXPECT_TRUE(Provoked::instance().has(name_of(id), result))
          << name_of(id) << " never gave " << result;
    }
  }

  std::mt19937_64 random_{20251120};
};

// --- packet geometry: every delta around every limit, over packet and metadata sizes

class GeometryDifferential : public HelpersDifferential,
                             public testing::WithParamInterface<std::uint32_t> {};

TEST_P(GeometryDifferential, EveryDelta) {
  const std::uint32_t id = GetParam();
  HelperCaller caller(id, {context(), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  const std::vector<std::int64_t> far = {INT32_MIN,       INT32_MIN + 1,    INT32_MAX, INT64_MIN,
                                         (1ll << 32) + 8, -(1ll << 32) - 8, 65536,     -65536};
  // 216 is the most metadata that a test run takes: the rest of the head-room is the frame header.
  for (const std::size_t size : {14u, 15u, 60u, 1514u, 3520u - 216u}) {
    for (const std::uint32_t metadata : {0u, 4u, 32u, 216u}) {
      auto packet = packet_of(size + metadata);
      for (std::int64_t delta = -300; delta <= 4000;
           delta += delta > 300 && delta < 3200 ? 17 : 1) {
        ASSERT_TRUE(same(caller, id, packet, {0, static_cast<std::uint64_t>(delta)}, metadata));
      }
      for (const std::int64_t delta : far) {
        ASSERT_TRUE(same(caller, id, packet, {0, static_cast<std::uint64_t>(delta)}, metadata));
      }
      for (std::int64_t delta = -static_cast<std::int64_t>(size) - 2; delta < -300; delta += 11) {
        ASSERT_TRUE(same(caller, id, packet, {0, static_cast<std::uint64_t>(delta)}, metadata));
      }
    }
  }
  expect_provoked(id, {0, -EINVAL});
  if (id == BPF_FUNC_xdp_adjust_meta) expect_provoked(id, {-EACCES});
}

INSTANTIATE_TEST_SUITE_P(Adjust, GeometryDifferential,
                         testing::Values(BPF_FUNC_xdp_adjust_head, BPF_FUNC_xdp_adjust_tail,
                                         BPF_FUNC_xdp_adjust_meta),
                         [](const auto& row) { return std::to_string(row.param); });

// No driver here leaves metadata out, so the kernel cannot be asked; the rule can.
TEST(HelperRules, MetadataOfAPortThatHasNone) {
  constexpr int kErrnoNotSupp = 524;
  TestRun run(packet_of(60));
  run.buff.data_meta = run.buff.data + 1;
  const std::int64_t result = run.call(BPF_FUNC_xdp_adjust_meta, &run.context, 0);
  EXPECT_EQ(result, -kErrnoNotSupp);
  Provoked::instance().add("bpf_xdp_adjust_meta", result);
}

TEST_F(HelpersDifferential, GetBuffLen) {
  HelperCaller caller(BPF_FUNC_xdp_get_buff_len, {context()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (std::size_t size = 14; size <= 3520; ++size) {
    ASSERT_TRUE(same(caller, BPF_FUNC_xdp_get_buff_len, packet_of(size), {}));
  }
}

// --- bytes of the packet

class BytesDifferential : public HelpersDifferential,
                          public testing::WithParamInterface<std::uint32_t> {};

TEST_P(BytesDifferential, EveryOffsetAndLengthAtTheEdges) {
  const std::uint32_t id = GetParam();
  HelperCaller caller(id, {context(), word(), memory(0), size(1, HelperCaller::kMemoryBytes)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (std::size_t i = 0; i < caller.memory_in().size(); ++i) {
    caller.memory_in()[i] = static_cast<std::uint8_t>(i * 3 + 128);
  }
  const std::vector<std::uint64_t> far = {0xfffe,     0xffff,     0x10000,    0x10001,
                                          0xffffffff, 0xfffffff0, 1ull << 32, (1ull << 32) + 5};
  for (const std::size_t size : {14u, 100u, 3520u}) {
    const auto packet = packet_of(size);
    for (std::uint64_t offset = 0; offset < size + 3; offset += size > 1000 ? 29 : 1) {
      const std::uint64_t rest = size > offset ? size - offset : 0;
      for (const std::uint64_t length : {1ul, 2ul, rest - 1, rest, rest + 1, 8192ul}) {
        if (length == 0 || length > HelperCaller::kMemoryBytes) continue;
        ASSERT_TRUE(same(caller, id, packet, {0, offset, 0, length}));
      }
    }
    for (const std::uint64_t offset : far) {
      for (const std::uint64_t length : {1ul, 16ul}) {
        ASSERT_TRUE(same(caller, id, packet, {0, offset, 0, length}));
      }
    }
  }
  expect_provoked(id, {0, -EINVAL, -EFAULT});
}

INSTANTIATE_TEST_SUITE_P(LoadStore, BytesDifferential,
                         testing::Values(BPF_FUNC_xdp_load_bytes, BPF_FUNC_xdp_store_bytes),
                         [](const auto& row) { return std::to_string(row.param); });

// --- checksum

class ChecksumDifferential : public HelpersDifferential {
 protected:
  // Buffers that make both zeros of the sum likely: zeros, ones, and random bytes.
  void fill_memory(HelperCaller& caller) {
    const std::uint64_t style = random_() % 4;
    for (auto& byte : caller.memory_in()) {
      byte = static_cast<std::uint8_t>(style == 0 ? 0 : style == 1 ? 0xff : random_());
    }
  }
  std::uint64_t seed() {
    constexpr std::uint64_t kSeeds[] = {0, 1, 0xffff, 0xffff0000, 0xffffffff, 0xfffffffe};
    return random_() % 2 == 0 ? kSeeds[random_() % std::size(kSeeds)] : random_();
  }
};

TEST_F(ChecksumDifferential, AnySizesAlignmentsAndSeeds) {
  constexpr std::uint32_t kSize = 512;
  HelperCaller caller(BPF_FUNC_csum_diff,
                      {memory(1023), size(0, kSize), memory(1023), size(0, kSize), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  const auto packet = packet_of(60);
  for (int i = 0; i < 20'000; ++i) {
    if (i % 16 == 0) fill_memory(caller);
    const auto length = [&] {
      return random_() % 3 == 0 ? random_() % 9 : random_() % (kSize + 1);
    };
    const std::uint64_t from = random_() % 1024;
    const std::uint64_t to = random_() % 4 == 0 ? from : random_() % 1024;
    ASSERT_TRUE(same(caller, BPF_FUNC_csum_diff, packet, {from, length(), to, length(), seed()}));
  }
}

TEST_F(ChecksumDifferential, EverySmallSizeAtEveryAlignment) {
  HelperCaller caller(BPF_FUNC_csum_diff, {memory(7), size(0, 64), memory(7), size(0, 64), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  const auto packet = packet_of(60);
  for (std::uint64_t from = 0; from < 8; ++from) {
    for (std::uint64_t from_size = 0; from_size <= 40; ++from_size) {
      fill_memory(caller);
      for (const std::uint64_t to_size : {0ul, 1ul, 7ul, 8ul, 20ul, from_size}) {
        ASSERT_TRUE(
            same(caller, BPF_FUNC_csum_diff, packet, {from, from_size, from ^ 3, to_size, seed()}));
      }
    }
  }
}

TEST_F(ChecksumDifferential, NullBuffers) {
  const auto packet = packet_of(60);
  HelperCaller both(BPF_FUNC_csum_diff, {null(), size(0, 0), null(), size(0, 0), word()});
  HelperCaller push(BPF_FUNC_csum_diff, {null(), size(0, 0), memory(0), size(0, 64), word()});
  HelperCaller pull(BPF_FUNC_csum_diff, {memory(0), size(0, 64), null(), size(0, 0), word()});
  for (HelperCaller* caller : {&both, &push, &pull}) {
    ASSERT_EQ(caller->error(), 0) << caller->log();
    fill_memory(*caller);
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t from = caller == &pull ? i % 65 : 0;
      const std::uint64_t to = caller == &push ? i % 65 : 0;
      ASSERT_TRUE(same(*caller, BPF_FUNC_csum_diff, packet, {0, from, 0, to, seed()}));
    }
  }
}

// --- redirect: verdicts by flags and map type

// A map of a redirect type whose slot 1 is full. What else a map does is not asked here.
class OneTarget final : public Map {
 public:
  explicit OneTarget(std::uint32_t type) : Map(spec_of(type), {}) {}
  void* lookup(const void*, std::uint32_t) noexcept override { return nullptr; }
  int update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept override {
    return -EOPNOTSUPP;
  }
  int erase(const void*) noexcept override { return -EOPNOTSUPP; }
  bool find_redirect_target(std::uint64_t key, RedirectTarget&) noexcept override {
    return key == 1;
  }
  int copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept override {
    return -EOPNOTSUPP;
  }
  int next_key(const void*, void*) noexcept override { return -ENOENT; }

 private:
  static MapSpec spec_of(std::uint32_t type) {
    MapSpec spec;
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 4;
    spec.max_entries = 4;
    return spec;
  }
};

TEST_F(HelpersDifferential, RedirectVerdicts) {
  HelperCaller caller(BPF_FUNC_redirect, {word(), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (const std::uint64_t ifindex : {0ull, 1ull, 77ull, ~0ull}) {
    for (int bit = -1; bit < 64; ++bit) {
      const std::uint64_t flags = bit < 0 ? 0 : 1ull << bit;
      ASSERT_TRUE(same(caller, BPF_FUNC_redirect, packet_of(60), {ifindex, flags}));
    }
  }
}

TEST_F(HelpersDifferential, RedirectMapVerdicts) {
  std::vector<std::uint64_t> flags;
  for (std::uint64_t low = 0; low < 64; ++low) flags.push_back(low);
  for (int bit = 6; bit < 64; ++bit) flags.push_back(1ull << bit);
  for (const std::uint32_t type :
       {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_XSKMAP}) {
    KernelMap kernel =
        KernelMap::create({.type = type, .key_size = 4, .value_size = 4, .max_entries = 2});
    ASSERT_TRUE(kernel.is_created());
    const std::uint32_t key = 1;
    const std::uint32_t target = type == BPF_MAP_TYPE_CPUMAP ? 64 : 1;  // queue size, or lo
    const auto bytes = [](const std::uint32_t& word) {
      return std::span(reinterpret_cast<const std::uint8_t*>(&word), sizeof word);
    };
    // An XSKMAP takes sockets only: its slots stay empty on both sides.
    const bool is_filled = type != BPF_MAP_TYPE_XSKMAP;
    if (is_filled) {
      ASSERT_EQ(kernel.update(bytes(key), bytes(target)), 0) << type;
    }
    OneTarget ours(type);
    HelperCaller caller(BPF_FUNC_redirect_map, {map(kernel, &ours), word(), word()});
    ASSERT_EQ(caller.error(), 0) << caller.log();
    for (const std::uint64_t k : {0ull, 1ull, 2ull, 0xffffffffull, 0x1'00000001ull}) {
      if (!is_filled && (k & 0xffffffff) == 1) continue;
      for (const std::uint64_t f : flags) {
        ASSERT_TRUE(same(caller, BPF_FUNC_redirect_map, packet_of(60), {0, k, f})) << type;
      }
    }
  }
}

// --- strings

class StringsDifferential : public HelpersDifferential {
 protected:
  std::string random_number() {
    constexpr std::string_view kAlphabet = "0011223789abfFxX-+ \t\n\xa0gz";
    constexpr std::string_view kStarts[] = {"",
                                            " ",
                                            "-",
                                            "0x",
                                            "0X",
                                            "0",
                                            "-0x",
                                            "922337203685477580",
                                            "-922337203685477580",
                                            "1844674407370955161",
                                            "0xfffffffffffffff",
                                            "00000000000000000000"};
    std::string text(kStarts[random_() % std::size(kStarts)]);
    for (std::uint64_t n = random_() % 70; n > 0 && random_() % 4 != 0; --n) {
      text += kAlphabet[random_() % kAlphabet.size()];
    }
    if (text.empty()) text = "7";
    return text;
  }
};

TEST_F(StringsDifferential, Numbers) {
  for (const std::uint32_t id : {BPF_FUNC_strtol, BPF_FUNC_strtoul}) {
    HelperCaller caller(id, {memory(0), size(1, 128), word(), memory(0x1000)});
    ASSERT_EQ(caller.error(), 0) << caller.log();
    for (int i = 0; i < 10'000; ++i) {
      const std::string text = random_number();
      std::ranges::copy(text, caller.memory_in().begin());
      constexpr std::uint64_t kFlags[] = {0, 8, 10, 16, 16, 2, 31, 32, 1ull << 40};
      const std::uint64_t flags = kFlags[random_() % std::size(kFlags)];
      ASSERT_TRUE(same(caller, id, packet_of(60), {0, text.size(), flags, 0x1000})) << text;
    }
    expect_provoked(id, {0, -EINVAL, -ERANGE});
  }
}

// A frozen map with one value that the program reads as a constant string.
KernelMap constant_string(std::string_view text) {
  const auto size = static_cast<std::uint32_t>(text.size() + 1);
  KernelMap map = KernelMap::create(
      {.type = BPF_MAP_TYPE_ARRAY, .value_size = size, .flags = BPF_F_RDONLY_PROG});
  std::vector<std::uint8_t> bytes(text.begin(), text.end());
  bytes.push_back(0);
  const std::array<std::uint8_t, 4> key{};
  EXPECT_EQ(map.update(key, bytes), 0);
  EXPECT_EQ(map.freeze(), 0);
  return map;
}

TEST_F(StringsDifferential, Strncmp) {
  for (const std::string text : {"", "a", "abc", "abcdefgh\xff"}) {
    const KernelMap kernel = constant_string(text);
    HelperCaller caller(BPF_FUNC_strncmp, {memory(0), size(1, 64), value(kernel, text.c_str())});
    ASSERT_EQ(caller.error(), 0) << caller.log();
    for (int i = 0; i < 500; ++i) {
      std::string other = text.substr(0, random_() % (text.size() + 1));
      other += std::string_view(
          "\0\xff"
          "abz",
          5)[random_() % 5];
      other += '\0';
      std::ranges::copy(other, caller.memory_in().begin());
      ASSERT_TRUE(same(caller, BPF_FUNC_strncmp, packet_of(60), {0, 1 + random_() % 16, 0}));
    }
  }
}

// --- print: the text through bpf_snprintf, the verdict on a format through bpf_trace_printk

struct FormatCase {
  std::string format;
  std::array<std::uint64_t, 3> arguments;
};

std::vector<FormatCase> format_cases() {
  std::vector<FormatCase> cases;
  constexpr std::uint64_t kNumbers[] = {
      0, 1, 42, 0xffffffff, 0x80000000, 0x7fffffff, 0x8000000000000000, ~0ull, 0x123456789abcdef0};
  for (const std::string conversion : {"d", "i", "u", "x", "X", "ld", "lu", "lx", "lld", "lli",
                                       "llu", "llx", "lX", "c", "px", "pS", "ps", "pB", "pK"}) {
    for (const std::string flags :
         {"", "0", "-", "+", " ", "5", "08", "-8", "+08", "-+20", "+ 3", "0-12", "1", "64"}) {
      for (const std::uint64_t number : {kNumbers[0], kNumbers[2], kNumbers[7], kNumbers[8]}) {
        // Symbols and digests of real addresses are the kernel's own.
        const bool is_named = conversion == "pS" || conversion == "ps" || conversion == "pB";
        if (is_named && number != 42) continue;
        if (conversion == "pK" && number != 0 && number != ~0ull) continue;
        cases.push_back({"<%" + flags + conversion + ">", {number, 1, 2}});
      }
    }
  }
  for (const std::uint64_t number : kNumbers) {
    cases.push_back({"%d %u %llx", {number, number, number}});
  }
  for (const std::string text : {"", "plain", "%%", "100%% of %d", "%d%d%d", "%c%c%c", "a\tb\nc",
                                 "%p", "%px;%px", "%d only", "%lx%%%lx", "%1d", "%10000d|"}) {
    cases.push_back({text, {0, 66, 67}});
  }
  return cases;
}

TEST_F(HelpersDifferential, SnprintfNumbers) {
  for (const FormatCase& c : format_cases()) {
    const KernelMap format = constant_string(c.format);
    for (const std::uint32_t room : {0u, 5u, 64u}) {
      HelperCaller caller(BPF_FUNC_snprintf,
                          {memory(0), size(room == 0 ? 0 : 1, 1024),
                           value(format, c.format.c_str()), memory(0x1000), size(24, 24)});
      ASSERT_EQ(caller.error(), 0) << c.format << caller.log();
      std::memcpy(caller.memory_in().data() + 0x1000, c.arguments.data(), 24);
      ASSERT_TRUE(same(caller, BPF_FUNC_snprintf, packet_of(60), {0, room, 0, 0x1000, 24}))
          << c.format << " with " << c.arguments[0];
    }
  }
}

TEST_F(HelpersDifferential, SnprintfRefusesArrays) {
  const std::string text = "%d";
  const KernelMap format = constant_string(text);
  HelperCaller caller(BPF_FUNC_snprintf, {memory(0), size(0, 64), value(format, text.c_str()),
                                          memory(0x1000), size(0, 200)});
  // The length of the array must be known to the verifier; so one program per length.
  EXPECT_NE(caller.error(), 0);
  for (const std::uint32_t bytes : {8u, 16u, 96u}) {
    HelperCaller fixed(BPF_FUNC_snprintf, {memory(0), size(0, 64), value(format, text.c_str()),
                                           memory(0x1000), size(bytes, bytes)});
    ASSERT_EQ(fixed.error(), 0) << fixed.log();
    ASSERT_TRUE(same(fixed, BPF_FUNC_snprintf, packet_of(60), {0, 64, 0, 0x1000, bytes}));
  }
}

class TracePrintDifferential : public HelpersDifferential {
 protected:
  std::string random_format() {
    constexpr std::string_view kPieces[] = {
        "%d", "%u", "%x",  "%lld", "%s",   "%px",  "%pks", "%pus", "%c",   "%%",  "%pI4", "%5d",
        "%",  "%z", "%hd", "%.3d", "%#x",  "%pX",  "% ",   "%-",   "%lll", "%lc", "%pI6", "%pi",
        "a",  " ",  "!",   "0",    "\x7f", "\x80", "\n",   "\x1b", "%pI",  "%08", "%sx",  "%pB"};
    std::string text;
    for (std::uint64_t n = 1 + random_() % 4; n > 0; --n)
      text += kPieces[random_() % std::size(kPieces)];
    return text;
  }
};

TEST_F(TracePrintDifferential, VerdictsAndLengthsOfRandomFormats) {
  HelperCaller caller(BPF_FUNC_trace_printk, {memory(0), size(1, 64), word(), word(), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (int i = 0; i < 5'000; ++i) {
    const std::string text = random_format();
    std::ranges::copy(text, caller.memory_in().begin());
    caller.memory_in()[text.size()] = 0;
    // Small numbers are no addresses: both sides print nothing for their strings.
    const std::uint64_t bytes = random_() % 8 == 0 ? text.size() : text.size() + 1;
    ASSERT_TRUE(same(caller, BPF_FUNC_trace_printk, packet_of(60), {0, bytes, 1, 2, 3}))
        << testing::PrintToString(text);
  }
  expect_provoked(BPF_FUNC_trace_printk, {0, -EINVAL});
}

TEST_F(TracePrintDifferential, LengthsAndRoomOfStringsAndAddresses) {
  HelperCaller caller(BPF_FUNC_trace_printk,
                      {memory(0x7f), size(1, 64), memory(0x3ff), memory(0x3ff), memory(0x3ff)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  // An address only in front: behind a string that leaves less room than its text, the kernel's
  // gathering (bpf_bprintf_prepare, 6.18) runs past its scratch area; ours is -ENOSPC there.
  constexpr std::string_view kPieces[] = {"%s", "%9s", "%-300s", "%pks", "%pus", "%px", "%c"};
  constexpr std::string_view kAddresses[] = {"%pI4|", "%pi4|", "%pI6c|", "%pi6|", "%pI4x|"};
  for (int i = 0; i < 3'000; ++i) {
    // Addresses in words of the format's own area and behind it; zeros rare enough for long texts.
    const bool is_dense = random_() % 2 == 0;
    for (auto& byte : caller.memory_in()) {
      byte = random_() % (is_dense ? 8 : 400) == 0 ? 0 : static_cast<std::uint8_t>(random_());
    }
    std::string text(random_() % 2 == 0 ? "" : kAddresses[random_() % std::size(kAddresses)]);
    for (int n = text.empty() ? 0 : 1; n < 3; ++n) {
      text += kPieces[random_() % std::size(kPieces)];
      text += "|";
    }
    std::ranges::copy(text, caller.memory_in().begin());
    caller.memory_in()[text.size()] = 0;
    const auto at = [&] { return random_() % 1024; };
    ASSERT_TRUE(
        same(caller, BPF_FUNC_trace_printk, packet_of(60), {0, text.size() + 1, at(), at(), at()}))
        << text;
  }
  expect_provoked(BPF_FUNC_trace_printk, {0, -ENOSPC});
}

TEST_F(TracePrintDifferential, Arrays) {
  HelperCaller caller(BPF_FUNC_trace_vprintk,
                      {memory(0), size(1, 64), memory(0x1000), size(0, 256)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (const std::string text : {"x", "%d", "%d %d", "%d%d%d%d%d%d%d%d%d%d%d%d"}) {
    std::ranges::copy(text, caller.memory_in().begin());
    caller.memory_in()[text.size()] = 0;
    for (std::uint64_t bytes = 0; bytes <= 256; ++bytes) {
      ASSERT_TRUE(
          same(caller, BPF_FUNC_trace_vprintk, packet_of(60), {0, text.size() + 1, 0x1000, bytes}))
          << text;
    }
  }
  expect_provoked(BPF_FUNC_trace_vprintk, {0, -EINVAL});
}

// --- time

TEST_F(HelpersDifferential, ClocksAreTheKernels) {
  struct Case {
    std::uint32_t id;
    std::uint64_t (Clock::*now)() const noexcept;
  };
  const SystemClock clock;
  constexpr Case kCases[] = {{BPF_FUNC_ktime_get_ns, &Clock::monotonic_ns},
                             {BPF_FUNC_ktime_get_boot_ns, &Clock::boot_ns},
                             {BPF_FUNC_ktime_get_coarse_ns, &Clock::monotonic_coarse_ns},
                             {BPF_FUNC_ktime_get_tai_ns, &Clock::tai_ns}};
  for (const Case& c : kCases) {
    HelperCaller caller(c.id, {});
    ASSERT_EQ(caller.error(), 0) << caller.log();
    for (int i = 0; i < 500; ++i) {
      const std::uint64_t before = (clock.*c.now)();
      const auto kernel =
          static_cast<std::uint64_t>(caller.compare(packet_of(60), {}).kernel.result);
      const std::uint64_t after = (clock.*c.now)();
      ASSERT_LE(before, kernel) << c.id;
      ASSERT_GE(after, kernel) << c.id;
      TestRun run(packet_of(60));
      run.context.clock = &clock;
      const auto ours = static_cast<std::uint64_t>(run.call(c.id));
      ASSERT_GE(ours, kernel) << c.id;
      ASSERT_LE(ours, (clock.*c.now)()) << c.id;
      ComparedCalls::instance().add(name_of(c.id));
    }
  }
}

TEST_F(HelpersDifferential, JiffiesCountAsTheKernels) {
  HelperCaller caller(BPF_FUNC_jiffies64, {});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  const SystemClock clock;
  TestRun run(packet_of(60));
  run.context.clock = &clock;
  const std::int64_t kernel = caller.compare(packet_of(60), {}).kernel.result;
  const std::int64_t ours = run.call(BPF_FUNC_jiffies64);
  // The kernel's tick starts a little after its clock, and only this is comparable when it ticks
  // at the same rate.
  if (std::abs(kernel - ours) > 10 * 250) GTEST_SKIP() << "this kernel's HZ is not 250";
  EXPECT_NEAR(static_cast<double>(kernel), static_cast<double>(ours), 250);
  ComparedCalls::instance().add("bpf_jiffies64");
}

}  // namespace
}  // namespace lmn
