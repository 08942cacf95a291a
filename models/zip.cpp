#include "models/zip.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <utility>

#include <fmt/format.h>

#define ZLIB_CONST  // what zlib only reads is const
#include <minizip/unzip.h>
#include <minizip/zip.h>
#include <zlib.h>

#include "kernels/cpu/parallel.h"
#include "kernels/error.h"
#include "models/shown.h"

namespace glassnet {
namespace {

// The most that zlib and minizip, which count in 32 bits, are given at once.
constexpr uint64_t kChunk = uint64_t{1} << 30;

// --- reading -------------------------------------------------------------------------------------

constexpr size_t kMostEntries = size_t{1} << 15;
constexpr uint64_t kMostOfDeflate = 1032;  // 258 bytes from two bits
constexpr size_t kLongestName = 65535;
constexpr uLong kEncrypted = 1;          // a flag
constexpr uint64_t kWide = 0xffff'ffff;  // stands for a number of 64 bits elsewhere

// Bytes in memory, as minizip reads them.
struct Input {
  std::string_view bytes;
  uint64_t at = 0;

  static voidpf open(voidpf input, const void*, int) { return input; }
  static uLong read(voidpf, voidpf stream, void* out, uLong count) {
    auto& input = *static_cast<Input*>(stream);
    const size_t copied = input.bytes.copy(static_cast<char*>(out), count, input.at);
    input.at += copied;
    return copied;
  }
  static ZPOS64_T tell(voidpf, voidpf stream) { return static_cast<Input*>(stream)->at; }
  static long seek(voidpf, voidpf stream, ZPOS64_T offset, int origin) {
    auto& input = *static_cast<Input*>(stream);
    if (origin == ZLIB_FILEFUNC_SEEK_CUR) offset += input.at;  // wraps: also backwards
    if (origin == ZLIB_FILEFUNC_SEEK_END) offset += input.bytes.size();
    if (offset > input.bytes.size()) return -1;
    input.at = offset;
    return 0;
  }
  static int close(voidpf, voidpf) { return 0; }
  static int error(voidpf, voidpf) { return 0; }
};

// minizip's view of an archive, for as long as its directory is read.
class Directory {
 public:
  explicit Directory(std::string_view bytes) : input_{bytes} {
    zlib_filefunc64_def functions = {.zopen64_file = Input::open,
                                     .zread_file = Input::read,
                                     .zwrite_file = nullptr,
                                     .ztell64_file = Input::tell,
                                     .zseek64_file = Input::seek,
                                     .zclose_file = Input::close,
                                     .zerror_file = Input::error,
                                     .opaque = &input_};
    archive = unzOpen2_64(nullptr, &functions);
  }
  ~Directory() {
    if (archive != nullptr) unzClose(archive);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  unzFile archive = nullptr;  // none: there is no directory

 private:
  Input input_;
};

// Where the current entry's bytes begin, its two headers compared; nothing when they differ.
std::optional<uint64_t> begin_of_current(unzFile archive) {
  int method = 0, level = 0;
  constexpr int kRaw = 1;
  if (unzOpenCurrentFile2(archive, &method, &level, kRaw) != UNZ_OK) return std::nullopt;
  const uint64_t begin = unzGetCurrentFileZStreamPos64(archive);
  unzCloseCurrentFile(archive);
  return begin;
}

// Whether the record that closes an archive is there to its last byte. minizip takes what is
// missing of it for zeros.
bool is_closed(std::string_view bytes) {
  constexpr std::string_view kSignature = "PK\x05\x06";
  constexpr size_t kBytes = 22;  // the last two of them are the length of a comment that follows
  const size_t begin = bytes.rfind(kSignature);
  if (begin == std::string_view::npos || bytes.size() - begin < kBytes) return false;
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(bytes[begin + at]); };
  return bytes.size() - begin - kBytes == byte(20) + 256U * byte(21);
}

// Whether a path leads out of the folder that an archive is unpacked to. None is, here.
bool leads_out(std::string_view path) {
  return path.starts_with('/') || path == ".." || path.starts_with("../") ||
         path.ends_with("/..") || path.find("/../") != std::string_view::npos;
}

// Whether the bytes expand to exactly `size` bytes, at `out`.
bool inflate_all(std::string_view bytes, char* out, uint64_t size) {
  z_stream stream = {};
  constexpr int kWithoutHeader = -MAX_WBITS;
  if (inflateInit2(&stream, kWithoutHeader) != Z_OK) return false;
  int status = Z_OK;
  const char* next = bytes.data();
  uint64_t left = bytes.size(), room = size;
  stream.next_out = reinterpret_cast<Bytef*>(out);
  while (status == Z_OK) {
    if (stream.avail_in == 0) {
      stream.next_in = reinterpret_cast<const Bytef*>(next);
      stream.avail_in = static_cast<uInt>(std::min(left, kChunk));
      next += stream.avail_in;
      left -= stream.avail_in;
    }
    if (stream.avail_out == 0) {
      stream.avail_out = static_cast<uInt>(std::min(room, kChunk));
      room -= stream.avail_out;
    }
    status = ::inflate(&stream, Z_NO_FLUSH);  // not Z_OK either when it makes no progress
  }
  inflateEnd(&stream);
  return status == Z_STREAM_END && room == 0 && stream.avail_out == 0;
}

uint32_t crc_of(std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

uint64_t most_contents(uint64_t file_bytes) {
  constexpr uint64_t kUnsuspicious = uint64_t{32} << 20, kMostGrowth = 40;
  return std::max(kUnsuspicious, kMostGrowth * file_bytes);
}

void ZipReader::refuse(const std::string& what) const {
  throw Error(fmt::format("{}: {}", name_, what));
}

ZipReader::ZipReader(const std::string& name, const SharedBytes& file)
    : name_(name), bytes_(file.bytes), owners_{file.owner} {
  const Directory directory(bytes_);
  if (directory.archive == nullptr || !is_closed(bytes_)) {
    refuse("this zip archive is cut short or damaged: it has no directory");
  }
  std::string text(kLongestName + 1, '\0');
  int status = unzGoToFirstFile(directory.archive);
  for (; status == UNZ_OK; status = unzGoToNextFile(directory.archive)) {
    if (entries_.size() == kMostEntries) {
      refuse(fmt::format("its zip archive has more than {} entries", kMostEntries));
    }
    unz_file_info64 info = {};
    if (unzGetCurrentFileInfo64(directory.archive, &info, text.data(), text.size(), nullptr, 0,
                                nullptr, 0) != UNZ_OK) {
      break;
    }
    const std::string entry = text.substr(0, info.size_filename);
    if (leads_out(entry)) {
      refuse(fmt::format("its zip entry {} leads out of the archive", shown(entry)));
    }
    if ((info.flag & kEncrypted) != 0) {
      refuse(fmt::format("its zip entry {} is encrypted", shown(entry)));
    }
    if (info.compression_method != 0 && info.compression_method != Z_DEFLATED) {
      refuse(
          fmt::format("its zip entry {} is compressed by method {}, expected 0 (stored) or 8 "
                      "(deflated)",
                      shown(entry), info.compression_method));
    }
    const std::optional<uint64_t> begin = begin_of_current(directory.archive);
    if (!begin) {
      // Debian's minizip 1.1 overlooks the directory's numbers of 64 bits.
      const bool wide =
          bytes_.size() > kWide || info.uncompressed_size == kWide || info.compressed_size == kWide;
      refuse(fmt::format("its zip entry {} {}", shown(entry),
                         wide ? "lies beyond 4 GiB, where minizip does not read it: expected a "
                                "smaller file, or safetensors"
                              : "is damaged: its header is not what the directory says"));
    }
    const bool added = entries_
                           .try_emplace(entry, Entry{.size = info.uncompressed_size,
                                                     .begin = *begin,
                                                     .stored_size = info.compressed_size,
                                                     .crc = static_cast<uint32_t>(info.crc),
                                                     .deflated = info.compression_method != 0})
                           .second;
    if (!added) refuse(fmt::format("its zip archive has two entries {}", shown(entry)));
  }
  if (status != UNZ_END_OF_LIST_OF_FILE) {
    refuse(fmt::format("its zip archive's directory is damaged after {} entries", entries_.size()));
  }
  check_sizes();
  check_overlaps();
}

void ZipReader::check_sizes() const {
  const uint64_t most = most_contents(bytes_.size());
  uint64_t total = 0;
  for (const auto& [name, entry] : entries_) {
    if (entry.begin > bytes_.size() || entry.stored_size > bytes_.size() - entry.begin) {
      refuse(
          fmt::format("its zip entry {} is cut short: it takes {} bytes from byte {} on, and the "
                      "file has {}",
                      shown(name), entry.stored_size, entry.begin, bytes_.size()));
    }
    const bool possible = entry.deflated ? entry.size / kMostOfDeflate <= entry.stored_size
                                         : entry.size == entry.stored_size;
    if (!possible) {
      refuse(fmt::format("its zip entry {} is damaged: {} bytes cannot hold {}", shown(name),
                         entry.stored_size, entry.size));
    }
    total += std::min(entry.size, most + 1);
    if (total > most) {
      refuse(
          fmt::format("its zip archive expands to more than {} bytes, which weights do not", most));
    }
  }
}

void ZipReader::check_overlaps() const {
  std::vector<std::pair<uint64_t, const std::string*>> begins;
  for (const auto& [name, entry] : entries_) {
    if (entry.stored_size > 0) begins.emplace_back(entry.begin, &name);
  }
  std::sort(begins.begin(), begins.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 1; i < begins.size(); ++i) {
    const auto& [begin, name] = begins[i - 1];
    if (begins[i].first - begin < entries_.at(*name).stored_size) {
      refuse(
          fmt::format("its zip entries {} and {} overlap", shown(*name), shown(*begins[i].second)));
    }
  }
}

void ZipReader::check_ahead(std::string_view folder) {
  struct Piece {
    Entry* entry;
    std::string_view bytes;
    uint32_t crc = 0;
  };
  constexpr size_t kPiece = size_t{1} << 18;
  std::vector<Piece> pieces;
  for (auto& [name, entry] : entries_) {
    if (!name.starts_with(folder) || entry.deflated || entry.contents) continue;
    const std::string_view contents = bytes_.substr(entry.begin, entry.stored_size);
    for (size_t at = 0; at < contents.size(); at += kPiece) {
      pieces.push_back({&entry, contents.substr(at, kPiece)});
    }
  }
  kernels::parallel_tasks(static_cast<int64_t>(pieces.size()), /*worthwhile=*/true, [&](int64_t i) {
    Piece& piece = pieces[static_cast<size_t>(i)];
    piece.crc = crc_of(piece.bytes);
  });
  for (auto piece = pieces.begin(); piece != pieces.end();) {
    Entry* const entry = piece->entry;
    uLong crc = 0;
    for (; piece != pieces.end() && piece->entry == entry; ++piece) {
      crc = crc32_combine(crc, piece->crc, static_cast<z_off_t>(piece->bytes.size()));
    }
    if (crc == entry->crc) entry->contents = bytes_.substr(entry->begin, entry->stored_size);
  }
}

std::string_view ZipReader::read(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    refuse(fmt::format("its zip archive has no entry {}", shown(name)));
  }
  Entry& entry = found->second;
  if (entry.contents) return *entry.contents;

  std::string_view contents = bytes_.substr(entry.begin, entry.stored_size);
  if (entry.deflated) {
    const auto memory = std::make_shared_for_overwrite<char[]>(entry.size);
    if (!inflate_all(contents, memory.get(), entry.size)) {
      refuse(fmt::format("its zip entry {} is damaged: it does not inflate to {} bytes",
                         shown(name), entry.size));
    }
    contents = {memory.get(), entry.size};
    owners_.push_back(memory);
  }
  if (crc_of(contents) != entry.crc) {
    refuse(fmt::format("its zip entry {} is damaged: its checksum is wrong", shown(name)));
  }
  entry.contents = contents;
  return contents;
}

// --- writing -------------------------------------------------------------------------------------

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kLocalHeaderBytes = 30;
constexpr uint64_t kExtraHeaderBytes = 4;  // an identifier and a length, two bytes each
constexpr uint64_t kZip64ExtraBytes = 20;  // which minizip adds behind ours
constexpr uLong kFirstOfJanuary1980 = 0x0021'0000;
constexpr uLong kNamesAreUtf8 = 1 << 11;  // a flag

// An extra field, of a kind that nobody knows, that takes `bytes` bytes.
std::string padding_of(uint64_t bytes) {
  const auto length = static_cast<char>(bytes - kExtraHeaderBytes);
  std::string field(bytes, '\0');
  field[0] = 'F';
  field[1] = 'B';
  field[2] = length;
  return field;
}

}  // namespace

// A file, as minizip writes it. An exception cannot pass through minizip: it waits here.
struct ZipWriter::Output {
  AtomicFile& file;
  uint64_t at = 0, size = 0;
  std::exception_ptr failure = nullptr;

  static voidpf open(voidpf output, const void*, int) { return output; }
  static uLong write(voidpf, voidpf stream, const void* data, uLong count) {
    auto& output = *static_cast<Output*>(stream);
    if (output.failure) return 0;
    try {
      output.file.write(data, count);
    } catch (...) {
      output.failure = std::current_exception();
      return 0;
    }
    output.at += count;
    output.size = std::max(output.size, output.at);
    return count;
  }
  static ZPOS64_T tell(voidpf, voidpf stream) { return static_cast<Output*>(stream)->at; }
  static long seek(voidpf, voidpf stream, ZPOS64_T offset, int origin) {
    auto& output = *static_cast<Output*>(stream);
    if (output.failure) return -1;
    if (origin == ZLIB_FILEFUNC_SEEK_CUR) offset += output.at;
    if (origin == ZLIB_FILEFUNC_SEEK_END) offset += output.size;
    try {
      output.file.seek(offset);
    } catch (...) {
      output.failure = std::current_exception();
      return -1;
    }
    output.at = offset;
    return 0;
  }
  static int close(voidpf, voidpf) { return 0; }
  static int error(voidpf, voidpf) { return 0; }
};

ZipWriter::ZipWriter(AtomicFile& file) : output_(new Output{file}) {
  zlib_filefunc64_def functions = {.zopen64_file = Output::open,
                                   .zread_file = nullptr,
                                   .zwrite_file = Output::write,
                                   .ztell64_file = Output::tell,
                                   .zseek64_file = Output::seek,
                                   .zclose_file = Output::close,
                                   .zerror_file = Output::error,
                                   .opaque = output_.get()};
  archive_ = zipOpen2_64(nullptr, APPEND_STATUS_CREATE, nullptr, &functions);
  check(archive_ != nullptr ? ZIP_OK : ZIP_INTERNALERROR);
}

ZipWriter::~ZipWriter() {
  if (archive_ == nullptr) return;
  // What is unfinished is not worth a directory.
  if (!output_->failure) output_->failure = std::make_exception_ptr(Error("unfinished"));
  zipClose(archive_, nullptr);
}

void ZipWriter::check(int status) const {
  if (output_->failure) std::rethrow_exception(output_->failure);
  require(status == ZIP_OK,
          [&] { return fmt::format("[zip] writing an archive failed with code {}", status); });
}

void ZipWriter::add(const std::string& entry, const void* data, size_t bytes) {
  const bool zip64 = bytes >= std::numeric_limits<uint32_t>::max();
  const uint64_t least = output_->at + kLocalHeaderBytes + entry.size() + kExtraHeaderBytes +
                         (zip64 ? kZip64ExtraBytes : 0);
  const std::string padding =
      padding_of(kExtraHeaderBytes + (kAlignment - least % kAlignment) % kAlignment);
  const zip_fileinfo info = {.dosDate = kFirstOfJanuary1980};
  check(zipOpenNewFileInZip4_64(archive_, entry.c_str(), &info, padding.data(),
                                static_cast<uInt>(padding.size()), nullptr, 0, nullptr, 0, 0, 0,
                                -MAX_WBITS, DEF_MEM_LEVEL, Z_DEFAULT_STRATEGY, nullptr, 0, 0,
                                kNamesAreUtf8, zip64 ? 1 : 0));
  const char* next = static_cast<const char*>(data);
  for (uint64_t left = bytes; left > 0;) {
    const auto count = static_cast<unsigned>(std::min(left, kChunk));
    check(zipWriteInFileInZip(archive_, next, count));
    next += count;
    left -= count;
  }
  check(zipCloseFileInZip(archive_));
}

void ZipWriter::finish() {
  check(zipClose(std::exchange(archive_, nullptr), nullptr));
}

}  // namespace glassnet
