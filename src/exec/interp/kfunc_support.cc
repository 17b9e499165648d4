// SPDX-License-Identifier: Apache-2.0
//
// Which kernel functions the interpreter can call: those whose arguments and result it knows how to
// check and to shadow; the rest is refused when a program is prepared. Tested by exec_test.cc.
#include "abi/kfunc_proto.h"
#include "exec/interp/kfunc_call.h"

namespace lmn::interp {
namespace {

bool is_argument_supported(KfuncArgKind kind) {
  switch (kind) {
    case KfuncArgKind::kNone:
    case KfuncArgKind::kScalar:
    case KfuncArgKind::kConstScalar:
    case KfuncArgKind::kLocalTypeId:
    case KfuncArgKind::kMem:
    case KfuncArgKind::kMemSized:
    case KfuncArgKind::kSize:
    case KfuncArgKind::kConstSize:
    case KfuncArgKind::kMap:
    case KfuncArgKind::kCtx:
    case KfuncArgKind::kIgnored:
    case KfuncArgKind::kMeta:
    case KfuncArgKind::kNodeOffset:
    case KfuncArgKind::kString:
    case KfuncArgKind::kDynptr:
    case KfuncArgKind::kIterator:
    case KfuncArgKind::kIrqFlag:
    case KfuncArgKind::kAllocObject:
    case KfuncArgKind::kRefcounted:
    case KfuncArgKind::kListHead:
    case KfuncArgKind::kListNode:
    case KfuncArgKind::kRbRoot:
    case KfuncArgKind::kRbNode:
    case KfuncArgKind::kCallback:
    case KfuncArgKind::kKernelObject:
    case KfuncArgKind::kResSpinLock:
    case KfuncArgKind::kTimer:
    case KfuncArgKind::kWorkqueue:
    case KfuncArgKind::kKernelTypeId:
    case KfuncArgKind::kPercpuObject:
      return true;
    case KfuncArgKind::kTaskWork:
      return false;
  }
  return false;
}

bool is_result_supported(KfuncRet ret) {
  switch (ret) {
    case KfuncRet::kVoid:
    case KfuncRet::kScalar:
    case KfuncRet::kMem:
    case KfuncRet::kMemOfSize:
    case KfuncRet::kAllocObject:
    case KfuncRet::kSameObject:
    case KfuncRet::kListNode:
    case KfuncRet::kRbNode:
    case KfuncRet::kKernelObject:
    case KfuncRet::kArenaPointer:
    case KfuncRet::kCtxObject:
    case KfuncRet::kUntrusted:
    case KfuncRet::kPercpuObject:
      return true;
  }
  return false;
}

}  // namespace

bool is_kfunc_supported(const KfuncProto& proto) {
  for (const KfuncArg& arg : proto.args) {
    if (!is_argument_supported(arg.kind)) return false;
  }
  return is_result_supported(proto.ret);
}

}  // namespace lmn::interp
