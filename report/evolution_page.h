// The Confusion Evolution page: how the prediction of every test image changed from epoch to epoch,
// as one HTML file that works offline and loads nothing but the thumbnails that lie beside it,
// where it was given any there.
//
// The page itself is in report/web; esbuild and D3 make one script of it when Glassnet is built,
// which lies in the program. After InstanceFlow (Pühringer, Hinterreiter, Streit 2020), which shows
// how single instances wander between classes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "report/shown_explanation.h"
#include "training/prediction_log.h"

namespace glassnet {

struct EvolutionRun {
  std::string name;
  std::vector<std::string> classes;
  std::string split = "test";
  std::vector<LoggedImage> images;
  int64_t first_epoch = 1;  // the number of the first epoch, as the page shows it
  int64_t epochs = 0;
  std::vector<int64_t> predicted;  // (epochs, images), each in [0, classes)

  // All of these may be empty: not known. NaN is not known for one epoch or prediction.
  std::vector<float> probability;       // (epochs, images), of the predicted class
  std::vector<float> true_probability;  // (epochs, images), of the true class
  std::vector<double> test_loss, train_loss, train_accuracy;  // (epochs)
  // (images): the bytes of a JPEG or PNG each, none for an empty string.
  std::vector<std::string> thumbnails;
  // In their place the addresses of files, relative to the page, each escaped as a URL wants it.
  std::vector<std::string> thumbnail_files;
  std::vector<ShownExplanation> explanations;  // of some images
};

struct EvolutionPageData {
  std::string title = "Confusion Evolution";
  std::vector<EvolutionRun> runs;  // at least one
  // What report/web/report.js shows around the page, of the first run, as JSON; empty: nothing.
  std::string report;
};

// The whole file. Names are shown as they are, whatever is in them; invalid UTF-8 becomes U+FFFD.
// Probabilities are kept in steps of 1/254. A prediction takes a byte (two above 256 classes), a
// probability one, all as base64: 50,000 images over 100 epochs make 20 MB.
//
// Throws Error where lists do not have the lengths above, a class or an explained image is out of
// range, a picture is neither JPEG nor PNG, or Glassnet was built without esbuild and D3.
std::string evolution_page(const EvolutionPageData& data);
// Throws the last of these right away, for those who would work long before.
void require_evolution_page();
bool has_evolution_page() noexcept;

// --- while a run is trained -------------------------------------------------------------------

// The page as a server shows it: it asks the server for what `live_asset` knows, for
// the run's thumbnail_files, for "/explanation/<image>", and for "/events", which
// report/web/live.js describes.
struct LivePageData {
  std::string title;
  // Its first epoch has number 1. Null before there is one: the page then waits for it.
  const EvolutionRun* run = nullptr;
  std::string live;  // a JSON object, for live.js
};
// Throws as evolution_page does.
std::string live_page(const LivePageData& data);

struct LiveAsset {
  std::string_view type, content;  // empty where there is none of that path
};
LiveAsset live_asset(std::string_view path);

// What the event of an epoch carries, without a line end: an object with `epoch`, the first_epoch
// of `run`, which has that epoch alone, and what was recorded of it.
std::string epoch_json(const EvolutionRun& run);

}  // namespace glassnet
