// SPDX-License-Identifier: Apache-2.0
//
// Parsing of .BTF.ext: a header with three tables; each table says how long its records are, then
// lists sections with their records. Records may be longer than we know (newer compilers): the
// known start is read, the rest skipped. Tested by btf_test.cc.
#include "btf/btf_ext.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include <optional>
#include <utility>

namespace lmn {
namespace {

constexpr std::uint32_t kInsnBytes = 8;

std::unexpected<Error> malformed(std::string message) {
  return make_error(ErrorCode::kMalformed, "btf.ext: " + std::move(message));
}

struct Table {
  std::string_view what;
  std::uint32_t record_bytes;  // what we read of a record
  std::uint64_t offset = 0;    // from the end of the header
  std::uint64_t length = 0;
};

Result<BtfFuncRecord> read_record(ByteReader record, const Btf&, BtfFuncRecord out) {
  out.offset = *record.u32();
  out.type_id = *record.u32();
  return out;
}

Result<BtfLineRecord> read_record(ByteReader record, const Btf& btf, BtfLineRecord out) {
  out.offset = *record.u32();
  const auto file = btf.string(*record.u32());
  const auto text = btf.string(*record.u32());
  const std::uint32_t line_column = *record.u32();
  if (!file || !text) {
    return malformed(fmt::format("line record at {} names a string outside the table", out.offset));
  }
  out.file = *file;
  out.text = *text;
  out.line = line_column >> 10;
  out.column = line_column & 0x3ff;
  return out;
}

Result<BtfCoreRecord> read_record(ByteReader record, const Btf& btf, BtfCoreRecord out) {
  out.offset = *record.u32();
  out.type_id = *record.u32();
  const auto access = btf.string(*record.u32());
  out.kind = *record.u32();
  if (!access) {
    return malformed(
        fmt::format("CO-RE record at {} names a string outside the table", out.offset));
  }
  out.access = *access;
  return out;
}

Result<void> check_type(const BtfFuncRecord& record, const Btf& btf) {
  const BtfType* type = btf.find(record.type_id);
  if (type != nullptr && type->kind == BtfKind::kFunc) return {};
  return malformed(
      fmt::format("func record at {}: type [{}] is no func", record.offset, record.type_id));
}
Result<void> check_type(const BtfCoreRecord& record, const Btf& btf) {
  if (btf.find(record.type_id) != nullptr) return {};
  return malformed(fmt::format("CO-RE record at {}: type [{}] of {}", record.offset, record.type_id,
                               btf.type_count()));
}
Result<void> check_type(const BtfLineRecord&, const Btf&) { return {}; }

template <typename Record>
Result<std::vector<BtfExtSection<Record>>> read_table(ByteReader file, std::uint64_t header_bytes,
                                                      const Table& table, const Btf& btf) {
  std::vector<BtfExtSection<Record>> out;
  if (table.length == 0) return out;
  const auto bytes = file.sub(header_bytes + table.offset, table.length);
  if (!bytes) {
    return malformed(fmt::format("{} table at {}+{} reaches past the end", table.what,
                                 header_bytes + table.offset, table.length));
  }
  ByteReader reader(*bytes);
  const auto record_bytes = reader.u32();
  if (!record_bytes || *record_bytes < table.record_bytes || *record_bytes % 4 != 0) {
    return malformed(fmt::format("{} records of {} bytes, at least {} wanted", table.what,
                                 record_bytes.value_or(0), table.record_bytes));
  }
  while (reader.remaining() > 0) {
    const auto name_off = reader.u32();
    const auto count = reader.u32();
    if (!count) return malformed(fmt::format("{} table: a section header is cut off", table.what));
    const auto name = btf.string(*name_off);
    if (!name) return malformed(fmt::format("{} table: a section without a name", table.what));
    if (*count == 0 || std::uint64_t{*count} * *record_bytes > reader.remaining()) {
      return malformed(fmt::format("{} table: section '{}' has {} records in {} bytes", table.what,
                                   *name, *count, reader.remaining()));
    }
    BtfExtSection<Record> section{*name, {}};
    section.records.reserve(*count);
    for (std::uint32_t i = 0; i < *count; ++i) {
      LMN_TRY(Record record, read_record(ByteReader(*reader.bytes(*record_bytes)), btf, Record{}));
      if (record.offset % kInsnBytes != 0) {
        return malformed(
            fmt::format("{} table: section '{}': record {} at offset {}, not an instruction",
                        table.what, *name, i, record.offset));
      }
      LMN_CHECK_OK(check_type(record, btf));
      section.records.push_back(record);
    }
    out.push_back(std::move(section));
  }
  return out;
}

}  // namespace

Result<BtfExt> parse_btf_ext(ByteSpan bytes, const Btf& btf) {
  ByteReader reader(bytes);
  const auto magic = reader.u16();
  const auto version = reader.u8();
  const auto flags = reader.u8();
  const auto header_bytes = reader.u32();
  if (!header_bytes)
    return malformed(fmt::format("{} bytes are too few for a header", bytes.size()));
  if (*magic == 0x9feb) {
    return make_error(ErrorCode::kNotSupported, "btf.ext: big-endian (magic 0x9feb)",
                      "compile with -target bpfel");
  }
  if (*magic != BTF_MAGIC) return malformed(fmt::format("magic is 0x{:04x}, not 0xeb9f", *magic));
  if (*version != BTF_VERSION || *flags != 0) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("btf.ext: version {}, flags 0x{:x}", *version, *flags));
  }
  Table tables[] = {{"func", 8}, {"line", 16}, {"CO-RE", 16}};
  // The CO-RE table came later: a short header simply has none.
  constexpr std::uint32_t kBytesBeforeTables = 8;
  for (std::size_t i = 0; i < std::size(tables); ++i) {
    if (*header_bytes < kBytesBeforeTables + (i + 1) * 8) {
      if (i < 2) return malformed(fmt::format("header of {} bytes", *header_bytes));
      break;
    }
    const auto offset = reader.u32();
    const auto length = reader.u32();
    if (!length) return malformed("the header is cut off");
    tables[i].offset = *offset;
    tables[i].length = *length;
  }
  BtfExt out;
  LMN_TRY(out.functions, read_table<BtfFuncRecord>(reader, *header_bytes, tables[0], btf));
  LMN_TRY(out.lines, read_table<BtfLineRecord>(reader, *header_bytes, tables[1], btf));
  LMN_TRY(out.core, read_table<BtfCoreRecord>(reader, *header_bytes, tables[2], btf));
  return out;
}

}  // namespace lmn
