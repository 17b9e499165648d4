// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_snprintf_btf writes the kernel's text for values of the kernel's own types.
// Method: types of the running kernel, chosen at random, over bytes that are zero, small or random,
// with every combination of flags; result, text and what is behind it are compared. Pointers are
// shown raw where they are not zero: the other form is a hash with a secret. Only types that a
// value can have are asked for; of others Linux 6.18 itself makes no sense.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <set>
#include <string>

#include "base/file.h"
#include "btf/btf.h"
#include "engine/engine.h"
#include "harness/provoked.h"
#include "runners/counted_runner.h"

namespace lmn {
namespace {

// The layouts of programs/btf_show_in_c.c.
constexpr std::size_t kDataBytes = 4096;
constexpr std::size_t kTextBytes = 16384;
struct Request {
  std::uint32_t type_id = 0;
  std::uint32_t text_bytes = kTextBytes;
  std::uint32_t request_bytes = sizeof(struct btf_ptr);
  std::uint32_t padding = 0;
  std::uint64_t flags = 0;
  std::uint8_t data[kDataBytes] = {};
};
struct Answer {
  std::int64_t result = 0;
  char text[kTextBytes] = {};
};

template <typename T>
std::span<const std::uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

class BtfShowDifferential : public testing::Test {
 protected:
  void SetUp() override {
    for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
      if (auto reason = why_no_runner(kind)) GTEST_SKIP() << *reason;
    }
    const auto bytes = read_file("/sys/kernel/btf/vmlinux", std::size_t{64} << 20);
    if (!bytes) GTEST_SKIP() << bytes.error().to_string();
    auto types = parse_btf(*bytes);
    ASSERT_TRUE(types.has_value()) << types.error().to_string();
    types_ = *types;
    const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/btf_show_in_c.bpf.o";
    auto kernel = open_runner(RunnerKind::kKernel, path, "show");
    auto ours = open_counted_runner(path, "show");
    for (auto* runner : {&kernel, &ours}) {
      ASSERT_TRUE(runner->has_value()) << runner->error().to_string();
      runners_.push_back(std::move(**runner));
    }
    runners_[1]->engine()->set_kernel_types(types_);
  }

  static Answer ask(ObjectRunner& runner, const Request& request) {
    const std::uint32_t zero = 0;
    const Answer empty;
    Answer answer;
    const std::vector<std::uint8_t> packet(60);
    EXPECT_TRUE(runner.set_entry("in", bytes_of(zero), bytes_of(request)).has_value());
    EXPECT_TRUE(runner.set_entry("out", bytes_of(zero), bytes_of(empty)).has_value());
    const auto ran = runner.run(packet);
    EXPECT_TRUE(ran.has_value()) << ran.error().to_string();
    EXPECT_TRUE(ran.has_value() && ran->verdict == XDP_PASS) << runner.name() << " gave up";
    const auto value = runner.entry("out", bytes_of(zero));
    const bool is_there = value && *value && (*value)->size() == sizeof answer;
    EXPECT_TRUE(is_there);
    if (is_there) std::memcpy(&answer, (*value)->data(), sizeof answer);
    return answer;
  }
  // False at the first difference, which it tells.
  bool same(const Request& request) {
    const Answer kernel = ask(*runners_[0], request);
    const Answer ours = ask(*runners_[1], request);
    results.insert(kernel.result);
    Provoked::instance().add("bpf_snprintf_btf", kernel.result);
    const bool is_same = kernel.result == ours.result &&
                         std::memcmp(kernel.text, ours.text, sizeof kernel.text) == 0;
    if (is_same) return true;
    ADD_FAILURE() << "type " << request.type_id << " (" << types_->type(request.type_id).name
                  << "), flags " << request.flags << ", room for " << request.text_bytes
                  << ": kernel " << kernel.result << ", ours " << ours.result << "\n--- kernel\n"
                  << kernel.text << "\n--- ours\n"
                  << ours.text;
    return false;
  }
  bool is_showable(std::uint32_t id) const {
    const BtfKind kind = types_->type(id).kind;
    if (kind == BtfKind::kVar || kind == BtfKind::kDatasec) return false;
    const auto size = types_->resolve_size(id);
    return size.has_value() && *size > 0 && *size <= kDataBytes;
  }

  std::shared_ptr<const Btf> types_;
  std::vector<std::unique_ptr<ObjectRunner>> runners_;
  std::set<std::int64_t> results;
  std::mt19937_64 random_{20251125};
};

TEST_F(BtfShowDifferential, TypesOfTheKernel) {
  constexpr int kTypes = 3'000;
  int shown = 0;
  int nested = 0;
  while (shown < kTypes) {
    const auto id = static_cast<std::uint32_t>(1 + random_() % (types_->type_count() - 1));
    if (!is_showable(id)) continue;
    ++shown;
    if (types_->type(id).is_composite()) ++nested;
    Request request;
    request.type_id = id;
    const std::uint64_t style = random_() % 4;
    request.flags = style == 0 ? random_() & 15 : (random_() & 15) | BTF_F_PTR_RAW;
    for (auto& byte : request.data) {
      const bool is_some = style == 3 || (style != 0 && random_() % 8 == 0);
      if (is_some) byte = static_cast<std::uint8_t>(style == 1 ? random_() % 5 : random_());
    }
    if (random_() % 8 == 0) request.text_bytes = 1 + static_cast<std::uint32_t>(random_() % 64);
    ASSERT_TRUE(same(request)) << "bytes of style " << style;
  }
  EXPECT_GT(nested, kTypes / 20);
}

TEST_F(BtfShowDifferential, EveryFlagAndRoomOnOneStruct) {
  Request request;
  const auto id = types_->find_by_name("bpf_sock_tuple", BtfKind::kStruct);
  ASSERT_TRUE(id.has_value());
  request.type_id = *id;
  for (std::size_t i = 0; i < 20; ++i) request.data[i] = static_cast<std::uint8_t>(i);
  for (std::uint64_t flags = 0; flags < 16; ++flags) {
    request.flags = flags;
    for (std::uint32_t room = 1; room < 400; room += 7) {
      request.text_bytes = room;
      ASSERT_TRUE(same(request));
    }
  }
}

TEST_F(BtfShowDifferential, NonsenseIsRefused) {
  Request request;
  request.type_id = 1;
  for (const std::uint64_t flags : {16ull, 32ull, 1ull << 32, 1ull << 63}) {
    request.flags = flags;
    EXPECT_TRUE(same(request));
  }
  request.flags = 0;
  for (const std::uint32_t bytes : {1u, 15u, 17u, 32u}) {
    request.request_bytes = bytes;
    EXPECT_TRUE(same(request));
  }
  request.request_bytes = sizeof(struct btf_ptr);
  request.type_id = 0;
  EXPECT_TRUE(same(request));
  request.type_id = 0x7fffffff;
  EXPECT_FALSE(results.contains(-ENOENT));
  const Answer kernel = ask(*runners_[0], request);
  EXPECT_EQ(kernel.result, -ENOENT);
  Provoked::instance().add("bpf_snprintf_btf", kernel.result);
  EXPECT_EQ(ask(*runners_[1], request).result, kernel.result);
  EXPECT_TRUE(results.contains(-EINVAL));
}

}  // namespace
}  // namespace lmn
