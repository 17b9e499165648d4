// SPDX-License-Identifier: Apache-2.0
//
// Feeds read_object with damaged objects, and checks what it promises about those it accepts.
//
// The object's own BTF, with small changes, serves as the "kernel" for its CO-RE relocations: so
// the target of relocations is hostile too. The custom mutator knows where an ELF file keeps its
// tables, and half of the time changes one field of one record: a section header, a symbol, a
// relocation, a BTF type or record, an instruction; or swaps two sections. Plain byte mutation
// finds the rest. What is checked: references and records of programs without defect are in range
// and sorted, maps and functions exist, and instructions survive encoding and decoding.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "abi/limits.h"
#include "btf/btf.h"
#include "insn/codec.h"
#include "object/elf_file.h"
#include "object/elf_numbers.h"
#include "object/object_reader.h"
#include "object/raw_insn.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t size_max);

namespace {

using lmn::ByteSpan;
using lmn::load_unaligned;
using lmn::store_unaligned;

void expect(bool condition) {
  if (!condition) std::abort();
}

// --- what an accepted object promises

void check_references(const lmn::ObjectSpec& object, const lmn::ProgramSpec& program) {
  const auto slots = lmn::load_slots(lmn::encode_program(program.insns));
  expect(slots.size() == program.insns.size());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const lmn::RawInsn& slot = slots[i];
    const auto index = static_cast<std::size_t>(static_cast<std::uint32_t>(slot.imm));
    if (slot.is_lddw()) {
      expect(i + 1 < slots.size());
      if (slot.src == BPF_PSEUDO_MAP_IDX || slot.src == BPF_PSEUDO_MAP_IDX_VALUE) {
        expect(index < program.maps.size());
      } else if (slot.src == BPF_PSEUDO_BTF_ID) {
        expect(index < program.externs.size());
      } else if (slot.src == BPF_PSEUDO_FUNC) {
        expect(i + 1 + static_cast<std::size_t>(slot.imm) < slots.size());
      } else {
        expect(slot.src == 0);
      }
      ++i;
    } else if (slot.is_call() && slot.src == BPF_PSEUDO_KFUNC_CALL) {
      expect(index < program.kfuncs.size());
    }
  }
  for (const std::uint32_t map : program.maps) expect(map < object.maps.size());
}

void check_program(const lmn::ObjectSpec& object, const lmn::ProgramSpec& program) {
  if (program.defect) {
    expect(!program.defect->message.empty());
    return;
  }
  check_references(object, program);
  expect(!program.functions.empty() && program.functions.front().insn.value == 0);
  const auto in_order = [](const auto& a, const auto& b) { return a.insn.value < b.insn.value; };
  expect(std::is_sorted(program.functions.begin(), program.functions.end(), in_order));
  expect(std::is_sorted(program.lines.begin(), program.lines.end(), in_order));
  for (const auto& function : program.functions) {
    expect(function.insn.value < program.insns.size());
    expect(function.btf_type_id == 0 || object.btf->find(function.btf_type_id) != nullptr);
  }
  for (const auto& line : program.lines) expect(line.insn.value < program.insns.size());
}

void check_map(const lmn::ObjectSpec& object, const lmn::MapSpec& map) {
  expect(map.contents.size() <= lmn::limits::kObjectBytesMax);
  if (map.btf_key_type_id != 0) expect(object.btf->find(map.btf_key_type_id) != nullptr);
  if (map.btf_value_type_id != 0) expect(object.btf->find(map.btf_value_type_id) != nullptr);
  if (map.inner != nullptr) expect(map.inner->inner == nullptr);
}

void check_btf(const lmn::Btf& btf) {
  for (std::uint32_t id = 0; id < btf.type_count(); ++id) {
    (void)btf.resolve_size(id);
    expect(btf.skip_modifiers_and_typedefs(id) < btf.type_count());
  }
  // Edits reached the bytes, and left them well-formed.
  const auto again = lmn::parse_btf(btf.raw());
  expect(again.has_value() && (*again)->type_count() == btf.type_count());
}

// --- the target of CO-RE

// The object's own types as another kernel might have them.
enum class Kernel { kSame, kWider, kPoorer };

void change_type(std::span<std::uint8_t> raw, const lmn::BtfType& type, Kernel kernel) {
  std::uint8_t* record = raw.data() + type.raw_offset;
  if (kernel == Kernel::kWider && type.kind == lmn::BtfKind::kInt && type.size == 4) {
    store_unaligned<std::uint32_t>(record + 8, 8);  // integers of 8 bytes
    store_unaligned<std::uint32_t>(record + 12, 64);
  }
  if (kernel == Kernel::kPoorer && type.is_composite() && type.vlen > 0) {
    store_unaligned<std::uint32_t>(record + 12, 0);  // the first member has lost its name
  }
  if (kernel == Kernel::kPoorer && type.is_enumeration() && type.vlen > 0) {
    store_unaligned<std::uint32_t>(record + 12, 0);
  }
}

std::shared_ptr<const lmn::Btf> own_types(ByteSpan bytes, Kernel kernel) {
  const auto elf = lmn::ElfFile::parse(bytes);
  if (!elf) return nullptr;
  const lmn::ElfSection* section = elf->find_section(".BTF");
  if (section == nullptr) return nullptr;
  const auto same = lmn::parse_btf(section->data);
  if (!same) return nullptr;
  std::vector<std::uint8_t> raw(section->data.begin(), section->data.end());
  for (std::uint32_t id = 1; id < (*same)->type_count(); ++id) {
    change_type(raw, (*same)->type(id), kernel);
  }
  const auto changed = lmn::parse_btf(raw);
  return changed ? *changed : *same;
}

// --- the mutator

struct SectionPlace {
  std::size_t header = 0;
  std::uint32_t type = 0;
  std::uint64_t flags = 0;
  std::size_t offset = 0;
  std::size_t size = 0;
};

// The sections that lie in the file, as far as the headers can be found.
std::vector<SectionPlace> find_sections(std::span<const std::uint8_t> bytes) {
  std::vector<SectionPlace> out;
  if (bytes.size() < lmn::elf::kHeaderBytes) return out;
  const auto table = load_unaligned<std::uint64_t>(bytes.data() + 40);
  const auto count = load_unaligned<std::uint16_t>(bytes.data() + 60);
  for (std::size_t i = 1; i < count; ++i) {
    const std::uint64_t at = table + i * lmn::elf::kSectionHeaderBytes;
    if (at > bytes.size() || bytes.size() - at < lmn::elf::kSectionHeaderBytes) break;
    SectionPlace place;
    place.header = at;
    place.type = load_unaligned<std::uint32_t>(bytes.data() + at + 4);
    place.flags = load_unaligned<std::uint64_t>(bytes.data() + at + 8);
    place.offset = load_unaligned<std::uint64_t>(bytes.data() + at + 24);
    place.size = load_unaligned<std::uint64_t>(bytes.data() + at + 32);
    const bool is_inside =
        place.offset <= bytes.size() && place.size <= bytes.size() - place.offset;
    if (is_inside && place.type != lmn::elf::kNobits) out.push_back(place);
  }
  return out;
}

class ObjectMutator {
 public:
  ObjectMutator(std::span<std::uint8_t> bytes, unsigned seed) : bytes_(bytes), random_(seed) {}

  // False: there is nothing here that looks like an object.
  bool mutate() {
    const auto sections = find_sections(bytes_);
    if (sections.empty()) return false;
    const std::size_t rounds = 1 + below(3);
    for (std::size_t i = 0; i < rounds; ++i) mutate_once(sections);
    return true;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }

  void mutate_once(std::span<const SectionPlace> sections) {
    const SectionPlace& place = sections[below(sections.size())];
    switch (below(8)) {
      case 0:  // a field of its header: name, type, flags, offset, size, link, info, entry size
        change_word(place.header + 4 * below(16));
        return;
      case 1: {  // two sections change places
        const SectionPlace& other = sections[below(sections.size())];
        std::swap_ranges(bytes_.begin() + place.header + 24, bytes_.begin() + place.header + 40,
                         bytes_.begin() + other.header + 24);
        return;
      }
      default:
        change_record(place);
    }
  }

  void change_record(const SectionPlace& place) {
    std::size_t record = 4;
    if (place.type == lmn::elf::kSymtab) record = lmn::elf::kSymbolBytes;
    if (place.type == lmn::elf::kRel) record = lmn::elf::kRelBytes;
    if ((place.flags & lmn::elf::kFlagExec) != 0) record = lmn::kSlotBytes;
    if (place.size < record) return;
    const std::size_t words = record / 4;
    const std::size_t at = place.offset + below(place.size / record) * record + 4 * below(words);
    if (below(4) == 0) {
      bytes_[at + below(4)] = static_cast<std::uint8_t>(random_());
    } else {
      change_word(at);
    }
  }

  // Ids and offsets break at neighbours, at other values of the file, and at the edges.
  void change_word(std::size_t at) {
    if (at + 4 > bytes_.size()) return;
    auto word = load_unaligned<std::uint32_t>(bytes_.data() + at);
    switch (below(6)) {
      case 0:
        word += static_cast<std::uint32_t>(below(17)) - 8;
        break;
      case 1:
        word = static_cast<std::uint32_t>(below(64));
        break;
      case 2:
        word = load_unaligned<std::uint32_t>(bytes_.data() + below(bytes_.size() - 3));
        break;
      case 3: {
        constexpr std::uint32_t kEdges[] = {0,          0xffff,     0x7fffffff,
                                            0x80000000, 0xfffffff8, 0xffffffff};
        word = kEdges[below(std::size(kEdges))];
        break;
      }
      case 4:
        word ^= 1u << below(32);
        break;
      default:
        word = static_cast<std::uint32_t>(random_());
    }
    store_unaligned(bytes_.data() + at, word);
  }

  std::span<std::uint8_t> bytes_;
  std::mt19937 random_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteSpan bytes(data, size);
  lmn::ReadOptions options;
  options.object_name = "fuzzed";
  options.kernel_version = 0x061200;
  options.kconfig = "CONFIG_HZ=250\nCONFIG_NET=y\nCONFIG_TUN=m\nCONFIG_DEFAULT_HOSTNAME=\"host\"\n";
  const unsigned which = size == 0 ? 0 : data[size - 1] + static_cast<unsigned>(size);
  options.target_btf = own_types(bytes, static_cast<Kernel>(which % 3));
  options.text_programs = size % 2 == 0;
  const auto object = lmn::read_object(bytes, options);
  if (!object) {
    expect(!object.error().message.empty());
    return 0;
  }
  for (const lmn::ProgramSpec& program : object->programs) check_program(*object, program);
  for (const lmn::MapSpec& map : object->maps) check_map(*object, map);
  if (object->btf != nullptr) check_btf(*object->btf);
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t size_max, unsigned seed) {
  if (seed % 2 == 0 && ObjectMutator({data, size}, seed).mutate()) return size;
  return LLVMFuzzerMutate(data, size, size_max);
}
