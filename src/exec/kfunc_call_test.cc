// SPDX-License-Identifier: Apache-2.0
//
// Goal: calls of kernel functions in the checked interpreter: what arguments they take, what their
// results may be used for, objects on the stack, sections, exceptions.
// Method: programs in assembler text with the real kfuncs; each rule that a program breaks stops it
// at the right instruction, and the neighbour that keeps it runs.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "btf/btf.h"
#include "exec/lab_for_tests.h"
#include "kfuncs/kfuncs.h"
#include "maps/object_heap.h"

namespace lmn {
namespace {

using lab::Lab;

// `call kfunc#N` by name: "call bpf_iter_num_new" becomes a call of the function of that name.
class KfuncLab : public Lab {
 public:
  KfuncLab() {
    kfuncs = kfunc_protos();
    find_kfunc_body = kfunc_function;
  }

  std::string run_text(std::string text) {
    kfunc_names.clear();
    for (const KfuncProto& proto : kfuncs) {
      const std::string call = "call " + std::string(proto.name) + "\n";
      bool is_used = false;
      for (std::size_t at = text.find(call); at != std::string::npos; at = text.find(call)) {
        text.replace(at, call.size(), "call kfunc#" + std::to_string(kfunc_names.size()) + "\n");
        is_used = true;
      }
      if (is_used) kfunc_names.emplace_back(proto.name);
    }
    return run(text).summary();
  }
};

std::string run(const std::string& text) {
  KfuncLab lab;
  return lab.run_text(text);
}

// r1 = the iterator's slot at r10-8.
const std::string kNew = "r1 = r10\n r1 += -8\n r2 = 0\n r3 = 5\n call bpf_iter_num_new\n";
const std::string kNext = "r1 = r10\n r1 += -8\n call bpf_iter_num_next\n";
const std::string kDestroy = "r1 = r10\n r1 += -8\n call bpf_iter_num_destroy\n";
const std::string kEnd = "r0 = 1\n exit";

TEST(KfuncIterators, SumARange) {
  EXPECT_EQ(run(kNew + "r6 = 0\n again:\n" + kNext +
                "if r0 == 0 goto out\n r1 = *(u32 *)(r0 +0)\n r6 += r1\n goto again\n out:\n" +
                kDestroy + "r0 = r6\n exit"),
            "verdict 10");
}

TEST(KfuncIterators, MustBeDestroyed) {
  EXPECT_EQ(run(kNew + kEnd), "kUnreleased@6");
  EXPECT_EQ(run(kNew + kDestroy + kEnd), "verdict 1");
  EXPECT_EQ(run(kNew + kDestroy + kDestroy + kEnd), "kArgument@10");
  EXPECT_EQ(run(kNext + kEnd), "kArgument@2") << "none there";
  EXPECT_EQ(run("*(u64 *)(r10 -8) = 0\n" + kNext + kEnd), "kArgument@3") << "forged";
}

TEST(KfuncIterators, CannotBeTouched) {
  EXPECT_EQ(run(kNew + "r0 = *(u32 *)(r10 -8)\n exit"), "kStackObject@5");
  EXPECT_EQ(run(kNew + "r0 = *(u8 *)(r10 -1)\n exit"), "kStackObject@5");
  EXPECT_EQ(run(kNew + "*(u32 *)(r10 -4) = 100\n" + kNext + kEnd), "kArgument@8")
      << "a write makes bytes of it";
  EXPECT_EQ(run(kNew + "*(u64 *)(r10 -16) = 7\n" + kDestroy + "r0 = *(u64 *)(r10 -16)\n exit"),
            "verdict 7")
      << "its neighbour can be";
}

TEST(KfuncIterators, TakeTheirOwnKindAndPlace) {
  EXPECT_EQ(run(kNew + "r1 = r10\n r1 += -8\n call bpf_iter_bits_next\n" + kEnd), "kArgument@7");
  EXPECT_EQ(run("r1 = r10\n r1 += -7\n r2 = 0\n r3 = 5\n call bpf_iter_num_new\n" + kEnd),
            "kArgument@4");
  EXPECT_EQ(run("r1 = r10\n r2 = 0\n r3 = 5\n call bpf_iter_num_new\n" + kEnd), "kArgument@3");
  EXPECT_EQ(run("r2 = 0\n r3 = 5\n call bpf_iter_num_new\n" + kEnd), "kArgument@2")
      << "the context is no stack";
}

TEST(KfuncIterators, ResultsAreReadOnlyAndEndWithThem) {
  EXPECT_EQ(run(kNew + kNext + "*(u32 *)(r0 +0) = 1\n" + kDestroy + kEnd), "kReadOnly@8");
  EXPECT_EQ(run(kNew + kNext + "r6 = r0\n" + kDestroy + "r0 = *(u32 *)(r6 +0)\n exit"),
            "kReleasedMemory@12");
  EXPECT_EQ(run(kNew + kNext + "r6 = *(u64 *)(r0 +0)\n" + kDestroy + kEnd), "kOutOfBounds@8");
}

TEST(KfuncIterators, PassThroughFunctions) {
  EXPECT_EQ(run(kNew + "r1 = r10\n r1 += -8\n call f\n r6 = r0\n" + kDestroy +
                "r0 = r6\n exit\n f:\n call bpf_iter_num_next\n"
                "r0 = *(u32 *)(r0 +0)\n r0 += 41\n exit"),
            "verdict 41");
  EXPECT_EQ(run("call f\n" + kEnd + "\n f:\n" + kNew + "r0 = 0\n exit"), "kUnreleased@2")
      << "lost with its frame";
}

const std::string kFromXdp = "r3 = r10\n r3 += -16\n r2 = 0\n call bpf_dynptr_from_xdp\n";
std::string slice(const std::string& function, int offset, int size) {
  return "r1 = r10\n r1 += -16\n r2 = " + std::to_string(offset) +
         "\n r3 = 0\n r4 = " + std::to_string(size) + "\n call " + function + "\n";
}

TEST(KfuncDynptrs, SlicesOfThePacket) {
  EXPECT_EQ(run(kFromXdp + slice("bpf_dynptr_slice", 14, 20) +
                "if r0 == 0 goto out\n r0 = *(u8 *)(r0 +19)\n exit\n out:\n exit"),
            "verdict 17");
  EXPECT_EQ(run(kFromXdp + slice("bpf_dynptr_slice", 60, 20) + "exit"), "verdict 0");
  EXPECT_EQ(run(kFromXdp + slice("bpf_dynptr_slice", 14, 20) + "*(u8 *)(r0 +0) = 1\n" + kEnd),
            "kReadOnly@10");
  EXPECT_EQ(run(kFromXdp + slice("bpf_dynptr_slice_rdwr", 14, 20) +
                "*(u8 *)(r0 +0) = 9\n r0 = *(u8 *)(r0 +0)\n exit"),
            "verdict 9");
}

TEST(KfuncDynptrs, SlicesEndWhenThePacketMoves) {
  EXPECT_EQ(run("r9 = r1\n" + kFromXdp + slice("bpf_dynptr_slice", 14, 20) +
                "r6 = r0\n r1 = r9\n r2 = 8\n call bpf_xdp_pull_data\n r0 = *(u8 *)(r6 +0)\n exit"),
            "kStalePacket@15");
}

TEST(KfuncDynptrs, CannotBeTouchedOrForged) {
  EXPECT_EQ(run(kFromXdp + "r0 = *(u64 *)(r10 -16)\n exit"), "kStackObject@4");
  EXPECT_EQ(run(kFromXdp + "r0 = *(u64 *)(r10 -8)\n exit"), "kStackObject@4");
  EXPECT_EQ(run(kFromXdp + "*(u64 *)(r10 -8) = 0\n" + slice("bpf_dynptr_slice", 0, 4) + kEnd),
            "kArgument@10");
  EXPECT_EQ(run("*(u64 *)(r10 -8) = 0\n *(u64 *)(r10 -16) = 0\n" + slice("bpf_dynptr_slice", 0, 4) +
                kEnd),
            "kArgument@7");
  EXPECT_EQ(run("r3 = r10\n r3 += -8\n r2 = 0\n call bpf_dynptr_from_xdp\n" + kEnd), "kArgument@3")
      << "half of it would lie outside the stack";
}

TEST(KfuncDynptrs, CloneAndSize) {
  EXPECT_EQ(run(kFromXdp + "r1 = r10\n r1 += -16\n r2 = r10\n r2 += -32\n call bpf_dynptr_clone\n"
                           "r1 = r10\n r1 += -32\n r2 = 4\n r3 = 24\n call bpf_dynptr_adjust\n"
                           "r1 = r10\n r1 += -32\n call bpf_dynptr_size\n r6 = r0\n"
                           "r1 = r10\n r1 += -16\n call bpf_dynptr_size\n r0 += r6\n exit"),
            "verdict 84");
}

TEST(KfuncResults, HaveAsManyBytesAsTheirType) {
  // -EINVAL as int: the upper half is zero, as compiled code of the kernel leaves it.
  EXPECT_EQ(run("r1 = r10\n r1 += -8\n r2 = 5\n r3 = 4\n call bpf_iter_num_new\n r6 = r0\n" +
                kDestroy + "r6 >>= 32\n r0 = r6\n exit"),
            "verdict 0");
  EXPECT_EQ(run("call bpf_rcu_read_lock\n r0 += 1\n exit"), "kUninitRegister@1");
}

TEST(KfuncArguments, AreNumbersWhereNumbersAreWanted) {
  EXPECT_EQ(run("r3 = r10\n r3 += -16\n r2 = r10\n call bpf_dynptr_from_xdp\n" + kEnd),
            "kArgument@3");
  EXPECT_EQ(run("r3 = r10\n r3 += -16\n call bpf_dynptr_from_xdp\n" + kEnd), "kUninitRegister@2");
  EXPECT_EQ(run("r1 += 4\n" + kFromXdp + kEnd), "kArgumentModified@4");
  EXPECT_EQ(run("r1 = 5\n call bpf_strlen\n exit"),
            "verdict " + std::to_string(static_cast<std::uint32_t>(-ERANGE)))
      << "any number may be an address";
}

TEST(KfuncArguments, StringsOnTheStack) {
  EXPECT_EQ(run("r1 = 0x636261\n *(u64 *)(r10 -8) = r1\n r1 = r10\n r1 += -8\n"
                "call bpf_strlen\n exit"),
            "verdict 3");
}

TEST(KfuncSections, AreLeftInOrder) {
  EXPECT_EQ(run("call bpf_rcu_read_lock\n call bpf_rcu_read_unlock\n" + kEnd), "verdict 1");
  EXPECT_EQ(run("call bpf_rcu_read_lock\n" + kEnd), "kSection@2");
  EXPECT_EQ(run("call bpf_rcu_read_unlock\n" + kEnd), "kSection@0");
  EXPECT_EQ(
      run("call bpf_preempt_disable\n call bpf_preempt_disable\n call bpf_preempt_enable\n" + kEnd),
      "kSection@4");
  EXPECT_EQ(run("call bpf_preempt_enable\n" + kEnd), "kSection@0");
}

std::string irq(const std::string& function, int offset) {
  return "r1 = r10\n r1 += " + std::to_string(offset) + "\n call " + function + "\n";
}

TEST(KfuncSections, InterruptStatesAreRestoredInReverse) {
  const std::string save = irq("bpf_local_irq_save", -8) + irq("bpf_local_irq_save", -16);
  EXPECT_EQ(run(save + irq("bpf_local_irq_restore", -16) + irq("bpf_local_irq_restore", -8) + kEnd),
            "verdict 1");
  EXPECT_EQ(run(save + irq("bpf_local_irq_restore", -8) + kEnd), "kSection@8");
  EXPECT_EQ(run(save + kEnd), "kUnreleased@7");
  EXPECT_EQ(run(irq("bpf_local_irq_restore", -8) + kEnd), "kArgument@2");
}

TEST(KfuncExceptions, EndTheProgramFromAnywhere) {
  EXPECT_EQ(run("r1 = 64\n call bpf_throw\n r0 = 1\n exit"), "verdict 64");
  EXPECT_EQ(run("call f\n r0 = 1\n exit\n f:\n r1 = 65\n call bpf_throw\n exit"), "verdict 65");
  EXPECT_EQ(run("r1 = 3\n r2 = func f\n r3 = 0\n r4 = 0\n call bpf_loop\n r0 = 1\n exit\n"
                "f:\n r1 = 66\n call bpf_throw\n exit"),
            "verdict 66");
}

TEST(KfuncExceptions, GoToTheCallback) {
  KfuncLab lab;
  lab.exception_callback = InsnIndex{4};
  EXPECT_EQ(lab.run_text("r1 = 64\n call bpf_throw\n r0 = 1\n exit\n r0 = r1\n r0 += 1\n exit"),
            "verdict 65");
}

TEST(KfuncExceptions, LeaveNothingBehind) {
  EXPECT_EQ(run(kNew + "r1 = 64\n call bpf_throw\n exit"), "kUnreleased@6");
  EXPECT_EQ(run("call bpf_rcu_read_lock\n r1 = 64\n call bpf_throw\n exit"), "kSection@2");
  EXPECT_EQ(run("call __bpf_trap\n" + kEnd), "kUnreachable@0");
}

// --- allocated objects

class ObjectLab : public KfuncLab {
 public:
  ObjectLab() : btf_(lab::item_types()), heap_(*ObjectHeap::create()) {
    options.btf = btf_.get();
    context.objects = heap_.get();
    add_map({.name = "roots",
             .type = BPF_MAP_TYPE_ARRAY,
             .key_size = 4,
             .value_size = 32,
             .max_entries = 1});
  }
  std::size_t object_count() const { return heap_->object_count(); }

 private:
  std::shared_ptr<const Btf> btf_;
  std::unique_ptr<ObjectHeap> heap_;
};

std::string run_objects(const std::string& text, std::size_t left = 0) {
  ObjectLab lab;
  const std::string summary = lab.run_text(text);
  EXPECT_EQ(lab.object_count(), left) << text;
  return summary;
}

// r6 = a new item.
const std::string kItem =
    "r1 = 4\n r2 = 0\n call bpf_obj_new_impl\n if r0 == 0 goto out\n r6 = r0\n";
const std::string kDrop = "r1 = r6\n r2 = 0\n call bpf_obj_drop_impl\n";
const std::string kOut = "out:\n r0 = 1\n exit";
const std::string kPush =
    "r1 = map[idx:0]+0\n r2 = r6\n r3 = 0\n r4 = 0\n call bpf_list_push_back_impl\n";

TEST(KfuncObjects, AreOwnedUntilTheyAreDropped) {
  EXPECT_EQ(run_objects(kItem + "*(u64 *)(r6 +64) = 7\n r7 = *(u64 *)(r6 +64)\n" + kDrop +
                        "r0 = r7\n exit\n" + kOut),
            "verdict 7");
  EXPECT_EQ(run_objects(kItem + kOut), "kUnreleased@6") << "and the heap gets it back";
  EXPECT_EQ(run_objects(kItem + kDrop + "r0 = *(u64 *)(r6 +64)\n exit\n" + kOut),
            "kReleasedMemory@8");
  EXPECT_EQ(run_objects(kItem + kDrop + kDrop + kOut), "kReleasedMemory@10");
  EXPECT_EQ(run_objects(kItem + "r7 = *(u64 *)(r6 +72)\n" + kDrop + kOut), "kOutOfBounds@5");
  EXPECT_EQ(run_objects("r1 = 5\n r2 = 0\n call bpf_obj_new_impl\n r0 = 1\n exit"), "kArgument@2")
      << "no struct of the program";
  EXPECT_EQ(run_objects(kItem + "r6 += 8\n" + kDrop + kOut), "kArgumentModified@8");
}

TEST(KfuncObjects, ListsTakeThemOver) {
  EXPECT_EQ(run_objects(kItem + kPush +
                        "*(u64 *)(r6 +64) = 5\n r1 = map[idx:0]+0\n"
                        "call bpf_list_pop_front\n if r0 == 0 goto out\n r6 = r0\n"
                        "r7 = *(u64 *)(r6 +64)\n" +
                        kDrop + "r0 = r7\n exit\n" + kOut),
            "verdict 5");
  EXPECT_EQ(run_objects(kItem + kPush + kDrop + kOut, 1), "kArgument@13")
      << "what is in a list is not the program's to drop";
  EXPECT_EQ(run_objects("r1 = map[idx:0]+0\n call bpf_list_pop_front\n exit"), "verdict 0");
  EXPECT_EQ(run_objects(kItem +
                        "r1 = map[idx:0]+0\n r2 = r6\n r2 += 8\n r3 = 0\n r4 = 0\n"
                        "call bpf_list_push_back_impl\n" +
                        kOut),
            "kArgument@11")
      << "no node at byte 8";
  EXPECT_EQ(run_objects(kItem +
                        "r1 = r10\n r1 += -16\n r2 = r6\n r3 = 0\n r4 = 0\n"
                        "call bpf_list_push_back_impl\n" +
                        kOut),
            "kArgument@10")
      << "no list on the stack";
}

TEST(KfuncObjects, ReferencesAreCounted) {
  EXPECT_EQ(run_objects(kItem +
                        "r1 = r6\n r2 = 0\n call bpf_refcount_acquire_impl\n"
                        "if r0 == 0 goto out\n r7 = r0\n" +
                        kDrop + "*(u64 *)(r6 +64) = 3\n r6 = r7\n r7 = *(u64 *)(r6 +64)\n" + kDrop +
                        "r0 = r7\n exit\n" + kOut),
            "verdict 3")
      << "readable as long as somebody keeps it";
}

TEST(KfuncObjects, TreesAskTheProgram) {
  const std::string add =
      "r1 = map[idx:0]+16\n r2 = r6\n r2 += 24\n r3 = func less\n r4 = 0\n"
      "r5 = 0\n call bpf_rbtree_add_impl\n";
  const std::string first =
      "r1 = map[idx:0]+16\n call bpf_rbtree_first\n"
      "if r0 == 0 goto out\n r7 = *(u64 *)(r0 +40)\n";
  const std::string take =
      "r1 = map[idx:0]+16\n r2 = r0\n call bpf_rbtree_remove\n"
      "if r0 == 0 goto out\n r0 += -24\n r6 = r0\n";
  const std::string less =
      "\n less:\n r0 = 0\n r3 = *(u64 *)(r1 +40)\n r4 = *(u64 *)(r2 +40)\n"
      "if r3 >= r4 goto no\n r0 = 1\n no:\n exit";
  const std::string build =
      kItem + "*(u64 *)(r6 +64) = 8\n" + add + kItem + "*(u64 *)(r6 +64) = 4\n" + add;
  EXPECT_EQ(run_objects(build + first + take + kDrop + first + take + kDrop + "r0 = r7\n exit\n" +
                        kOut + less),
            "verdict 8");
  EXPECT_EQ(run_objects(build + first + "r0 = r7\n exit\n" + kOut + less, 2), "verdict 4");
}

TEST(KfuncTraps, NameTheFunction) {
  KfuncLab lab;
  lab.kfunc_names = {"bpf_iter_num_next"};
  const auto outcome = lab.run("r1 = r10\n r1 += -8\n call kfunc#0\n r0 = 1\n exit");
  ASSERT_TRUE(outcome.trapped());
  EXPECT_EQ(outcome.traps[0].text,
            "insn 2: helper argument of the wrong kind: r1 (stack pointer), in call of "
            "bpf_iter_num_next");
}

}  // namespace
}  // namespace lmn
