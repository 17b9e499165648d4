// SPDX-License-Identifier: Apache-2.0
//
// Two passes over the format: the first checks it and gathers the arguments, the second writes.
//
// The passes share the Specifier, parsed by the same function, so that they cannot disagree. The
// first is all or nothing: a format that is wrong at its end prints nothing.
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

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_printable(char c) { return c >= ' ' && c <= '~'; }
bool is_punctuation(char c) { return is_printable(c) && c != ' ' && !is_alnum(c); }
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

// The arguments of one format, gathered: numbers and texts in the order of their specifiers.
class Scratch {
 public:
  // Pass one. 0 or a negative errno.
  int gather(const RunContext& context, std::string_view format,
             std::span<const std::uint64_t> arguments);
  // Pass two.
  void write(std::string_view format, Writer& out) const;

 private:
  struct Argument {
    Specifier specifier;
    std::uint64_t number = 0;
    std::string_view text;
  };

  int add(const RunContext& context, const Specifier& specifier, std::uint64_t value);
  int add_number(Argument& argument, std::uint64_t value);
  int add_string(const RunContext& context, Argument& argument, std::uint64_t address);
  int add_address(const RunContext& context, Argument& argument, std::uint64_t address);
  void keep_text(Argument& argument, const Writer& text);
  std::span<char> room() { return std::span(bytes_).subspan(std::min(used_, bytes_.size())); }

  std::array<char, kScratchBytes> bytes_;
  std::size_t used_ = 0;
  std::array<Argument, kArgumentsMax> arguments_;
  std::size_t count_ = 0;
};

int Scratch::gather(const RunContext& context, std::string_view format,
                    std::span<const std::uint64_t> arguments) {
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (!is_printable(format[i]) && !is_space(format[i])) return -EINVAL;
    if (format[i] != '%') continue;
    if (i + 1 < format.size() && format[i + 1] == '%') {
      ++i;
      continue;
    }
    if (count_ >= arguments.size()) return -EINVAL;
    const ScanResult scanned = scan_specifier(format.substr(i));
    if (!scanned.is_valid) return -EINVAL;
    if (const int error = add(context, scanned.specifier, arguments[count_])) return error;
    i += scanned.specifier.format_bytes - 1;
  }
  return 0;
}

int Scratch::add(const RunContext& context, const Specifier& specifier, std::uint64_t value) {
  Argument& argument = arguments_[count_++];
  argument.specifier = specifier;
  switch (specifier.kind) {
    case Kind::kSigned:
      return add_number(argument, specifier.is_64_bits ? value : result(as_s32(value)));
    case Kind::kUnsigned:
    case Kind::kHexLower:
    case Kind::kHexUpper:
      return add_number(argument, specifier.is_64_bits ? value : as_u32(value));
    case Kind::kDigest:
    case Kind::kRawPointer:
    case Kind::kSymbol:
      return add_number(argument, value);
    case Kind::kChar:
      if (room().empty()) return -ENOSPC;
      ++used_;
      argument.number = value;
      return 0;
    case Kind::kString:
    case Kind::kKernelString:
    case Kind::kUserString:
      return add_string(context, argument, value);
    case Kind::kBacktrace: {
      Writer text(room());
      write_symbol(text, {}, value);
      keep_text(argument, text);
      return 0;
    }
    case Kind::kIpv4:
    case Kind::kIpv4Padded:
    case Kind::kIpv6:
    case Kind::kIpv6Compact:
      return add_address(context, argument, value);
  }
  return -EINVAL;
}

int Scratch::add_number(Argument& argument, std::uint64_t value) {
  const std::size_t size = argument.specifier.is_64_bits ? 8 : 4;
  used_ = (used_ + 3) / 4 * 4;
  if (room().size() < size) return -ENOSPC;
  used_ += size;
  argument.number = value;
  return 0;
}

int Scratch::add_string(const RunContext& context, Argument& argument, std::uint64_t address) {
  const std::span<char> out = room();
  if (out.empty()) return -ENOSPC;
  std::size_t length = 0;
  if (argument.specifier.kind != Kind::kUserString) {
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
  argument.text = {out.data(), length};
  used_ += length + 1;
  return 0;
}

int Scratch::add_address(const RunContext& context, Argument& argument, std::uint64_t address) {
  const Kind kind = argument.specifier.kind;
  const bool is_ipv4 = kind == Kind::kIpv4 || kind == Kind::kIpv4Padded;
  std::array<std::uint8_t, 16> bytes{};
  const auto wanted = std::span(bytes).first(is_ipv4 ? 4 : 16);
  if (room().size() < wanted.size()) return -ENOSPC;
  if (read_guest(context, address, wanted) != wanted.size()) bytes.fill(0);
  Writer text(room());
  if (is_ipv4) {
    write_ipv4(text, bytes.data(), kind == Kind::kIpv4Padded);
  } else {
    write_ipv6(text, bytes.data(), kind == Kind::kIpv6);
  }
  keep_text(argument, text);
  return 0;
}

void Scratch::keep_text(Argument& argument, const Writer& text) {
  const std::span<char> out = room();
  const std::size_t kept = std::min(text.length(), out.empty() ? 0 : out.size() - 1);
  argument.text = {out.data(), kept};
  used_ += text.length() + 1;
}

void Scratch::write(std::string_view format, Writer& out) const {
  std::size_t next = 0;
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
    const Argument& argument = arguments_[next++];
    const Specifier& spec = argument.specifier;
    i += spec.format_bytes;
    bool is_pointer = true;
    switch (spec.kind) {
      case Kind::kSigned:
        write_signed(out, spec, argument.number);
        is_pointer = false;
        break;
      case Kind::kUnsigned:
        write_number(out, spec, argument.number, 10, '\0');
        is_pointer = false;
        break;
      case Kind::kHexLower:
      case Kind::kHexUpper:
        write_number(out, spec, argument.number, 16, '\0');
        is_pointer = false;
        break;
      case Kind::kChar: {
        const char c = static_cast<char>(argument.number);
        write_padded(out, spec, {&c, 1});
        is_pointer = false;
        break;
      }
      case Kind::kString:
        write_padded(out, spec, argument.text);
        break;
      case Kind::kDigest:
        write_pointer(out, spec, digest(argument.number));
        break;
      case Kind::kRawPointer:
        write_pointer(out, spec, argument.number);
        break;
      case Kind::kSymbol:
        write_symbol(out, spec, argument.number);
        break;
      // These were made texts before the width was looked at.
      case Kind::kKernelString:
      case Kind::kUserString:
      case Kind::kBacktrace:
      case Kind::kIpv4:
      case Kind::kIpv4Padded:
      case Kind::kIpv6:
      case Kind::kIpv6Compact:
        out.put(argument.text);
        break;
    }
    // Letters and digits behind a pointer form belong to it ("%pI6c"), whatever they say.
    while (is_pointer && i < format.size() && is_alnum(format[i])) ++i;
  }
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
