// SPDX-License-Identifier: Apache-2.0
//
// Goal: whatever a program does with kernel functions, the interpreter stays whole: no access of
// its own goes astray, and what a program allocated and did not give away is given back.
// Method: random programs that no verifier has seen: each line sets up registers with the kinds of
// values that calls take, calls a random kfunc, or loads and stores through what it got. Most are
// stopped by a trap; under the address sanitizer any slip of the interpreter shows.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstdio>
#include <random>
#include <string>

#include "exec/lab_for_tests.h"
#include "kfuncs/kfuncs.h"
#include "maps/object_heap.h"

namespace lmn {
namespace {

using lab::Lab;

class Writer {
 public:
  explicit Writer(std::mt19937& random, std::size_t kfunc_count)
      : random_(random), kfunc_count_(kfunc_count) {}

  std::string program() {
    std::string text = "r9 = r1\n r6 = 0\n r7 = 0\n r8 = 0\n r0 = func less\n r0 = 0\n";
    const std::uint32_t lines = 1 + random_() % 8;
    for (std::uint32_t i = 0; i < lines; ++i) text += line();
    return text + "r0 = 0\n exit\n less:\n r0 = 0\n exit";
  }

 private:
  template <std::size_t kCount>
  const char* one_of(const char* const (&words)[kCount]) {
    return words[random_() % kCount];
  }
  std::string number() {
    static constexpr const char* kNumbers[] = {"0", "1", "4", "8", "16", "64", "4096", "-1"};
    return one_of(kNumbers);
  }
  std::string stack_offset() { return std::to_string(-8 * (1 + int(random_() % 6))); }

  // Code that gives r`reg` some value.
  std::string value(int reg) {
    const std::string r = "r" + std::to_string(reg);
    switch (random_() % 9) {
      case 0:
      case 1:
        return r + " = r10\n " + r + " += " + stack_offset() + "\n";
      case 2:
        return r + " = map[idx:0]+" + std::to_string(16 * (random_() % 2)) + "\n";
      case 3:
        return r + " = map[idx:0]\n";
      case 4:
        return r + " = r9\n";
      case 5:
        return r + " = func less\n";
      case 6:
        return r + " = r" + std::to_string(6 + random_() % 3) + "\n";
      default:
        return r + " = " + number() + "\n";
    }
  }

  std::string line() {
    static constexpr const char* kSaved[] = {"r6", "r7", "r8"};
    static constexpr const char* kAddresses[] = {"r6", "r7", "r8", "r0"};
    switch (random_() % 8) {
      case 0:
        return std::string(one_of(kSaved)) + " += " + number() + "\n";
      case 1:
        return "*(u64 *)(r10 " + stack_offset() + ") = " + number() + "\n";
      case 2: {
        const std::string address = one_of(kAddresses);
        return "if " + address + " == 0 goto pc+1\n *(u64 *)(" + address + " +0) = 1\n";
      }
      case 3: {
        const std::string address = one_of(kAddresses);
        return "if " + address + " == 0 goto pc+1\n r1 = *(u32 *)(" + address + " +0)\n";
      }
      default:
        break;
    }
    std::string text;
    for (int reg = 1; reg <= 5; ++reg) text += value(reg);
    text += "call kfunc#" + std::to_string(random_() % kfunc_count_) + "\n";
    if (random_() % 2 == 0) text += std::string(one_of(kSaved)) + " = r0\n";
    return text;
  }

  std::mt19937& random_;
  std::size_t kfunc_count_;
};

// The first argument of bpf_obj_new is made right now and then: objects are what most calls need.
class RandomLab : public Lab {
 public:
  RandomLab() : btf(lab::item_types()), heap(*ObjectHeap::create()) {
    options.btf = btf.get();
    kfuncs = kfunc_protos();
    find_kfunc_body = kfunc_function;
    for (const KfuncProto& proto : kfuncs) {
      const bool takes_registers_only = proto.refusal.empty() && (proto.flags & kKfThrows) == 0 &&
                                        (proto.flags & kKfDeviceBound) == 0;
      if (takes_registers_only) kfunc_names.emplace_back(proto.name);
    }
    context.objects = heap.get();
    options.insns_max = 10'000;
    add_map({.name = "roots",
             .type = BPF_MAP_TYPE_ARRAY,
             .key_size = 4,
             .value_size = 32,
             .max_entries = 1});
  }
  std::shared_ptr<const Btf> btf;
  std::unique_ptr<ObjectHeap> heap;
};

TEST(KfuncRandom, ProgramsNeverHarmTheInterpreter) {
  std::mt19937 random(20251122);
  RandomLab lab;
  constexpr int kPrograms = 10'000;
  int finished = 0;
  for (int i = 0; i < kPrograms; ++i) {
    Writer writer(random, lab.kfunc_names.size());
    const std::string text = writer.program();
    const auto outcome = lab.run(text);
    finished += outcome.trapped() ? 0 : 1;
    ASSERT_FALSE(HasFatalFailure() || HasNonfatalFailure()) << text;
  }
  std::printf("%d of %d programs ran to their end\n", finished, kPrograms);
  EXPECT_GT(finished, kPrograms / 100);
  EXPECT_LT(finished, kPrograms);
}

}  // namespace
}  // namespace lmn
