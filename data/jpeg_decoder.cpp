#include "data/jpeg_decoder.h"

#include <atomic>

#include <fmt/format.h>

#include "kernels/error.h"

#ifdef GLASSNET_TURBOJPEG
#include <turbojpeg.h>
#endif

namespace glassnet {
namespace {

#ifdef GLASSNET_TURBOJPEG
constexpr bool kHasTurbo = true;
#else
constexpr bool kHasTurbo = false;
#endif

std::atomic<JpegDecoder> chosen = kHasTurbo ? JpegDecoder::kTurbo : JpegDecoder::kStb;

}  // namespace

const char* name_of(JpegDecoder decoder) {
  return decoder == JpegDecoder::kTurbo ? "turbo" : "stb";
}

bool has_turbo() {
  return kHasTurbo;
}

void set_jpeg_decoder(JpegDecoder decoder) {
  if (decoder == JpegDecoder::kTurbo && !kHasTurbo) {
    throw UsageError(
        "this program was built without libjpeg-turbo, which decodes JPEGs for --decoder turbo; "
        "build it with Debian's libturbojpeg0-dev, or choose stb where nothing was begun with "
        "turbo");
  }
  chosen = decoder;
}

JpegDecoder jpeg_decoder() {
  return chosen;
}

JpegDecoder parse_jpeg_decoder(const std::string& name) {
  if (name == "auto") return kHasTurbo ? JpegDecoder::kTurbo : JpegDecoder::kStb;
  if (name == "turbo") return JpegDecoder::kTurbo;
  if (name == "stb") return JpegDecoder::kStb;
  throw UsageError(fmt::format("there is no decoder '{}'; choose auto, turbo or stb", name));
}

#ifdef GLASSNET_TURBOJPEG
namespace {

// The library's working memory, one for each thread that decodes.
class Decompressor {
 public:
  Decompressor() : handle_(tjInitDecompress()) {}
  ~Decompressor() {
    if (handle_ != nullptr) tjDestroy(handle_);
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  tjhandle get() const { return handle_; }

 private:
  tjhandle handle_;
};

}  // namespace

bool decode_by_turbo(std::span<const uint8_t> bytes, Image& image) {
  thread_local const Decompressor decompressor;
  const tjhandle handle = decompressor.get();
  if (handle == nullptr) return false;
  // A size or inks other than those expected would be written past the end, or scaled.
  int width = 0, height = 0, sampling = 0, colors = 0;
  const auto size = static_cast<unsigned long>(bytes.size());
  return tjDecompressHeader3(handle, bytes.data(), size, &width, &height, &sampling, &colors) ==
             0 &&
         width == image.width && height == image.height && colors != TJCS_CMYK &&
         colors != TJCS_YCCK &&
         tjDecompress2(handle, bytes.data(), size, image.rgb.data(), width, /*pitch=*/0, height,
                       TJPF_RGB, TJFLAG_ACCURATEDCT) == 0;
}
#else
bool decode_by_turbo(std::span<const uint8_t>, Image&) {
  return false;
}
#endif

}  // namespace glassnet
