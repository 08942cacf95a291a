// write_scenes(): draws on all cores into a hidden folder, then moves what is finished into place.
#include <fcntl.h>
#include <fmt/format.h>
#include <stb/stb_image_write.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <fstream>
#include <mutex>
#include <string_view>
#include <thread>

#include "data/scenes.h"
#include "kernels/error.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;

constexpr int kJpegQuality = 90;
constexpr const char* kMarker = "scenes.json";
constexpr const char* kStage = ".scenes-unfinished";
constexpr std::string_view kMadeBy = "glassnet scenes";
constexpr std::array kParts = {"train", "test", "masks"};

// Test scenes are numbered far behind any training scene, so that a larger training set still never
// meets the test set.
constexpr uint64_t kFirstTestIndex = uint64_t{1} << 32;

std::string marker_of(const ScenesOptions& options) {
  return fmt::format(
      "{{\n  \"made_by\": \"{}\",\n  \"train_per_class\": {},\n"
      "  \"test_per_class\": {},\n  \"size\": {},\n  \"seed\": {}\n}}\n",
      kMadeBy, options.train_per_class, options.test_per_class, options.size, options.seed);
}

// Empty where there is none.
std::string marker_in(const fs::path& dir) {
  std::ifstream file(dir / kMarker, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void check_target(const fs::path& dir, const ScenesOptions& options) {
  if (options.train_per_class < 0 || options.test_per_class < 0 ||
      options.train_per_class + options.test_per_class == 0)
    throw UsageError(fmt::format(
        "[write_scenes] {} training and {} test pictures a class cannot be drawn; ask for one or "
        "more",
        options.train_per_class, options.test_per_class));
  if (!fs::exists(dir)) return;
  if (!fs::is_directory(dir))
    throw UsageError(fmt::format("{}: this is a file; name a folder for the scenes", dir.string()));
  if (const std::string marker = marker_in(dir); marker.find(kMadeBy) != std::string::npos) {
    if (options.replace || marker == marker_of(options)) return;
    throw UsageError(fmt::format(
        "{}: the folder holds scenes drawn with other options, which its {} tells; name another "
        "one, or replace them with --replace",
        dir.string(), kMarker));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
    const std::string name = entry.path().filename().string();
    if (name == kStage) continue;  // of a run that was cut short
    if (!options.beside_others)
      throw UsageError(fmt::format(
          "{}: the folder holds files that are no drawn scenes, such as {}; name an empty or a new "
          "folder",
          dir.string(), name));
    if (std::find(kParts.begin(), kParts.end(), name) != kParts.end() || name == kMarker)
      throw UsageError(fmt::format(
          "{}: the folder has a {} of its own, which drawn scenes would replace; name another one",
          dir.string(), name));
  }
}

void write_bytes(const fs::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  require(file.good(), [&] {
    return fmt::format("{}: the file cannot be written; is the disk full?", path.string());
  });
}

void append_bytes(void* context, void* data, int size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
}

void write_jpeg(const fs::path& path, const Image& image) {
  write_bytes(path, encode_jpeg(image, kJpegQuality, path.string()));
}

void write_mask(const fs::path& path, const Scene& scene) {
  std::string bytes;
  stbi_write_png_to_func(append_bytes, &bytes, scene.image.width, scene.image.height, 1,
                         scene.mask.data(), scene.image.width);
  write_bytes(path, bytes);
}

// Goes with all that is in it when something throws.
struct Stage {
  fs::path dir, path;
  bool dir_is_new;

  explicit Stage(const fs::path& dir_)
      : dir(dir_), path(dir_ / kStage), dir_is_new(fs::create_directories(dir_)) {
    fs::remove_all(path);
    fs::create_directory(path);
  }
  ~Stage() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
    if (dir_is_new) fs::remove(dir, ignored);  // only if it is empty
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
};

void draw_all(const fs::path& stage, const ScenesOptions& options, const ScenesProgress& progress) {
  const auto classes = static_cast<int64_t>(scene_classes().size());
  const int64_t train = classes * options.train_per_class;
  const int64_t total = train + classes * options.test_per_class;
  std::atomic<int64_t> next = 0;
  std::mutex mutex;  // guards what follows, and calls of `progress`
  int64_t done = 0;
  std::exception_ptr failure;
  const auto work = [&] {
    for (int64_t i = next++; i < total; i = next++) try {
        const bool test = i >= train;
        const int64_t item = test ? i - train : i;
        const auto label = static_cast<int>(item % classes);
        const int64_t index = item / classes;
        const Scene scene =
            draw_scene(label, options.seed,
                       static_cast<uint64_t>(index) + (test ? kFirstTestIndex : 0), options.size);
        const fs::path folder = fs::path(test ? "test" : "train") / scene_classes()[label];
        const std::string stem = fmt::format("{:05}", index + 1);
        write_jpeg(stage / folder / (stem + ".jpg"), scene.image);
        write_mask(stage / "masks" / folder / (stem + ".png"), scene);
        const std::lock_guard lock(mutex);
        ++done;
        if (progress) progress(done, total);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = total;
      }
  };
  {
    const auto threads = std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, total);
    std::vector<std::jthread> workers;
    for (int64_t i = 1; i < threads; ++i) workers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

// One call for thousands of files; an fsync for each would take longer than drawing them.
void flush_to_disk(const fs::path& folder) {
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool flushed = file >= 0 && syncfs(file) == 0;
  if (file >= 0) close(file);
  require(flushed, [&] {
    return fmt::format("{}: the scenes cannot be written to the disk; is it full?",
                       folder.string());
  });
}

}  // namespace

void write_scenes(const fs::path& dir, const ScenesOptions& options,
                  const ScenesProgress& progress) try {
  check_target(dir, options);
  const Stage stage(dir);
  for (const std::string& name : scene_classes())
    for (const fs::path& top : {stage.path, stage.path / "masks"}) {
      if (options.train_per_class > 0) fs::create_directories(top / "train" / name);
      if (options.test_per_class > 0) fs::create_directories(top / "test" / name);
    }
  draw_all(stage.path, options, progress);
  write_bytes(stage.path / kMarker, marker_of(options));
  flush_to_disk(stage.path);
  // The marker goes first, so that whatever is in place is known as this function's own.
  fs::rename(stage.path / kMarker, dir / kMarker);
  fs::create_directory(stage.path / "old");
  for (const char* part : kParts) {
    if (fs::exists(dir / part)) fs::rename(dir / part, stage.path / "old" / part);
    if (fs::exists(stage.path / part)) fs::rename(stage.path / part, dir / part);
  }
} catch (const fs::filesystem_error& error) {
  throw Error(
      fmt::format("{}: the scenes cannot be written ({})", dir.string(), error.code().message()));
}

}  // namespace glassnet
