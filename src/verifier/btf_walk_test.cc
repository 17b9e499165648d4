// SPDX-License-Identifier: Apache-2.0
//
// Goal: what lies at each offset of a struct. Method: the small kernel of object_for_tests.h.
#include "verifier/btf_walk.h"

#include <gtest/gtest.h>

#include "verifier/object_for_tests.h"

namespace lmn {
namespace {

using Kind = StructMember::Kind;

StructMember at(std::int64_t offset, std::uint32_t size) {
  static const auto types = object_tests::kernel_types();
  return walk_struct(*types, object_tests::kTask, {offset, size}, true);
}

TEST(BtfWalk, ArraysOfNumbersAreOneBlock) {
  EXPECT_EQ(at(0, 1).kind, Kind::kNumber);
  EXPECT_EQ(at(3, 8).kind, Kind::kNumber);
  EXPECT_EQ(at(15, 1).kind, Kind::kNumber);
  EXPECT_NE(at(15, 2).problem.find("access beyond the end of member comm"), std::string::npos);
}

TEST(BtfWalk, PointersAreReadWholeAndKeepTheirTag) {
  const StructMember parent = at(16, 8);
  EXPECT_EQ(parent.kind, Kind::kPointer);
  EXPECT_EQ(parent.type, object_tests::kTask);
  EXPECT_EQ(parent.flags, kRcuProtected);
  EXPECT_EQ(parent.name, "parent");
  EXPECT_EQ(at(24, 8).flags, 0);
  EXPECT_EQ(at(16, 4).kind, Kind::kRefused);
  EXPECT_NE(at(18, 8).problem.find("cannot access ptr member parent"), std::string::npos);
  EXPECT_EQ(at(48, 8).kind, Kind::kNumber) << "a pointer to no struct";
}

TEST(BtfWalk, EndsAndHolesAreRefused) {
  EXPECT_NE(at(60, 8).problem.find("access beyond struct task_struct"), std::string::npos);
  EXPECT_EQ(at(41, 1).kind, Kind::kRefused);
  EXPECT_EQ(at(56, 1).kind, Kind::kNumber) << "all of a bitfield";
  EXPECT_NE(at(57, 1).problem.find("doesn't have field at offset 57"), std::string::npos);
}

TEST(BtfWalk, StructsBeginWithTheirFirstMember) {
  const auto types = object_tests::kernel_types();
  const TypeRef task{types.get(), object_tests::kTask};
  const TypeRef cred{types.get(), *types->find_by_name("cred", BtfKind::kStruct)};
  EXPECT_TRUE(has_struct_at(task, 0, task, true, true));
  EXPECT_TRUE(has_struct_at(task, 40, cred, false, true));
  EXPECT_FALSE(has_struct_at(task, 40, cred, true, true));
  EXPECT_FALSE(has_struct_at(task, 0, cred, false, true));
  EXPECT_FALSE(has_struct_at(task, 8, task, false, true));
}

TEST(BtfWalk, StructsOfNumbers) {
  const auto types = object_tests::local_types();
  EXPECT_TRUE(is_struct_of_numbers(*types, object_tests::kPlain));
  EXPECT_FALSE(is_struct_of_numbers(*types, object_tests::kStash)) << "has a pointer";
}

}  // namespace
}  // namespace lmn
