#include "cli/evolution_html.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/output.h"
#include "data/folder.h"
#include "data/image.h"
#include "kernels/cpu/parallel.h"
#include "kernels/error.h"
#include "report/evolution_page.h"
#include "tensor/file.h"
#include "training/options.h"
#include "training/run_folder.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kThumbnailSide = 64, kThumbnailQuality = 80;

// (epochs, images) -> the window's epochs.
template <class To, class From>
std::vector<To> in_window(const std::vector<From>& values, size_t images,
                          const EpochRange& window) {
  if (values.empty()) return {};
  const auto row = [&](int64_t epoch) {
    return values.begin() + static_cast<int64_t>(images) * epoch;
  };
  return {row(window.first - 1), row(window.last)};
}

std::vector<std::string> thumbnails_of(const EvolutionRun& run,
                                       const std::map<std::string, fs::path>& pictures) {
  std::vector<std::string> thumbnails(run.images.size());
  kernels::parallel_tasks(std::ssize(run.images), /*worthwhile=*/true, [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    const auto found = pictures.find(run.images[at].id);
    if (found == pictures.end()) return;
    try {
      const Image picture = fit_image(read_image(found->second), kThumbnailSide, Fit::kCrop);
      thumbnails[at] = encode_jpeg(picture, kThumbnailQuality, run.images[at].id);
    } catch (const Error&) {
      // A picture that cannot be read any more is a row without one.
    }
  });
  return thumbnails;
}

// The training's curves, which only a run's own log has.
void add_curves(EvolutionRun& run, const fs::path& log, const EpochRange& window) {
  const std::vector<EpochMetrics> metrics = RunFolder(log).read_metrics();
  if (std::ssize(metrics) < window.last) return;
  for (int64_t epoch = window.first; epoch <= window.last; ++epoch) {
    const EpochMetrics& of = metrics[static_cast<size_t>(epoch - 1)];
    run.train_loss.push_back(of.train_loss);
    run.train_accuracy.push_back(of.train_accuracy);
  }
}

EvolutionRun run_of(const fs::path& log, const EpochRange& asked) {
  const History history = read_history(log);
  const EpochRange window = resolve(asked, history);
  const size_t images = history.images.size();
  EvolutionRun run{.name = fs::absolute(log).lexically_normal().filename().string(),
                   .classes = history.classes,
                   .first_epoch = window.first,
                   .epochs = window.count(),
                   .predicted = in_window<int64_t>(history.predicted, images, window),
                   .probability = in_window<float>(history.probability, images, window),
                   .true_probability = in_window<float>(history.true_probability, images, window),
                   .test_loss = in_window<double>(history.loss, 1, window)};
  for (const HistoryImage& image : history.images) {
    run.images.push_back({image.id, image.true_class});
  }
  return run;
}

size_t bytes_of(const std::vector<std::string>& pictures) {
  size_t bytes = 0;
  for (const std::string& picture : pictures) bytes += picture.size();
  return bytes;
}

size_t bytes_of(const std::vector<ShownExplanation>& explanations) {
  size_t bytes = 0;
  for (const ShownExplanation& of : explanations) {
    bytes += of.photograph.size();
    for (const ShownMap& map : of.maps) bytes += map.picture.size();
    for (const ShownEpoch& epoch : of.kept) {
      for (const ShownEpoch::Map& map : epoch.maps) bytes += map.picture.size();
    }
  }
  return bytes;
}

// As base64 in the page.
std::string in_page(size_t bytes) {
  return mebibytes(bytes / 3 * 4);
}

// A part of a URL's path, any bytes.
std::string escaped(const std::string& name) {
  std::string url;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      url += c;
    } else {
      url += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return url;
}

void require_done(const std::error_code& error, const fs::path& path) {
  require(!error,
          [&] { return fmt::format("{}: cannot be written: {}", path.string(), error.message()); });
}

// FILES/thumbnails/RUN/IMAGE.jpg, the runs and images by number. They are written into a folder of
// another name, which takes the place of an earlier one when it is whole.
void write_beside(const fs::path& files, const std::vector<std::vector<std::string>>& thumbnails) {
  const fs::path begun = files / ".glassnet-thumbnails.tmp", whole = files / "thumbnails";
  std::error_code error;
  fs::remove_all(begun, error);
  for (size_t run = 0; run < thumbnails.size(); ++run) {
    const fs::path folder = begun / fmt::format("{}", run);
    fs::create_directories(folder, error);
    require_done(error, folder);
    for (size_t i = 0; i < thumbnails[run].size(); ++i) {
      if (thumbnails[run][i].empty()) continue;
      const fs::path path = folder / fmt::format("{}.jpg", i);
      std::ofstream file(path, std::ios::binary);
      file << thumbnails[run][i];
      file.close();
      require(file.good(), [&] { return fmt::format("{}: cannot be written", path.string()); });
    }
  }
  fs::remove_all(whole, error);
  require_done(error, whole);
  fs::rename(begun, whole, error);
  require_done(error, whole);
}

}  // namespace

std::map<std::string, fs::path> pictures_of(const fs::path& run, const fs::path& data,
                                            const std::vector<std::string>& classes) {
  std::map<std::string, fs::path> pictures;
  try {
    const fs::path folder = data.empty() ? load_config(RunFolder(run).config()).options.data : data;
    for (const Sample& sample : read_evaluation_folder(folder, classes).samples) {
      pictures.emplace(sample.id, sample.path);
    }
  } catch (const Error&) {
    return {};
  }
  return pictures;
}

EvolutionDocument read_evolution(const EvolutionHtml& options) {
  EvolutionDocument document{.thumbnail_bytes = options.thumbnail_bytes};
  for (const fs::path& log : options.logs) {
    EvolutionRun run = run_of(log, options.window);
    std::vector<std::string> thumbnails;
    std::error_code ignored;
    if (fs::is_directory(log, ignored)) {
      add_curves(run, log,
                 options.window.last > 0
                     ? options.window
                     : EpochRange{run.first_epoch, run.first_epoch + run.epochs - 1});
      const bool first = document.page.runs.empty();
      const auto pictures = pictures_of(log, first ? options.data : fs::path(), run.classes);
      if (pictures.empty()) {
        document.missing.push_back(fmt::format(
            "{}: its data set is not where it was, so the page has no thumbnails", log.string()));
      } else if (options.thumbnail_bytes > 0) {
        thumbnails = thumbnails_of(run, pictures);
      }
    }
    document.thumbnails.push_back(std::move(thumbnails));
    document.page.runs.push_back(std::move(run));
  }
  document.page.title = fmt::format("Confusion Evolution: {}", document.page.runs[0].name);
  return document;
}

std::string save_evolution_html(const fs::path& path, EvolutionDocument document) {
  std::vector<EvolutionRun>& runs = document.page.runs;
  size_t thumbnail_bytes = 0, explanation_bytes = 0, images = 0, explained = 0;
  for (size_t r = 0; r < runs.size(); ++r) {
    thumbnail_bytes += bytes_of(document.thumbnails[r]);
    explanation_bytes += bytes_of(runs[r].explanations);
    explained += runs[r].explanations.size();
    images += document.thumbnails[r].size();
  }
  const bool beside = thumbnail_bytes > document.thumbnail_bytes;
  const fs::path files = path.parent_path() / (path.stem().string() + "_files");
  if (beside) write_beside(files, document.thumbnails);
  for (size_t r = 0; r < runs.size(); ++r) {
    std::vector<std::string>& thumbnails = document.thumbnails[r];
    if (!beside) {
      runs[r].thumbnails = std::move(thumbnails);
      continue;
    }
    const std::string folder = escaped(files.filename().string());
    for (size_t i = 0; i < thumbnails.size(); ++i) {
      runs[r].thumbnail_files.push_back(
          thumbnails[i].empty() ? "" : fmt::format("{}/thumbnails/{}/{}.jpg", folder, r, i));
    }
  }
  const std::string page = evolution_page(document.page);
  write_file_atomically(path, page);

  std::vector<std::string> parts;
  if (images > 0 && !beside) {
    parts.push_back(fmt::format("thumbnails of {} images {}", images, in_page(thumbnail_bytes)));
  }
  if (explained > 0) {
    parts.push_back(fmt::format("explanations of {} image{} {}", explained,
                                explained == 1 ? "" : "s", in_page(explanation_bytes)));
  }
  std::string sizes = mebibytes(page.size());
  if (!parts.empty()) sizes += fmt::format(", of which {}", fmt::join(parts, ", "));
  if (beside) {
    sizes += fmt::format("; beside it, in {}, thumbnails of {} images, {}", files.string(), images,
                         mebibytes(thumbnail_bytes));
  }
  return sizes;
}

}  // namespace glassnet::cli
