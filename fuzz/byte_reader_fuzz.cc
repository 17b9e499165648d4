// SPDX-License-Identifier: Apache-2.0
//
// Feeds ByteReader a list of operations and compares every answer with plain index arithmetic over
// the same bytes.
//
// Each operation is two bytes of the input: which one, and its argument. Arguments 0xf0..0xff stand
// for offsets near the end of 64 bits, where a sum would wrap. All parsers of untrusted bytes stand
// on this class, so an error here is an error in all.
#include <array>
#include <cstdlib>

#include "base/byte_reader.h"

namespace {

using lmn::ByteReader;

struct Model {
  std::uint64_t size = 0;
  std::uint64_t position = 0;
  bool take(std::uint64_t count) {
    if (size - position < count) return false;
    position += count;
    return true;
  }
};

std::uint64_t argument(std::uint8_t byte) {
  return byte < 0xf0 ? byte : ~std::uint64_t{0} - (0xff - byte);
}

void expect(bool condition) {
  if (!condition) std::abort();
}

void run_one(ByteReader& reader, Model& model, lmn::ByteSpan data, std::uint8_t op,
             std::uint64_t value) {
  const std::uint64_t before = model.position;
  switch (op % 8) {
    case 0:
      expect(reader.u8().has_value() == model.take(1));
      break;
    case 1:
      expect(reader.u16().has_value() == model.take(2));
      break;
    case 2: {
      const auto got = reader.u32();
      expect(got.has_value() == model.take(4));
      if (got) expect((*got & 0xff) == data[before]);  // little-endian: the low byte comes first
      break;
    }
    case 3:
      expect(reader.u64().has_value() == model.take(8));
      break;
    case 4: {
      const auto got = reader.bytes(value);
      expect(got.has_value() == model.take(value));
      if (got) expect(got->data() == data.data() + before);
      break;
    }
    case 5: {
      const bool fits = value <= model.size;
      if (fits) model.position = value;
      expect(reader.seek(value) == fits);
      break;
    }
    case 6: {
      const auto got = reader.sub(value, before);
      expect(got.has_value() == (value <= model.size && before <= model.size - value));
      break;
    }
    default: {
      const auto got = lmn::string_at(data, value);
      if (got) expect(value + got->size() < data.size() && data[value + got->size()] == 0);
      break;
    }
  }
  expect(reader.position() == model.position);
  expect(reader.remaining() == model.size - model.position);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const lmn::ByteSpan data(bytes, size);
  ByteReader reader(data);
  Model model{.size = size};
  for (std::size_t i = 0; i + 1 < size; i += 2)
    run_one(reader, model, data, bytes[i], argument(bytes[i + 1]));
  return 0;
}
