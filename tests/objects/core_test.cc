// SPDX-License-Identifier: Apache-2.0
//
// Goal: CO-RE gives the instructions that libbpf gives, for every kind of relocation and for
// kernels that moved, changed or lost what a program asks for; and what libbpf refuses is a defect
// with a reason here. Method: one program, six "kernels" (core_target.c), both readers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <string>

#include "base/file.h"
#include "libbpf_oracle.h"
#include "object/core_patch.h"
#include "object/elf_file.h"
#include "object/object_reader.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kProgram = LMN_BINARY_DIR "/bpf/object_core_program.bpf.o";

std::string target_path(int kernel) {
  return LMN_BINARY_DIR "/bpf/object_core_target_" + std::to_string(kernel) + ".bpf.o";
}

std::shared_ptr<const Btf> btf_of_object(const std::string& path) {
  const auto bytes = read_file(path, 64u << 20);
  if (!bytes) return nullptr;
  const auto elf = ElfFile::parse(*bytes);
  if (!elf) return nullptr;
  auto btf = parse_btf(elf->find_section(".BTF")->data);
  return btf ? *btf : nullptr;
}

Result<ObjectSpec> read_for(int kernel) {
  LMN_TRY(const auto bytes, read_file(kProgram, 64u << 20));
  ReadOptions options;
  options.object_name = object_name_of(kProgram);
  if (kernel != 0) options.target_btf = btf_of_object(target_path(kernel));
  return read_object(bytes, options);
}

bool has_poison(const ProgramSpec& program) {
  return std::ranges::any_of(program.insns,
                             [](const Insn& insn) { return insn.imm == kCorePoison; });
}

TEST(CoreTest, EqualToLibbpfForEachKernel) {
  for (const int kernel : {1, 2, 3, 4, 6}) {
    auto object = read_for(kernel);
    ASSERT_TRUE(object) << object.error().to_string();
    const auto result = testing::compare_with_libbpf(kProgram, *object, target_path(kernel));
    EXPECT_TRUE(result.was_loaded) << "kernel " << kernel << ": " << result.log;
    EXPECT_THAT(result.differences, IsEmpty()) << "kernel " << kernel;
    EXPECT_EQ(result.programs, 5u) << "kernel " << kernel;
  }
}

TEST(CoreTest, WhatIsNotThereIsPoisonedOrAnsweredWithNo) {
  auto same = read_for(1);
  ASSERT_TRUE(same);
  for (const ProgramSpec& program : same->programs)
    EXPECT_FALSE(has_poison(program)) << program.name;
  auto bare = read_for(3);
  ASSERT_TRUE(bare);
  EXPECT_TRUE(has_poison(*bare->find_program("offsets")));
  EXPECT_FALSE(has_poison(*bare->find_program("types"))) << "types are asked about, not accessed";
  EXPECT_TRUE(has_poison(*bare->find_program("direct"))) << "`pointer` is gone";
}

TEST(CoreTest, AmbiguityIsADefectAsForLibbpf) {
  auto object = read_for(5);
  ASSERT_TRUE(object);
  const ProgramSpec* offsets = object->find_program("offsets");
  ASSERT_TRUE(offsets->defect);
  EXPECT_THAT(offsets->defect->message, HasSubstr("'struct packet.port' is ambiguous"));
  EXPECT_THAT(offsets->defect->location, HasSubstr("section 'xdp', offset"));
  EXPECT_FALSE(object->find_program("values")->defect);
  const auto result = testing::compare_with_libbpf(kProgram, *object, target_path(5));
  EXPECT_FALSE(result.was_loaded);
}

TEST(CoreTest, WithoutATargetTheProgramSaysWhatItNeeds) {
  auto object = read_for(0);
  ASSERT_TRUE(object);
  const ProgramSpec* offsets = object->find_program("offsets");
  ASSERT_TRUE(offsets->defect);
  EXPECT_THAT(offsets->defect->message, HasSubstr("struct 'packet'"));
  EXPECT_THAT(offsets->defect->remedy, HasSubstr("/sys/kernel/btf/vmlinux"));
}

TEST(CoreTest, ModulesAreAskedWhenTheKernelHasNothing) {
  const auto bytes = read_file(kProgram, 64u << 20);
  ASSERT_TRUE(bytes);
  ReadOptions options;
  // The BTF of an unrelated object stands for a kernel that knows none of the types.
  const auto kernel = btf_of_object(LMN_BINARY_DIR "/bpf/object_refused_by_libbpf.bpf.o");
  ASSERT_NE(kernel, nullptr);
  options.target_btf = kernel;
  auto without = read_object(*bytes, options);
  ASSERT_TRUE(without);
  EXPECT_TRUE(has_poison(*without->find_program("offsets")));
  options.target_modules.push_back(btf_of_object(target_path(1)));
  auto with = read_object(*bytes, options);
  ASSERT_TRUE(with);
  EXPECT_FALSE(has_poison(*with->find_program("offsets")));
}

}  // namespace
}  // namespace lmn
