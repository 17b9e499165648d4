// SPDX-License-Identifier: Apache-2.0
//
// Two passes over the format: the first checks it and gathers the arguments, the second writes.
//
// Both parse a specifier by the same function, so that they cannot disagree. The first is all or
// nothing: a format that is wrong at its end prints nothing.
// Tested by format_test.cc.
#include "helpers/format.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "helpers/bodies.h"

namespace lmn::helper {
namespace {

constexpr std::size_t kScratchBytes = 512;         // MAX_BPRINTF_BIN_ARGS
constexpr std::size_t kArgumentsMax = 12;          // MAX_BPRINTF_VARARGS
constexpr std::int64_t kWidthMax = (1 << 23) - 1;  // FIELD_WIDTH_MAX
constexpr std::int64_t kPointerDigits = 16;

// Letters, spaces and punctuation are the kernel's, which is Latin-1 (lib/ctype.c).
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) {
  if (is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return static_cast<std::uint8_t>(c) >= 0xc0 && c != '\xd7' && c != '\xf7';
}
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0'; }
bool is_punctuation(char c) {
  const bool is_printable = (c > ' ' && c <= '~') || static_cast<std::uint8_t>(c) > 0xa0;
  return is_printable && !is_alnum(c);
}
// What may stand in a format: everything but ASCII's control characters.
bool is_text(char c) {
  return static_cast<std::uint8_t>(c) >= 0x80 || (c >= ' ' && c <= '~') || is_space(c);
}
// What may follow a specifier that reads letters greedily; '\0' stands for the end.
bool ends_word(char c) { return c == '\0' || is_space(c) || is_punctuation(c); }

enum class Kind : std::uint8_t {
  kSigned,
  kUnsigned,
  kHexLower,
  kHexUpper,
  kChar,
  kString,        // %s
  kKernelString,  // %pks
  kUserString,    // %pus
  kDigest,        // %p %pK
  kRawPointer,    // %px
  kSymbol,        // %ps %pS
  kBacktrace,     // %pB
  kIpv4,
  kIpv4Padded,
  kIpv6,
  kIpv6Compact,
};

struct Specifier {
  Kind kind{};
  bool is_zero_padded = false;
  bool is_left = false;
  bool has_plus = false;
  bool has_space = false;
  bool is_64_bits = false;
  bool is_pointer = false;
  std::int64_t width = -1;       // -1: none given
  std::size_t format_bytes = 0;  // of the format, the % included
};

struct ScanResult {
  bool is_valid = false;
  Specifier specifier;
};

// Walks a format; past its end it reads zeros, as the kernel's terminated strings do.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  char at(std::size_t ahead = 0) const {
    return position_ + ahead < text_.size() ? text_[position_ + ahead] : '\0';
  }
  void advance(std::size_t by = 1) { position_ += by; }
  std::size_t position() const { return position_; }

 private:
  std::string_view text_;
  std::size_t position_ = 0;
};

// The part behind %p. False: no such pointer form.
bool scan_pointer(Cursor& at, Specifier& spec) {
  spec.is_64_bits = true;
  spec.is_pointer = true;
  const char form = at.at();
  if (ends_word(form)) {
    spec.kind = Kind::kDigest;
    return true;
  }
  if ((form == 'k' || form == 'u') && at.at(1) == 's') {
    spec.kind = form == 'k' ? Kind::kKernelString : Kind::kUserString;
    at.advance(2);
    return ends_word(at.at());
  }
  if (form == 'i' || form == 'I') {
    const char family = at.at(1);
    if (family != '4' && family != '6') return false;
    if (family == '4') spec.kind = form == 'I' ? Kind::kIpv4 : Kind::kIpv4Padded;
    if (family == '6') spec.kind = form == 'I' ? Kind::kIpv6 : Kind::kIpv6Compact;
    at.advance(2);
    return true;
  }
  switch (form) {
    case 'K':
      spec.kind = Kind::kDigest;
      break;
    case 'x':
      spec.kind = Kind::kRawPointer;
      break;
    case 's':
    case 'S':
      spec.kind = Kind::kSymbol;
      break;
    case 'B':
      spec.kind = Kind::kBacktrace;
      break;
    default:
      return false;
  }
  at.advance();
  return true;
}

// d i u x X behind their l. False: no such number form.
bool scan_number(Cursor& at, Specifier& spec) {
  for (int i = 0; i < 2 && at.at() == 'l'; ++i) {
    spec.is_64_bits = true;
    at.advance();
  }
  switch (at.at()) {
    case 'd':
    case 'i':
      spec.kind = Kind::kSigned;
      break;
    case 'u':
      spec.kind = Kind::kUnsigned;
      break;
    case 'x':
      spec.kind = Kind::kHexLower;
      break;
    case 'X':
      spec.kind = Kind::kHexUpper;
      break;
    default:
      return false;
  }
  at.advance();
  return true;
}

void scan_flags_and_width(Cursor& at, Specifier& spec) {
  for (bool more = true; more;) {
    switch (at.at()) {
      case '0':
        spec.is_zero_padded = true;
        break;
      case '-':
        spec.is_left = true;
        break;
      case '+':
        spec.has_plus = true;
        break;
      case ' ':
        spec.has_space = true;
        break;
      default:
        more = false;
        break;
    }
    if (more) at.advance();
  }
  if (!is_digit(at.at())) return;
  spec.width = 0;
  for (; is_digit(at.at()); at.advance()) {
    spec.width = std::min(kWidthMax, spec.width * 10 + (at.at() - '0'));
  }
}

// The specifier at the head of `rest`, which begins with '%' and not with "%%".
ScanResult scan_specifier(std::string_view rest) {
  ScanResult result;
  Specifier& spec = result.specifier;
  Cursor at(rest);
  at.advance();
  scan_flags_and_width(at, spec);
  switch (at.at()) {
    case 'p':
      at.advance();
      result.is_valid = scan_pointer(at, spec);
      break;
    case 's':
      at.advance();
      spec.kind = Kind::kString;
      result.is_valid = ends_word(at.at());
      break;
    case 'c':
      at.advance();
      spec.kind = Kind::kChar;
      result.is_valid = true;
      break;
    default:
      result.is_valid = scan_number(at, spec);
      break;
  }
  spec.format_bytes = at.position();
  return result;
}

// Text cut to a buffer, counting what did not fit.
class Writer {
 public:
  explicit Writer(std::span<char> out) : out_(out) {}
  void put(char c) {
    if (length_ < out_.size()) out_[length_] = c;
    ++length_;
  }
  void put(std::string_view text) {
    for (const char c : text) put(c);
  }
  void fill(char c, std::int64_t count) {
    for (; count > 0; --count) put(c);
  }
  std::size_t length() const { return length_; }
  bool is_full() const { return length_ >= out_.size(); }
  // The zero behind the text, over its last byte when it was cut.
  void terminate() {
    if (!out_.empty()) out_[std::min(length_, out_.size() - 1)] = '\0';
  }

 private:
  std::span<char> out_;
  std::size_t length_ = 0;
};

void write_ipv4(Writer& out, const std::uint8_t* bytes, bool is_padded) {
  for (int i = 0; i < 4; ++i) {
    if (i > 0) out.put('.');
    const int value = bytes[i];
    if (is_padded || value >= 100) out.put(static_cast<char>('0' + value / 100));
    if (is_padded || value >= 10) out.put(static_cast<char>('0' + value / 10 % 10));
    out.put(static_cast<char>('0' + value % 10));
  }
}

void write_ipv6(Writer& out, const std::uint8_t* bytes, bool has_colons) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (int i = 0; i < 16; ++i) {
    if (has_colons && i > 0 && i % 2 == 0) out.put(':');
    out.put(kHex[bytes[i] >> 4]);
    out.put(kHex[bytes[i] & 15]);
  }
}

void write_padded(Writer& out, const Specifier& spec, std::string_view text) {
  const auto pad = spec.width - static_cast<std::int64_t>(text.size());
  if (!spec.is_left) out.fill(' ', pad);
  out.put(text);
  if (spec.is_left) out.fill(' ', pad);
}

void write_number(Writer& out, const Specifier& spec, std::uint64_t value, unsigned base,
                  char sign) {
  const bool is_upper = spec.kind == Kind::kHexUpper;
  const std::string_view symbols = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::array<char, 24> digits;
  std::size_t first = digits.size();
  do {
    digits[--first] = symbols[value % base];
    value /= base;
  } while (value != 0);
  const std::string_view number(digits.data() + first, digits.size() - first);
  const auto used = static_cast<std::int64_t>(number.size()) + (sign != 0 ? 1 : 0);
  const std::int64_t pad = spec.width - used;
  const bool pads_with_zeros = spec.is_zero_padded && !spec.is_left;
  if (!pads_with_zeros && !spec.is_left) out.fill(' ', pad);
  if (sign != 0) out.put(sign);
  if (pads_with_zeros) out.fill('0', pad);
  out.put(number);
  if (spec.is_left) out.fill(' ', pad);
}

void write_signed(Writer& out, const Specifier& spec, std::uint64_t value) {
  const auto number = static_cast<std::int64_t>(value);
  char sign = spec.has_plus ? '+' : spec.has_space ? ' ' : '\0';
  if (number < 0) sign = '-';
  write_number(out, spec, number < 0 ? 0 - value : value, 10, sign);
}

// A pointer in hex, 16 digits wide unless a width was given.
void write_pointer(Writer& out, Specifier spec, std::uint64_t value) {
  if (spec.width < 0) {
    spec.width = kPointerDigits;
    spec.is_zero_padded = true;
  }
  write_number(out, spec, value, 16, '\0');
}

void write_symbol(Writer& out, const Specifier& spec, std::uint64_t value) {
  std::array<char, 24> text;
  Writer symbol(text);
  symbol.put("0x");
  write_number(symbol, Specifier{.kind = Kind::kHexLower}, value, 16, '\0');
  write_padded(out, spec, {text.data(), symbol.length()});
}

// What %p shows of an address: 32 bits that tell two addresses apart without saying where they are.
// Null and error values are shown as they are.
std::uint64_t digest(std::uint64_t address) {
  constexpr std::uint64_t kErrorValues = 4096;
  if (address == 0 || address > ~kErrorValues) return address;
  std::uint64_t z = address + 0x9e37'79b9'7f4a'7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebull;
  return (z ^ (z >> 31)) >> 32;
}

// The arguments of one format between the passes, in the order of their specifiers: numbers at
// their size and aligned to 4, texts with their zero. There are no positions in it: the second pass
// finds an argument by having read those before it, which shows in one place (see write_text).
class Scratch {
 public:
  // Pass one: checks `format` and packs `arguments`. 0 or a negative errno.
  int gather(const RunContext& context, std::string_view format,
             std::span<const std::uint64_t> arguments);
  // Pass two. REQUIRES: gather() gave 0 for the same format.
  void write(std::string_view format, Writer& out);

 private:
  int add(const RunContext& context, const Specifier& specifier, std::uint64_t value);
  int add_number(const Specifier& specifier, std::uint64_t value);
  int add_string(const RunContext& context, Kind kind, std::uint64_t address);
  int add_address(const RunContext& context, Kind kind, std::uint64_t address);
  void write_specifier(const Specifier& specifier, Writer& out);
  void write_text(Writer& out);
  std::uint64_t take_number(const Specifier& specifier);
  std::string_view text() const;

  void align() { position_ = (position_ + 3) / 4 * 4; }
  std::span<char> rest() { return std::span(bytes_).subspan(std::min(position_, bytes_.size())); }

  std::array<char, kScratchBytes> bytes_{};
  std::size_t position_ = 0;
};

std::size_t number_bytes(const Specifier& specifier) { return specifier.is_64_bits ? 8 : 4; }

int Scratch::gather(const RunContext& context, std::string_view format,
                    std::span<const std::uint64_t> arguments) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (!is_text(format[i])) return -EINVAL;
    if (format[i] != '%') continue;
    if (i + 1 < format.size() && format[i + 1] == '%') {
      ++i;
      continue;
    }
    if (count >= arguments.size()) return -EINVAL;
    const ScanResult scanned = scan_specifier(format.substr(i));
    if (!scanned.is_valid) return -EINVAL;
    if (const int error = add(context, scanned.specifier, arguments[count++])) return error;
    i += scanned.specifier.format_bytes - 1;
  }
  return 0;
}

int Scratch::add(const RunContext& context, const Specifier& specifier, std::uint64_t value) {
  switch (specifier.kind) {
    case Kind::kSigned:
    case Kind::kUnsigned:
    case Kind::kHexLower:
    case Kind::kHexUpper:
    case Kind::kDigest:
    case Kind::kRawPointer:
    case Kind::kSymbol:
      return add_number(specifier, value);
    case Kind::kChar:
      if (rest().empty()) return -ENOSPC;
      rest()[0] = static_cast<char>(value);
      ++position_;
      return 0;
    case Kind::kString:
    case Kind::kKernelString:
    case Kind::kUserString:
      return add_string(context, specifier.kind, value);
    case Kind::kBacktrace: {
      Writer text(rest());
      write_symbol(text, {}, value);
      text.terminate();
      position_ += text.length() + 1;
      return 0;
    }
    case Kind::kIpv4:
    case Kind::kIpv4Padded:
    case Kind::kIpv6:
    case Kind::kIpv6Compact:
      return add_address(context, specifier.kind, value);
  }
  return -EINVAL;
}

int Scratch::add_number(const Specifier& specifier, std::uint64_t value) {
  align();
  const std::size_t size = number_bytes(specifier);
  if (rest().size() < size) return -ENOSPC;
  std::memcpy(rest().data(), &value, size);  // little-endian: the low half of a short one
  position_ += size;
  return 0;
}

int Scratch::add_string(const RunContext& context, Kind kind, std::uint64_t address) {
  const std::span<char> out = rest();
  if (out.empty()) return -ENOSPC;
  std::size_t length = 0;
  if (kind != Kind::kUserString) {
    const auto bytes = std::span(reinterpret_cast<std::uint8_t*>(out.data()), out.size());
    const std::size_t readable = read_guest(context, address, bytes);
    const void* end = std::memchr(out.data(), 0, readable);
    if (end != nullptr) {
      length = static_cast<std::size_t>(static_cast<const char*>(end) - out.data());
    } else if (readable == out.size()) {
      length = readable - 1;
    }
    // Else the string runs out of readable memory: a fault, which prints nothing.
  }
  out[length] = '\0';
  position_ += length + 1;
  return 0;
}

int Scratch::add_address(const RunContext& context, Kind kind, std::uint64_t address) {
  const bool is_ipv4 = kind == Kind::kIpv4 || kind == Kind::kIpv4Padded;
  std::array<std::uint8_t, 16> bytes{};
  const auto wanted = std::span(bytes).first(is_ipv4 ? 4 : 16);
  if (rest().size() < wanted.size()) return -ENOSPC;
  if (read_guest(context, address, wanted) != wanted.size()) bytes.fill(0);
  Writer text(rest());
  if (is_ipv4) {
    write_ipv4(text, bytes.data(), kind == Kind::kIpv4Padded);
  } else {
    write_ipv6(text, bytes.data(), kind == Kind::kIpv6);
  }
  text.terminate();
  position_ += text.length() + 1;
  return 0;
}

void Scratch::write(std::string_view format, Writer& out) {
  position_ = 0;
  for (std::size_t i = 0; i < format.size();) {
    if (format[i] != '%') {
      out.put(format[i++]);
      continue;
    }
    if (i + 1 < format.size() && format[i + 1] == '%') {
      out.put('%');
      i += 2;
      continue;
    }
    const Specifier specifier = scan_specifier(format.substr(i)).specifier;
    i += specifier.format_bytes;
    write_specifier(specifier, out);
    // Letters and digits behind a pointer form belong to it ("%pI6c"), whatever they say.
    while (specifier.is_pointer && i < format.size() && is_alnum(format[i])) ++i;
  }
}

void Scratch::write_specifier(const Specifier& specifier, Writer& out) {
  switch (specifier.kind) {
    case Kind::kSigned:
      return write_signed(out, specifier, take_number(specifier));
    case Kind::kUnsigned:
      return write_number(out, specifier, take_number(specifier), 10, '\0');
    case Kind::kHexLower:
    case Kind::kHexUpper:
      return write_number(out, specifier, take_number(specifier), 16, '\0');
    case Kind::kDigest:
      return write_pointer(out, specifier, digest(take_number(specifier)));
    case Kind::kRawPointer:
      return write_pointer(out, specifier, take_number(specifier));
    case Kind::kSymbol:
      return write_symbol(out, specifier, take_number(specifier));
    case Kind::kChar: {
      const char c = rest().empty() ? '\0' : rest()[0];
      ++position_;
      return write_padded(out, specifier, {&c, 1});
    }
    case Kind::kString: {
      const std::string_view string = text();
      position_ += string.size() + 1;
      return write_padded(out, specifier, string);
    }
    case Kind::kKernelString:
    case Kind::kUserString:
    case Kind::kBacktrace:
    case Kind::kIpv4:
    case Kind::kIpv4Padded:
    case Kind::kIpv6:
    case Kind::kIpv6Compact:
      return write_text(out);
  }
}

// A pointer form that was made a text before its width was looked at. The kernel passes it over
// when the output is full: it is not counted, and the next argument is read from where it stands.
void Scratch::write_text(Writer& out) {
  if (out.is_full()) return;
  const std::string_view string = text();
  position_ += string.size() + 1;
  out.put(string);
}

std::uint64_t Scratch::take_number(const Specifier& specifier) {
  align();
  const std::size_t size = number_bytes(specifier);
  std::uint64_t value = 0;
  if (rest().size() >= size) std::memcpy(&value, rest().data(), size);
  position_ += size;
  return specifier.kind == Kind::kSigned && size == 4 ? result(as_s32(value)) : value;
}

// The text at the position, without its zero.
std::string_view Scratch::text() const {
  const std::string_view bytes(bytes_.data(), bytes_.size());
  const std::string_view from = bytes.substr(std::min(position_, bytes.size()));
  return from.substr(0, from.find('\0'));
}

}  // namespace

std::int64_t format_text(const RunContext& context, std::string_view format,
                         std::span<const std::uint64_t> arguments, std::span<char> out) noexcept {
  Scratch scratch;
  if (arguments.size() > kArgumentsMax) return -EINVAL;
  if (const int error = scratch.gather(context, format, arguments)) return error;
  Writer writer(out);
  scratch.write(format, writer);
  writer.terminate();
  return static_cast<std::int64_t>(writer.length());
}

}  // namespace lmn::helper
