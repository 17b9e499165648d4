// SPDX-License-Identifier: Apache-2.0
//
// Types, maps, kernel functions and a small kernel for programs that use objects.
//
// The program's types: `node` hangs in a tree and a list and is refcounted, `leaf` in a tree only,
// `guarded` is a map's value of a lock, a root and a head, `stash` one of kptrs. The kernel's: a
// `task` with a parent (__rcu), a leader that is safe in RCU sections, a name and a page of memory.
// Only for tests. Threads: constants and pure functions. Tested by its users.
#pragma once

#include <linux/btf.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "contract/btf_builder.h"
#include "verifier/paths_for_tests.h"

namespace lmn::object_tests {

// Ids of local_types().
inline constexpr std::uint32_t kNode = 9;
inline constexpr std::uint32_t kLeaf = 10;
inline constexpr std::uint32_t kGuarded = 11;
inline constexpr std::uint32_t kStash = 18;
inline constexpr std::uint32_t kPlain = 19;

inline constexpr std::uint32_t kTaggedCallee = 30;  // one of another program type's context

inline std::shared_ptr<const Btf> parsed(const BtfBuilder& builder) {
  auto btf = parse_btf(builder.bytes());
  EXPECT_TRUE(btf) << (btf ? "" : btf.error().to_string());
  return btf ? *btf : nullptr;
}

inline std::shared_ptr<const Btf> local_types() {
  BtfBuilder b;
  const auto u64 = b.integer("u64", 8, 0);                                    // 1
  const auto lock = b.composite(BTF_KIND_STRUCT, "bpf_spin_lock", 4, {});     // 2
  const auto rb_node = b.composite(BTF_KIND_STRUCT, "bpf_rb_node", 32, {});   // 3
  const auto list = b.composite(BTF_KIND_STRUCT, "bpf_list_node", 24, {});    // 4
  const auto root = b.composite(BTF_KIND_STRUCT, "bpf_rb_root", 16, {});      // 5
  const auto head = b.composite(BTF_KIND_STRUCT, "bpf_list_head", 16, {});    // 6
  const auto count = b.composite(BTF_KIND_STRUCT, "bpf_refcount", 4, {});     // 7
  const auto res = b.composite(BTF_KIND_STRUCT, "bpf_res_spin_lock", 4, {});  // 8
  b.composite(BTF_KIND_STRUCT, "node", 72,
              {{"key", u64, 0}, {"r", rb_node, 64}, {"l", list, 320}, {"ref", count, 512}});
  b.composite(BTF_KIND_STRUCT, "leaf", 40, {{"key", u64, 0}, {"r", rb_node, 64}});
  b.composite(BTF_KIND_STRUCT, "guarded", 56,
              {{"lock", lock, 0}, {"root", root, 64}, {"head", head, 192}, {"leaves", root, 320}});
  b.declaration_tag("contains:node:r", kGuarded, 1);
  b.declaration_tag("contains:node:l", kGuarded, 2);
  b.declaration_tag("contains:leaf:r", kGuarded, 3);
  const auto tag = b.reference(BTF_KIND_TYPE_TAG, kNode, "kptr");  // 15
  const auto kptr = b.reference(BTF_KIND_PTR, tag);                // 16
  const auto loose = b.reference(BTF_KIND_TYPE_TAG, kLeaf, "kptr_untrusted");
  b.composite(BTF_KIND_STRUCT, "stash", 24, {{"owned", kptr, 0}, {"lock", res, 128}});  // 18
  b.composite(BTF_KIND_STRUCT, "plain", 16, {{"a", u64, 0}, {"b", u64, 64}});           // 19
  const auto loose_kptr = b.reference(BTF_KIND_PTR, loose);
  b.composite(BTF_KIND_STRUCT, "memory", 8, {{"seen", loose_kptr, 0}});  // 21
  b.composite(BTF_KIND_STRUCT, "huge", 4097, {});                        // 22
  const auto context = b.composite(BTF_KIND_STRUCT, "xdp_md", 24, {});   // 23
  const auto pointer = b.reference(BTF_KIND_PTR, context);               // 24
  b.function("callee", u64, {{"ctx", pointer}}, BTF_FUNC_GLOBAL);        // 25, 26
  const auto task = b.composite(BTF_KIND_STRUCT, "pt_regs", 8, {});      // 27
  const auto other = b.reference(BTF_KIND_PTR, task);                    // 28
  b.function("tagged", u64, {{"ctx", other}}, BTF_FUNC_GLOBAL);          // 29, 30
  b.declaration_tag("arg:ctx", kTaggedCallee, 0);
  return parsed(b);
}
inline constexpr std::uint32_t kMemory = 21;
inline constexpr std::uint32_t kCallee = 26;  // a global function of the context

// Ids of kernel_types().
inline constexpr std::uint32_t kTask = 4;

inline std::shared_ptr<const Btf> kernel_types() {
  BtfBuilder b;
  const auto u8 = b.integer("u8", 1, 0);                                         // 1
  const auto name = b.array(u8, u8, 16);                                         // 2
  const auto inner = b.composite(BTF_KIND_STRUCT, "cred", 8, {{"uid", u8, 0}});  // 3
  // 4: task_struct; 5 rcu tag, 6 pointer to it, 7 plain pointer to a task, 8 pointer to bytes
  b.composite(BTF_KIND_STRUCT, "task_struct", 64,
              {{"comm", name, 0},
               {"parent", 6, 128},
               {"leader", 7, 192},
               {"other", 7, 256},
               {"cred", inner, 320},
               {"page", 8, 384},
               {"flags", u8, 448, 3}});
  b.reference(BTF_KIND_TYPE_TAG, kTask, "rcu");
  b.reference(BTF_KIND_PTR, 5);
  b.reference(BTF_KIND_PTR, kTask);
  b.reference(BTF_KIND_PTR, u8);
  b.composite(BTF_KIND_STRUCT, "task_struct__safe_rcu", 8, {{"leader", 7, 0}});
  b.composite(BTF_KIND_STRUCT, "bpf_array", 16, {{"index_mask", u8, 0}, {"owner", 7, 64}});
  b.composite(BTF_KIND_STRUCT, "xdp_buff", 16, {{"frame_sz", u8, 0}});
  return parsed(b);
}

inline constexpr KfuncArg arg(KfuncArgKind kind, std::uint16_t flags = 0) {
  return {.kind = kind, .flags = flags};
}
inline constexpr KfuncArg kTypeId = arg(KfuncArgKind::kLocalTypeId);
inline constexpr KfuncArg kMeta = arg(KfuncArgKind::kMeta);
inline constexpr KfuncArg kOwned = arg(KfuncArgKind::kAllocObject, kKfuncArgOwned);
inline constexpr KfuncArg kRoot = arg(KfuncArgKind::kRbRoot);
inline constexpr KfuncArg kHead = arg(KfuncArgKind::kListHead);
inline constexpr KfuncArg kOffset = arg(KfuncArgKind::kNodeOffset);
inline constexpr KfuncArg kTaskArg{.kind = KfuncArgKind::kKernelObject, .type_name = "task_struct"};
inline constexpr KfuncArg kResLock = arg(KfuncArgKind::kResSpinLock);

// Sorted by name: programs call them by their place here.
inline constexpr KfuncProto kKfuncs[] = {
    {.name = "bpf_cast_to_kern_ctx",  // 0
     .ret = KfuncRet::kCtxObject,
     .args = {arg(KfuncArgKind::kCtx)}},
    {.name = "bpf_list_pop_front",  // 1
     .flags = kKfAcquire | kKfRetNull,
     .ret = KfuncRet::kListNode,
     .args = {kHead}},
    {.name = "bpf_list_push_front_impl",  // 2
     .ret = KfuncRet::kScalar,
     .args = {kHead, arg(KfuncArgKind::kListNode, kKfuncArgOwned), kMeta, kOffset}},
    {.name = "bpf_obj_drop_impl", .flags = kKfRelease, .args = {kOwned, kMeta}},  // 3
    {.name = "bpf_obj_new_impl",                                                  // 4
     .flags = kKfAcquire | kKfRetNull,
     .ret = KfuncRet::kAllocObject,
     .args = {kTypeId, kMeta}},
    {.name = "bpf_rbtree_add_impl",  // 5
     .flags = kKfCallsBack,
     .ret = KfuncRet::kScalar,
     .args = {kRoot, arg(KfuncArgKind::kRbNode, kKfuncArgOwned), arg(KfuncArgKind::kCallback),
              kMeta, kOffset}},
    {.name = "bpf_rbtree_first",  // 6
     .flags = kKfRetNull,
     .ret = KfuncRet::kRbNode,
     .args = {kRoot}},
    {.name = "bpf_rbtree_remove",  // 7
     .flags = kKfAcquire | kKfRetNull,
     .ret = KfuncRet::kRbNode,
     .args = {kRoot, arg(KfuncArgKind::kRbNode, kKfuncArgInGraph)}},
    {.name = "bpf_rcu_read_lock", .flags = kKfRcuLock},      // 8
    {.name = "bpf_rcu_read_unlock", .flags = kKfRcuUnlock},  // 9
    {.name = "bpf_refcount_acquire_impl",                    // 10
     .flags = kKfAcquire | kKfRetNull | kKfRcu,
     .ret = KfuncRet::kSameObject,
     .args = {arg(KfuncArgKind::kRefcounted), kMeta}},
    {.name = "bpf_res_spin_lock",  // 11
     .flags = kKfRetNull | kKfSpinLock,
     .ret = KfuncRet::kScalar,
     .args = {kResLock}},
    {.name = "bpf_res_spin_unlock", .flags = kKfSpinUnlock, .args = {kResLock}},  // 12
    {.name = "bpf_task_acquire",                                                  // 13
     .flags = kKfAcquire | kKfRcu | kKfRetNull,
     .ret = KfuncRet::kKernelObject,
     .ret_type_name = "task_struct",
     .args = {kTaskArg}},
    {.name = "bpf_task_release", .flags = kKfRelease, .args = {kTaskArg}},  // 14
};

inline constexpr HelperArg kPointer{ArgKind::kPtrToSpinLock};
inline constexpr HelperProto kHelpers[] = {
    {.id = BPF_FUNC_map_lookup_elem,
     .name = "bpf_map_lookup_elem",
     .ret = RetKind::kPtrToMapValue,
     .ret_flags = kArgMaybeNull,
     .args = {HelperArg{ArgKind::kConstMapPtr}, HelperArg{ArgKind::kPtrToMapKey}}},
    {.id = BPF_FUNC_xdp_adjust_head,
     .name = "bpf_xdp_adjust_head",
     .flags = kHelperChangesPacket,
     .args = {HelperArg{ArgKind::kPtrToCtx}, HelperArg{ArgKind::kAnything}}},
    {.id = BPF_FUNC_spin_lock, .name = "bpf_spin_lock", .ret = RetKind::kVoid, .args = {kPointer}},
    {.id = BPF_FUNC_spin_unlock,
     .name = "bpf_spin_unlock",
     .ret = RetKind::kVoid,
     .args = {kPointer}},
    {.id = BPF_FUNC_get_current_task_btf,
     .name = "bpf_get_current_task_btf",
     .ret = RetKind::kPtrToBtfId},
    {.id = BPF_FUNC_kptr_xchg,
     .name = "bpf_kptr_xchg",
     .ret = RetKind::kPtrToBtfId,
     .ret_flags = kArgMaybeNull,
     .args = {HelperArg{ArgKind::kKptrXchgDest},
              HelperArg{ArgKind::kPtrToBtfId, kArgMaybeNull | kArgRelease}}},
};

// map[0] holds `guarded`, map[1] `stash`, map[2] `memory`, map[3] another `guarded`, and their
// values can be addressed; map[4] is a hash of `stash`.
inline std::vector<MapSpec> test_maps() {
  using structure_tests::map_spec;
  std::vector<MapSpec> maps{map_spec(".data.A", BPF_MAP_TYPE_ARRAY, 56, 1),
                            map_spec(".data.B", BPF_MAP_TYPE_ARRAY, 24, 1),
                            map_spec(".data.C", BPF_MAP_TYPE_ARRAY, 8, 1),
                            map_spec(".data.D", BPF_MAP_TYPE_ARRAY, 56, 1),
                            map_spec("stashes", BPF_MAP_TYPE_HASH, 24, 4)};
  constexpr std::uint32_t kTypes[] = {kGuarded, kStash, kMemory, kGuarded, kStash};
  for (std::size_t i = 0; i < maps.size(); ++i) maps[i].btf_value_type_id = kTypes[i];
  return maps;
}

enum class World : std::uint8_t { kKernel, kNoKernel };

// `callee_at`: where a global function begins that takes the context, 0: nowhere.
inline paths_tests::Verdict judge(std::string_view text, World world, std::uint32_t callee_at = 0,
                                  std::uint32_t callee = kCallee) {
  const auto types = local_types();
  const auto kernel = kernel_types();
  const Environment environment{.helpers = kHelpers,
                                .map_types = paths_tests::kMapTypes,
                                .context = kXdpMdFields,
                                .kfuncs = kKfuncs,
                                .kernel_types = world == World::kKernel ? kernel.get() : nullptr};
  const std::vector<MapSpec> maps = test_maps();
  ProgramSpec program = structure_tests::program_of(text, maps.size());
  program.kfuncs.clear();
  for (const KfuncProto& proto : kKfuncs) program.kfuncs.emplace_back().name = proto.name;
  if (callee_at != 0) {
    program.functions.push_back(
        {.insn = InsnIndex{callee_at}, .name = "callee", .btf_type_id = callee, .is_global = true});
  }
  paths_tests::Verdict out;
  auto structure = check_structure(environment, program, maps, {.defers_operations = true});
  if (!structure) {
    out.structure_error = structure.error().to_string();
    return out;
  }
  VerifyOptions options;
  options.report = &out.report;
  options.btf = types.get();
  out.is_accepted = verify(environment, *std::move(structure), options).has_value();
  return out;
}

}  // namespace lmn::object_tests
