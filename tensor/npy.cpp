#include "tensor/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "kernels/error.h"
#include "tensor/file.h"

static_assert(std::endian::native == std::endian::little, "elements are written as they lie");

namespace glassnet {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kAlignment = 64;

// What an element is called in a header ("<f4"), and how its file form becomes a tensor.
struct ElementForm {
  std::string_view descr;
  DType type;
  size_t file_bytes;
};
constexpr std::array<ElementForm, 7> kForms = {{
    {"<f4", DType::kFloat32, 4},
    {"<f8", DType::kFloat64, 8},
    {"<f2", DType::kFloat16, 2},
    {"|u1", DType::kUInt8, 1},
    {"<i8", DType::kInt64, 8},
    {"<i4", DType::kInt64, 4},
    {"|b1", DType::kUInt8, 1},
}};

const ElementForm& form_of(DType type, const std::filesystem::path& path) {
  const auto form = std::ranges::find(kForms, type, &ElementForm::type);
  require(form != kForms.end(), [&] {
    return fmt::format("{}: NumPy has no {}; convert the tensor to float32 first", path.string(),
                       name_of(type));
  });
  return *form;
}

std::string header_of(const ElementForm& form, const Shape& shape) {
  // Shape::str is how Python prints a tuple.
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
                                 form.descr, shape.str());
  const size_t prefix = kMagic.size() + 4;
  const size_t unpadded = prefix + text.size() + 1;
  text.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  text += '\n';
  std::string header(kMagic);
  header +=
      {'\x01', '\x00', static_cast<char>(text.size() & 0xff), static_cast<char>(text.size() >> 8)};
  return header + text;
}

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Reads the header's Python dictionary, of which only three keys with literal values may exist.
//
// CONVENTION: rest_ is what has not been read yet; every `take` skips blanks before it.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : rest_(text), name_(name) {}

  Header parse() {
    std::optional<std::string> descr;
    std::optional<bool> fortran_order;
    std::optional<std::vector<int64_t>> shape;
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = string();
      } else if (key == "fortran_order" && !fortran_order) {
        fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = tuple();
      } else {
        fail(fmt::format("its header has an unknown or repeated key '{}'", key));
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!rest_.empty()) fail("its header goes on after the dictionary");
    if (!descr || !fortran_order || !shape) {
      fail("its header lacks one of 'descr', 'fortran_order' and 'shape'");
    }
    return {*descr, *fortran_order, *shape};
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: not a readable .npy file: {}", name_, what));
  }
  void skip_blanks() {
    const size_t first = rest_.find_first_not_of(" \t\r\n");
    rest_.remove_prefix(std::min(first, rest_.size()));
  }
  bool take(char wanted) {
    skip_blanks();
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail(fmt::format("its header lacks a '{}' where one is due", wanted));
  }
  std::string string() {
    skip_blanks();
    const char quote = rest_.empty() ? '\0' : rest_.front();
    const size_t end = quote == '\'' || quote == '"' ? rest_.find(quote, 1) : rest_.npos;
    // The array of descriptions of a structured type lands here as well.
    if (end == rest_.npos) fail("its header lacks a string where one is due");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair{"True", true}, std::pair{"False", false}}) {
      if (rest_.starts_with(word)) {
        rest_.remove_prefix(std::strlen(word));
        return value;
      }
    }
    fail("its 'fortran_order' is neither True nor False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> dims;
    expect('(');
    while (!take(')')) {
      dims.push_back(extent());
      if (!take(',')) {
        // (3) is a number in Python, only (3,) is a tuple.
        if (dims.size() == 1) fail("its 'shape' is not a tuple");
        expect(')');
        break;
      }
    }
    return dims;
  }
  int64_t extent() {
    skip_blanks();
    int64_t value = 0;
    size_t digits = 0;
    for (; digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9'; ++digits) {
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, rest_[digits] - '0', &value)) {
        fail("its 'shape' has an extent that no memory could hold");
      }
    }
    if (digits == 0) fail("its 'shape' has something other than whole numbers of at least 0");
    rest_.remove_prefix(digits);
    return value;
  }

  std::string_view rest_;
  const std::string& name_;
};

}  // namespace

void save_npy(const std::filesystem::path& path, const Tensor& tensor) {
  require(tensor.defined(),
          [&] { return fmt::format("{}: there is no tensor to write", path.string()); });
  const ElementForm& form = form_of(tensor.dtype(), path);
  const Tensor host = tensor.to(Device{});
  const std::string header = header_of(form, host.shape());
  AtomicFile file(path);
  file.write(header.data(), header.size());
  file.write(host.raw(), host.bytes());
  file.commit();
}

Tensor load_npy(const std::filesystem::path& path) {
  return parse_npy(read_file(path), path.string());
}

Tensor parse_npy(std::string_view bytes, const std::string& name) {
  const auto check = [&](bool holds, const std::string& what) {
    require(holds, [&] { return fmt::format("{}: not a readable .npy file: {}", name, what); });
  };
  check(bytes.starts_with(kMagic), "it does not begin with \\x93NUMPY");
  check(bytes.size() >= kMagic.size() + 4, "it ends inside its header");
  const int version = static_cast<uint8_t>(bytes[kMagic.size()]);
  check(version >= 1 && version <= 3, fmt::format("its version {} is not 1, 2 or 3", version));

  // Version 1 tells the header's length in two bytes, the later ones in four.
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t header_begin = kMagic.size() + 2 + length_bytes;
  check(bytes.size() >= header_begin, "it ends inside its header");
  size_t header_size = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    header_size |= size_t{static_cast<uint8_t>(bytes[kMagic.size() + 2 + i])} << (8 * i);
  }
  check(header_size <= bytes.size() - header_begin, "it ends inside its header");
  const Header header = HeaderParser(bytes.substr(header_begin, header_size), name).parse();

  const auto form = std::ranges::find(kForms, header.descr, &ElementForm::descr);
  check(form != kForms.end(),
        fmt::format("its elements are '{}'; float16, float32, float64, uint8, bool, int32 and "
                    "int64 in little endian are read",
                    header.descr));
  check(!header.fortran_order, "it is in Fortran order; save numpy.ascontiguousarray(a) instead");
  check(header.shape.size() <= Shape::kMaxRank,
        fmt::format("it has {} axes, {} are the most", header.shape.size(), Shape::kMaxRank));

  // Extents of 0 are left out of the product, so that no order of multiplication overflows later.
  int64_t product = 1;
  bool overflow = false;
  for (const int64_t extent : header.shape) {
    overflow |= extent != 0 && __builtin_mul_overflow(product, extent, &product);
  }
  overflow |= product > std::numeric_limits<int64_t>::max() / 8;
  check(!overflow, "its 'shape' has more elements than any memory could hold");
  const Shape shape(header.shape);
  const std::string_view elements = bytes.substr(header_begin + header_size);
  const size_t expected = static_cast<size_t>(shape.numel()) * form->file_bytes;
  check(elements.size() == expected,
        fmt::format("shape {} of '{}' takes {} bytes, it holds {}", shape.str(), header.descr,
                    expected, elements.size()));

  Tensor result = Tensor::empty(shape, form->type);
  if (header.descr == "<i4") {
    int64_t* out = result.data<int64_t>();
    for (int64_t i = 0; i < shape.numel(); ++i) {
      int32_t value;
      std::memcpy(&value, elements.data() + 4 * i, 4);
      out[i] = value;
    }
  } else if (expected > 0) {
    std::memcpy(result.raw(), elements.data(), expected);
  }
  return result;
}

}  // namespace glassnet
