// SPDX-License-Identifier: Apache-2.0
//
// The BTF that a compiled object carries, for tools that use it as the target of CO-RE: an object
// then stands for a kernel. Threads: pure functions. Tested by the conformance runs that use it.
#pragma once

#include <memory>

#include "base/byte_reader.h"
#include "btf/btf.h"
#include "object/elf_file.h"

namespace lmn::testing {

// Null when the bytes are no object, or one without types that can be read.
inline std::shared_ptr<const Btf> types_of_object(ByteSpan bytes) {
  const auto elf = ElfFile::parse(bytes);
  if (!elf) return nullptr;
  const ElfSection* section = elf->find_section(".BTF");
  if (section == nullptr) return nullptr;
  auto btf = parse_btf(section->data);
  return btf ? *btf : nullptr;
}

}  // namespace lmn::testing
