// SPDX-License-Identifier: Apache-2.0
//
// Goal: timers, works, pointers and resilient locks in map values answer programs as in the kernel,
// and what is left for later is done.
// Method: programs/values_in_c.c runs on random packets, each a list of operations, in both; after
// each packet what the calls answered and what the maps hold is compared. Timers that are due at
// once are waited for in the kernel, where they fire on their own; in LMN they have fired when the
// test run ends. Where the kernel finds no memory for a timer or work (it does not wait for any),
// both sides begin anew.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>

#include "engine/engine.h"
#include "runners/program_pair.h"

namespace lmn {
namespace {

struct Program {
  const char* name;
  int packets;
  const char* maps[3];
};

class ValuePrograms : public ProgramPair, public testing::WithParamInterface<Program> {
 protected:
  ValuePrograms() { is_kernel_optional = true; }
  void open(const char* program) { ProgramPair::open("values_in_c", program); }

  // Whether a call found no memory, which only the kernel can say.
  static bool is_out_of_memory(ObjectRunner& runner) {
    const auto out = runner.entries("out");
    if (!out) return false;
    const auto& value = out->front().value;
    for (std::size_t at = 0; at + 8 <= value.size(); at += 8) {
      std::int64_t number = 0;
      std::memcpy(&number, value.data() + at, sizeof number);
      if (number == -ENOMEM) return true;
    }
    return false;
  }

  // The word at `offset` of an element, once it is not 0; 0 after a second.
  static std::uint64_t wait_for(ObjectRunner& runner, const char* map, std::uint32_t key,
                                std::size_t offset) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    std::uint64_t word = 0;
    while (word == 0 && std::chrono::steady_clock::now() < end) {
      std::uint8_t bytes[4];
      std::memcpy(bytes, &key, sizeof bytes);
      const auto value = runner.entry(map, bytes);
      if (value && *value) std::memcpy(&word, (*value)->data() + offset, sizeof word);
      if (runner.engine() != nullptr) break;
    }
    return word;
  }
};

TEST_P(ValuePrograms, AnswerAsInTheKernel) {
  open(GetParam().name);
  if (is_closed()) return;
  std::mt19937_64 random(20261120);
  int begun_anew = 0;
  for (int i = 0; i < GetParam().packets; ++i) {
    std::vector<std::uint8_t> packet(14 + 45);
    for (auto& byte : packet) byte = static_cast<std::uint8_t>(random());
    run_on_both(packet);
    ASSERT_FALSE(HasFatalFailure()) << "packet " << i;
    if (is_out_of_memory(*kernel_)) {
      ASSERT_LT(++begun_anew, 200);
      open(GetParam().name);
      continue;
    }
    for (const char* map : GetParam().maps) {
      if (map != nullptr) compare(map);
      ASSERT_FALSE(HasFatalFailure()) << "packet " << i;
    }
  }
}

// The kernel takes milliseconds to see a deadlock.
INSTANTIATE_TEST_SUITE_P(
    All, ValuePrograms,
    testing::Values(Program{"timers", 3'000, {"out", "timed_array", "timed_hash"}},
                    Program{"works", 3'000, {"out", "worked_array"}},
                    Program{"pointers", 3'000, {"out", "holders", "holder_table"}},
                    Program{"locks", 100, {"out", "locked_array"}}),
    [](const auto& row) { return std::string(row.param.name); });

using DeferredPrograms = ValuePrograms;

TEST_F(DeferredPrograms, TimersFireWithTheirKeyAndCannotCancelThemselves) {
  open("timers_now");
  if (is_closed()) return;
  const std::vector<std::uint8_t> packet(64);
  run_on_both(packet);
  for (ObjectRunner* runner : {kernel_.get(), ours_.get()}) {
    for (const char* map : {"timed_hash", "timed_array"}) {
      EXPECT_EQ(wait_for(*runner, map, 2, 0), 3u) << runner->name() << ' ' << map;
    }
  }
  compare("timed_hash");  // also that -EDEADLK came back
  compare("timed_array");
}

TEST_F(DeferredPrograms, WorksAreDone) {
  open("works_now");
  if (is_closed()) return;
  const std::vector<std::uint8_t> packet(64);
  run_on_both(packet);
  for (ObjectRunner* runner : {kernel_.get(), ours_.get()}) {
    EXPECT_EQ(wait_for(*runner, "worked_array", 3, 16), 4u) << runner->name();
  }
}

}  // namespace
}  // namespace lmn
