// SPDX-License-Identifier: Apache-2.0
//
// Telling objects from raw BTF by their first bytes.
#include "btf_input.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include "abi/limits.h"
#include "base/file.h"
#include "object/elf_file.h"
#include "object/file_kind.h"

namespace lmn {
namespace {

constexpr std::string_view kKernelFolder = "/sys/kernel/btf/";
constexpr std::string_view kKernelFile = "/sys/kernel/btf/vmlinux";

bool starts_with(ByteSpan bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

// The bytes of BTF in a file's bytes.
Result<ByteSpan> find_btf(ByteSpan bytes) {
  // Either byte order: parse_btf() says what is wrong with the other one.
  if (starts_with(bytes, "\x9f\xeb") || starts_with(bytes, "\xeb\x9f")) return bytes;
  if (!starts_with(bytes,
                   "\x7f"
                   "ELF")) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("this is {}: neither an object nor BTF", describe_file(bytes)),
                      remedy_for_file(bytes));
  }
  LMN_TRY(const ElfFile elf, ElfFile::parse(bytes));
  const ElfSection* section = elf.find_section(".BTF");
  if (section == nullptr) {
    return make_error(ErrorCode::kNotFound, "the object has no section '.BTF'", "compile with -g");
  }
  return section->data;
}

Result<std::shared_ptr<const Btf>> load(const std::string& path, std::shared_ptr<const Btf> base) {
  LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(path, limits::kObjectBytesMax));
  const Result<ByteSpan> types = find_btf(bytes);
  if (!types) return make_error(Error(types.error()).with_context(path));
  auto btf = parse_btf(*types, std::move(base));
  if (!btf) return make_error(std::move(btf).error().with_context(path));
  return btf;
}

}  // namespace

Result<std::shared_ptr<const Btf>> load_btf_file(const std::string& path,
                                                 const std::string& base_path) {
  std::string from = base_path;
  if (from.empty() && path.starts_with(kKernelFolder) && path != kKernelFile) from = kKernelFile;
  if (from.empty()) return load(path, nullptr);
  LMN_TRY(std::shared_ptr<const Btf> base, load(from, nullptr));
  return load(path, std::move(base));
}

}  // namespace lmn
