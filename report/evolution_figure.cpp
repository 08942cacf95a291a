#include "report/evolution_figure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/page.h"
#include "report/svg_canvas.h"

namespace glassnet {
namespace {

using namespace page;

constexpr int kWidth = 1000;
constexpr int kRight = kWidth - kMargin;
constexpr int kLabels = 136;  // classes' names, left of everything
constexpr int kStrip = 6;     // true classes' colours, beside the heatmap
constexpr int kHeatmapX = kMargin + kLabels + 8 + kStrip + 3;
constexpr int kHeatmapRoom = 460;
constexpr int kBarsGap = 16;
constexpr int kWidestColumn = 92;
constexpr int kTallestRow = 14;

constexpr int kCurve = 54;
constexpr int kCurveGap = 20;
constexpr int kBarsHead = 34;
constexpr int kAxisBand = 30;
constexpr int kBottomGap = 22;
constexpr int kHeadBand = 26;  // of a part's heading
constexpr int kLine = 17;
constexpr int kParagraphGap = 5;

constexpr int kMostScale = 8;
constexpr int kMostMatrixClasses = 12;
constexpr int kMostLegendClasses = 24;
constexpr size_t kMostGroups = 120;  // that are set apart

constexpr double kTextSize = 11.5;
constexpr double kTickSize = 10.5;

constexpr Rgb kGround{0xf3, 0xf4, 0xf6};  // of bars and of cells without images
constexpr Rgb kBar{0x57, 0x60, 0x6a};

// A range of images, in the figure's order, or of epochs.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};

// The i-th of `parts` equal parts of `whole`.
Range part(const Range& whole, int64_t i, int64_t parts) {
  return {whole.begin + i * whole.count() / parts, whole.begin + (i + 1) * whole.count() / parts};
}

// The images of a true class, or all where there are too many classes to set apart.
struct Block {
  std::optional<int32_t> true_class;
  Range images;
  int rows = 0;       // of the picture; each holds one image or several
  int thickness = 1;  // of a row, pixels
  int y = 0;

  int height() const { return rows * thickness; }
};

struct Curve {
  std::string name;
  std::vector<double> values;  // of each epoch; NaN where it is not known
  double low = 0, high = 1;
  std::string low_tick, high_tick;
  std::string last;  // the last value
};

struct Layout {
  int64_t first = 0, epochs = 0, classes = 0;
  std::vector<size_t> order;       // of images
  std::vector<int32_t> predicted;  // (images, epochs) in that order
  std::vector<Block> blocks;
  int columns = 0, column_width = 0;  // of the heatmap
  std::vector<Curve> curves;
  bool matrix = false;

  int curves_y = 0;
  int heatmap_y = 0, heatmap_end = 0;
  int bottom_y = 0;
  int legend_x = 0, legend_y = 0;
  int cell = 0;                                 // of the matrix
  std::vector<std::vector<std::string>> notes;  // paragraphs, lines
  int height = 0;

  int heatmap_width() const { return columns * column_width; }
  int bars_x() const { return kHeatmapX + heatmap_width() + kBarsGap; }
  int bar_width() const { return (kRight - bars_x() - 2 * kBarsGap) / 3; }
  double column_x(int64_t epoch) const {  // of its middle
    return kHeatmapX + heatmap_width() * (static_cast<double>(epoch - first) + 0.5) /
                           static_cast<double>(epochs);
  }
};

// --- what is drawn -------------------------------------------------------------------------------

void sort_images(const History& history, const Evolution& evolution, Layout& layout) {
  const size_t images = history.images.size(), epochs = static_cast<size_t>(layout.epochs);
  std::vector<int32_t> rows(images * epochs);
  for (size_t t = 0; t < epochs; ++t) {
    const int32_t* predicted = history.row(layout.first + static_cast<int64_t>(t));
    for (size_t i = 0; i < images; ++i) rows[i * epochs + t] = predicted[i];
  }
  const auto row = [&](size_t i) { return rows.begin() + static_cast<int64_t>(i * epochs); };
  layout.order.resize(images);
  std::iota(layout.order.begin(), layout.order.end(), size_t{0});
  std::stable_sort(layout.order.begin(), layout.order.end(), [&](size_t a, size_t b) {
    const auto key = [&](size_t i) {
      return std::pair(history.images[i].true_class, evolution.images[i].wrong);
    };
    if (key(a) != key(b)) return key(a) < key(b);
    return std::lexicographical_compare(row(a), row(a + 1), row(b), row(b + 1));
  });
  layout.predicted.reserve(rows.size());
  for (const size_t i : layout.order) {
    layout.predicted.insert(layout.predicted.end(), row(i), row(i + 1));
  }
}

// Blocks from `y` down, in `room` pixels or a pixel more for each group.
void place_blocks(const History& history, int y, int room, Layout& layout) {
  const auto images = static_cast<int64_t>(layout.order.size());
  for (int64_t i = 0; i < images; ++i) {
    const int32_t truth = history.images[layout.order[static_cast<size_t>(i)]].true_class;
    auto& blocks = layout.blocks;
    if (blocks.empty() || blocks.back().true_class != truth) {
      blocks.push_back({.true_class = truth, .images = {i, i}});
    }
    ++blocks.back().images.end;
  }
  if (layout.blocks.size() > kMostGroups) layout.blocks = {{.images = {0, images}}};
  const int groups = static_cast<int>(layout.blocks.size());
  const int gap = groups <= 30 ? 3 : 1;
  const int64_t rows = room - gap * (groups - 1);
  for (Block& block : layout.blocks) {
    if (images <= rows) {
      block.rows = static_cast<int>(block.images.count());
      block.thickness = static_cast<int>(std::min<int64_t>(rows / images, kTallestRow));
    } else {
      block.rows = static_cast<int>(std::max<int64_t>(block.images.count() * rows / images, 1));
    }
    block.y = y;
    y += block.height() + gap;
  }
  layout.heatmap_end = y - gap;
}

// Counts labels, and forgets them again in the time it took.
class Majority {
 public:
  explicit Majority(int64_t classes) : counts_(static_cast<size_t>(classes)) {}

  void add(int32_t label) {
    if (counts_[static_cast<size_t>(label)]++ == 0) seen_.push_back(label);
  }
  // The most frequent since the last call, of equals the lowest.
  int32_t take() {
    int32_t best = seen_.front();
    for (const int32_t label : seen_) {
      const int64_t count = counts_[static_cast<size_t>(label)];
      const int64_t most = counts_[static_cast<size_t>(best)];
      if (count > most || (count == most && label < best)) best = label;
    }
    for (const int32_t label : seen_) counts_[static_cast<size_t>(label)] = 0;
    seen_.clear();
    return best;
  }

 private:
  std::vector<int64_t> counts_;
  std::vector<int32_t> seen_;
};

void set_pixel(Image& image, int y, int x, Rgb colour) {
  uint8_t* pixel = image.at(y, x);
  pixel[0] = colour.r, pixel[1] = colour.g, pixel[2] = colour.b;
}

// All blocks and the white between them, a pixel an epoch wide and as high as it is drawn.
Image heatmap(const Layout& layout) {
  Image image = filled(layout.heatmap_end - layout.heatmap_y, layout.columns, kWhite);
  Majority majority(layout.classes);
  for (const Block& block : layout.blocks) {
    for (int r = 0; r < block.rows; ++r) {
      const Range images = part(block.images, r, block.rows);
      const int y = block.y - layout.heatmap_y + r * block.thickness;
      for (int c = 0; c < layout.columns; ++c) {
        const Range epochs = part({0, layout.epochs}, c, layout.columns);
        for (int64_t i = images.begin; i < images.end; ++i) {
          for (int64_t t = epochs.begin; t < epochs.end; ++t) {
            majority.add(layout.predicted[static_cast<size_t>(i * layout.epochs + t)]);
          }
        }
        const Rgb colour = class_colour(majority.take(), static_cast<int>(layout.classes));
        for (int line = 0; line < block.thickness; ++line) set_pixel(image, y + line, c, colour);
      }
    }
  }
  return image;
}

// The colours of the true classes, a pixel wide.
Image strip(const History& history, const Layout& layout) {
  Image image = filled(layout.heatmap_end - layout.heatmap_y, 1, kWhite);
  Majority majority(layout.classes);
  for (const Block& block : layout.blocks) {
    for (int line = 0; line < block.height(); ++line) {
      const Range images = part(block.images, line / block.thickness, block.rows);
      for (int64_t i = images.begin; i < images.end; ++i) {
        majority.add(history.images[layout.order[static_cast<size_t>(i)]].true_class);
      }
      set_pixel(image, block.y - layout.heatmap_y + line, 0,
                class_colour(majority.take(), static_cast<int>(layout.classes)));
    }
  }
  return image;
}

// --- words ---------------------------------------------------------------------------------------

std::string counted(int64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string percent(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

std::string subtitle(const History& history, const Evolution& evolution) {
  const EpochRange& window = evolution.window;
  const std::string epochs = window.count() == 1
                                 ? fmt::format("epoch {}", window.first)
                                 : fmt::format("epochs {} to {}", window.first, window.last);
  return fmt::format("{} of {}, {} of {}",
                     counted(static_cast<int64_t>(history.images.size()), "image", "images"),
                     counted(static_cast<int64_t>(history.classes.size()), "class", "classes"),
                     epochs, history.epochs());
}

std::vector<std::string> sentences(const Layout& layout) {
  std::vector<std::string> result = {
      fmt::format(
          "How to read: a row of the picture is an image, a column an epoch, the colour the "
          "class that was predicted. Rows are grouped by true class, whose colour stands at "
          "their left; in a group they go from seldom to often misclassified."),
      "Frequency: share of epochs after the first in which the prediction changed. Variability: "
      "number of different predictions. Misclassified: share of epochs with a wrong prediction. "
      "Prediction flux: share of images whose prediction differs from the epoch before."};
  const bool images_share =
      std::ranges::any_of(layout.blocks, [](const Block& b) { return b.rows < b.images.count(); });
  if (images_share || layout.columns < layout.epochs) {
    result.push_back(
        fmt::format("Several {} share a pixel, which has the most frequent of their predictions; "
                    "bars are means.",
                    !images_share                    ? "epochs"
                    : layout.columns < layout.epochs ? "images and epochs"
                                                     : "images"));
  }
  if (layout.classes > kMostLegendClasses) {
    result.push_back(fmt::format(
        "With {} classes some colours are hard to tell apart; the legend is left out, and names "
        "that find no room.",
        layout.classes));
  }
  if (layout.matrix) {
    result.emplace_back("Matrix: blue right, orange wrong, darker with the share of the row.");
  } else {
    result.push_back(fmt::format(
        "The confusion matrix is left out: it is drawn of up to {} classes.", kMostMatrixClasses));
  }
  return result;
}

std::vector<std::string> wrapped(const std::string& text, double size, double room) {
  std::vector<std::string> lines;
  std::string line;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const std::string longer = line.empty() ? word : fmt::format("{} {}", line, word);
    // A little less than the room, for a font that is a little wider.
    if (!line.empty() && text_width(longer, size) > 0.94 * room) {
      lines.push_back(line);
      line = word;
    } else {
      line = longer;
    }
    begin = end + 1;
  }
  lines.push_back(line);
  return lines;
}

// --- layout --------------------------------------------------------------------------------------

struct Legend {
  int columns = 0, rows = 0, width = 0;  // of a column
};

Legend legend_of(const History& history, double room) {
  const int classes = static_cast<int>(history.classes.size());
  if (classes > kMostLegendClasses) return {};
  constexpr double kWidest = 150;
  double longest = 0;
  for (const std::string& name : history.classes) {
    longest = std::max(longest, std::min(text_width(name, kTextSize), kWidest));
  }
  Legend legend{.width = static_cast<int>(longest) + 40};
  legend.columns = std::clamp(static_cast<int>(room / legend.width), 1, classes);
  legend.rows = (classes + legend.columns - 1) / legend.columns;
  legend.columns = (classes + legend.rows - 1) / legend.rows;
  return legend;
}

bool is_drawable(double value) {
  return std::abs(value) < 1e100;
}

std::string tick(double value) {
  return fmt::format("{:.3g}", value);
}

// The least of 1, 2, 5, 10, 20, … (times a power of ten) that is not below `value`.
double nice_end(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power * (1 + 1e-9)) return step * power;
  }
  return 10 * power;
}

std::vector<Curve> curves_of(const Evolution& evolution) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  Curve accuracy{.name = "accuracy", .low_tick = "0", .high_tick = "100 %"};
  Curve flux{.name = "prediction flux", .low_tick = "0"};
  Curve loss{.name = "test loss"};
  double most_flux = 0, most_loss = 0, least_loss = 0;
  for (const EpochEvolution& epoch : evolution.epochs) {
    accuracy.values.push_back(epoch.accuracy);
    flux.values.push_back(epoch.flux.value_or(kNone));
    most_flux = std::max(most_flux, epoch.flux.value_or(0));
    loss.values.push_back(epoch.loss && is_drawable(*epoch.loss) ? *epoch.loss : kNone);
    if (std::isnan(loss.values.back())) continue;
    most_loss = std::max(most_loss, *epoch.loss);
    least_loss = std::min(least_loss, *epoch.loss);
  }
  accuracy.last = percent(accuracy.values.back());
  flux.high = nice_end(most_flux);
  flux.high_tick = fmt::format("{} %", tick(100 * flux.high));
  if (!std::isnan(flux.values.back())) flux.last = percent(flux.values.back());
  loss.low = least_loss;
  loss.high = nice_end(most_loss);
  loss.low_tick = tick(loss.low);
  loss.high_tick = tick(loss.high);
  if (!std::isnan(loss.values.back())) loss.last = fmt::format("{:.3g}", loss.values.back());
  std::vector<Curve> result;
  for (Curve* curve : {&accuracy, &flux, &loss}) {
    const auto is_known = [](double value) { return !std::isnan(value); };
    if (std::ranges::any_of(curve->values, is_known)) result.push_back(std::move(*curve));
  }
  return result;
}

Layout lay_out(const History& history, const Evolution& evolution,
               const EvolutionFigureOptions& options) {
  require(evolution.images.size() == history.images.size() && !history.images.empty() &&
              evolution.epochs.size() == static_cast<size_t>(evolution.window.count()),
          [] { return std::string("[evolution_figure] expected the evolution of this history"); });
  require(options.scale > 0 && options.scale <= kMostScale, [&] {
    return fmt::format("[evolution_figure] expected a scale of 1 to {}, got {}", kMostScale,
                       options.scale);
  });
  Layout layout{.first = evolution.window.first,
                .epochs = evolution.window.count(),
                .classes = static_cast<int64_t>(history.classes.size())};
  sort_images(history, evolution, layout);
  layout.columns = static_cast<int>(std::min<int64_t>(layout.epochs, kHeatmapRoom));
  layout.column_width = std::min(kHeatmapRoom / layout.columns, kWidestColumn);
  layout.curves = curves_of(evolution);
  layout.matrix = layout.classes <= kMostMatrixClasses;

  layout.curves_y = kMargin + head_height(options.title, subtitle(history, evolution));
  layout.heatmap_y =
      layout.curves_y + static_cast<int>(layout.curves.size()) * (kCurve + kCurveGap) + kBarsHead;
  constexpr int kRoomWithMatrix = 620, kRoom = 680;
  place_blocks(history, layout.heatmap_y, layout.matrix ? kRoomWithMatrix : kRoom, layout);

  layout.bottom_y = layout.heatmap_end + kAxisBand + kBottomGap;
  layout.legend_x = kMargin;
  int matrix_end = layout.bottom_y;
  if (layout.matrix) {
    const int n = static_cast<int>(layout.classes);
    layout.cell = std::clamp(264 / n, 22, 44);
    layout.legend_x = kHeatmapX + std::max(n * layout.cell, 200) + 44;
    matrix_end += kHeadBand + kLine + n * layout.cell;
  }
  const double room = kRight - layout.legend_x;
  const Legend legend = legend_of(history, room);
  layout.legend_y = layout.bottom_y + (legend.rows > 0 ? kHeadBand : 0);
  int end = layout.legend_y + legend.rows * kLine + (legend.rows > 0 ? 10 : 0);
  for (const std::string& sentence : sentences(layout)) {
    layout.notes.push_back(wrapped(sentence, kTextSize, room));
    end += kLine * static_cast<int>(layout.notes.back().size()) + kParagraphGap;
  }
  layout.height = std::max(end, matrix_end) + kMargin;
  return layout;
}

// --- drawing -------------------------------------------------------------------------------------

void draw_curve(Canvas& canvas, int y, const Curve& curve, const Layout& layout) {
  const auto y_of = [&](double value) {
    return y + kCurve * (1 - (value - curve.low) / (curve.high - curve.low));
  };
  const int axis = kHeatmapX - 3 - kStrip - 8;
  for (const auto& [at, label] : {std::pair(y, &curve.high_tick), {y + kCurve, &curve.low_tick}}) {
    canvas.rectangle(at, kHeatmapX, 1, layout.heatmap_width(), kRule);
    canvas.text(axis, centred_baseline(at + 0.5, kTickSize), *label,
                {.size = kTickSize, .colour = kFaint, .anchor = Anchor::kEnd});
  }
  canvas.rectangle(y + kCurve / 2, kHeatmapX, 1, layout.heatmap_width(), kGround);

  constexpr int64_t kMostDots = 30;
  std::vector<Point> points;
  double end = y_of(curve.low);
  const auto finish = [&] {
    if (points.empty()) return;
    canvas.line(points, 2, kInk);
    const bool dots = layout.epochs <= kMostDots || points.size() == 1;
    for (const Point& point : points) {
      if (dots) canvas.line(std::span(&point, 1), 5, kInk);
    }
    end = points.back().y;
    points.clear();
  };
  for (int64_t t = 0; t < layout.epochs; ++t) {
    const double value = curve.values[static_cast<size_t>(t)];
    if (std::isnan(value)) {
      finish();
    } else {
      points.push_back({y_of(value), layout.column_x(layout.first + t)});
    }
  }
  finish();
  const double baseline = centred_baseline(std::clamp(end, y + 5.0, y + kCurve - 5.0), kSmallSize);
  const double x = layout.bars_x();
  canvas.text(x, baseline, curve.name, {.size = kSmallSize, .colour = kInk});
  canvas.text(x + text_width(curve.name, kSmallSize) * 1.06 + 8, baseline, curve.last,
              {.size = kSmallSize, .colour = kFaint});
}

void draw_names(Canvas& canvas, const History& history, const Layout& layout) {
  const double right = kHeatmapX - 3 - kStrip - 8;
  if (!layout.blocks.front().true_class) {
    canvas.text(right, layout.heatmap_y + 10, counted(layout.classes, "class", "classes"),
                {.size = kTextSize, .colour = kFaint, .anchor = Anchor::kEnd});
    return;
  }
  // Names that find no room beside their rows move; with too many for that, some are left out.
  constexpr double kApart = 14, kLeast = 10.5;
  const double room = layout.heatmap_end - layout.heatmap_y;
  const bool all = kApart * static_cast<double>(layout.blocks.size()) <= std::max(room, kApart);
  const double size = all ? kTextSize : 9;
  std::vector<double> middles;
  for (const Block& block : layout.blocks) middles.push_back(block.y + block.height() / 2.0);
  const std::vector<double> places =
      all ? spread(middles, kApart, std::max(layout.heatmap_end - kApart / 2, middles.front()))
          : middles;
  double free = 0;
  for (size_t b = 0; b < layout.blocks.size(); ++b) {
    if (places[b] < free) continue;
    free = places[b] + kLeast;
    const Block& block = layout.blocks[b];
    const double baseline = centred_baseline(places[b], size);
    const std::string count = fmt::format("{}", block.images.count());
    const double taken = text_width(count, size) * 1.06 + 7;
    canvas.text(right, baseline, count, {.size = size, .colour = kFaint, .anchor = Anchor::kEnd});
    canvas.text(right - taken, baseline, history.classes[static_cast<size_t>(*block.true_class)],
                {.size = size, .colour = kInk, .room = kLabels - taken, .anchor = Anchor::kEnd});
    if (std::abs(places[b] - middles[b]) > 2) {
      const std::array<Point, 2> leader = {{{places[b], right + 2}, {middles[b], right + 7}}};
      canvas.line(leader, 1, kFaint);
    }
  }
}

struct Measure {
  const char* name;
  double (*of)(const ImageEvolution&);
  double high;
};

void draw_bars(Canvas& canvas, const Evolution& evolution, const Layout& layout) {
  double most = 2;  // so that a single prediction fills no bar
  for (const ImageEvolution& of : evolution.images) {
    most = std::max(most, static_cast<double>(of.variability));
  }
  const std::array<Measure, 3> measures = {{
      {"frequency", [](const ImageEvolution& of) { return of.frequency; }, 1},
      {"variability", [](const ImageEvolution& of) { return static_cast<double>(of.variability); },
       most},
      {"misclassified", [](const ImageEvolution& of) { return of.misclassification_rate; }, 1},
  }};
  const int width = layout.bar_width();
  int x = layout.bars_x();
  for (const Measure& measure : measures) {
    const double head = centred_baseline(layout.heatmap_y - 25, kSmallSize);
    const double scale = centred_baseline(layout.heatmap_y - 9, kTickSize);
    TextStyle style{.size = kTickSize, .colour = kFaint, .room = width / 2.0};
    canvas.text(x, head, measure.name, {.size = kSmallSize, .colour = kInk, .room = 1.0 * width});
    canvas.text(x, scale, "0", style);
    style.anchor = Anchor::kEnd;
    canvas.text(x + width, scale, tick(measure.high), style);
    for (const Block& block : layout.blocks) {
      canvas.rectangle(block.y, x, block.height(), width, kGround);
      std::vector<double> lengths;
      for (int r = 0; r < block.rows; ++r) {
        const Range images = part(block.images, r, block.rows);
        double sum = 0;
        for (int64_t i = images.begin; i < images.end; ++i) {
          sum += measure.of(evolution.images[layout.order[static_cast<size_t>(i)]]);
        }
        lengths.push_back(width * sum / static_cast<double>(images.count()) / measure.high);
      }
      canvas.bars(block.y, x, block.thickness, lengths, kBar);
    }
    x += width + kBarsGap;
  }
}

void draw_epochs(Canvas& canvas, const Layout& layout) {
  constexpr double kApart = 34;
  const double step_width = 1.0 * layout.heatmap_width() / static_cast<double>(layout.epochs);
  const auto step = static_cast<int64_t>(nice_end(std::max(1.0, kApart / step_width)));
  const double baseline = centred_baseline(layout.heatmap_end + 14, kTickSize);
  const int64_t first = layout.first, last = first + layout.epochs - 1;
  for (int64_t epoch = first; epoch <= last; ++epoch) {
    const bool near_first =
        static_cast<double>(epoch - first) * step_width < kApart;  // which is always labelled
    if (epoch != first && (epoch % step != 0 || near_first)) continue;
    const double x = layout.column_x(epoch);
    canvas.rectangle(layout.heatmap_end + 2, static_cast<int>(x), 4, 1, kFaint);
    canvas.text(x, baseline, fmt::format("{}", epoch),
                {.size = kTickSize, .colour = kFaint, .anchor = Anchor::kMiddle});
  }
  canvas.text(kHeatmapX - 3 - kStrip - 8, baseline, "epoch",
              {.size = kTickSize, .colour = kFaint, .anchor = Anchor::kEnd});
}

void draw_matrix(Canvas& canvas, const History& history, const Layout& layout) {
  const int64_t epoch = layout.first + layout.epochs - 1;
  const ConfusionMatrix confusion = confusion_at(history, epoch);
  const int n = static_cast<int>(layout.classes), cell = layout.cell;
  const double name_x = kHeatmapX - 3 - kStrip - 8;
  canvas.text(kHeatmapX, centred_baseline(layout.bottom_y + 8, kHeadingSize),
              fmt::format("Predicted in epoch {}", epoch), {.size = kHeadingSize, .colour = kInk});
  canvas.text(name_x, centred_baseline(layout.bottom_y + 8, kHeadingSize), "True class",
              {.size = kHeadingSize, .colour = kInk, .anchor = Anchor::kEnd});
  constexpr double kColumnSize = 9.5;
  const bool named = std::ranges::all_of(history.classes, [&](const std::string& name) {
    return text_width(name, kColumnSize) <= cell - 3;
  });
  const int top = layout.bottom_y + kHeadBand + kLine;
  for (int t = 0; t < n; ++t) {
    const Rgb colour = class_colour(t, n);
    const double middle = top + (t + 0.5) * cell;
    canvas.rectangle(top - 4 - kStrip, kHeatmapX + t * cell, kStrip, cell - 1, colour);
    canvas.rectangle(top + t * cell, kHeatmapX - 3 - kStrip, cell - 1, kStrip, colour);
    canvas.text(name_x, centred_baseline(middle, kTextSize), history.classes[t],
                {.size = kTextSize, .colour = kInk, .room = kLabels, .anchor = Anchor::kEnd});
    if (named) {
      canvas.text(kHeatmapX + (t + 0.5) * cell, top - 8 - kStrip, history.classes[t],
                  {.size = kColumnSize, .colour = kFaint, .anchor = Anchor::kMiddle});
    }
    int64_t images = 0;
    for (int p = 0; p < n; ++p) images += confusion.count(t, p);
    for (int p = 0; p < n; ++p) {
      const int64_t count = confusion.count(t, p);
      // By the root, so that a few mistakes among many images still show.
      const double share =
          static_cast<double>(count) / static_cast<double>(std::max<int64_t>(images, 1));
      const Rgb shade = count == 0
                            ? kGround
                            : glassnet::colour(t == p ? Colormap::kBlues : Colormap::kOranges,
                                               static_cast<float>(0.06 + 0.88 * std::sqrt(share)));
      const int x = kHeatmapX + p * cell;
      canvas.rectangle(top + t * cell, x, cell - 1, cell - 1, shade);
      if (count == 0) continue;
      const std::string text = fmt::format("{}", count);
      const double fitting = (cell - 4) / text_width(text, 1);
      canvas.text(x + (cell - 1) / 2.0,
                  centred_baseline(middle - 0.5, std::min(kTextSize, fitting)), text,
                  {.size = std::min(kTextSize, fitting),
                   .colour = readable_on(shade),
                   .anchor = Anchor::kMiddle});
    }
  }
}

void draw_legend(Canvas& canvas, const History& history, const Layout& layout) {
  const double room = kRight - layout.legend_x;
  const Legend legend = legend_of(history, room);
  if (legend.rows > 0) {
    canvas.text(layout.legend_x, centred_baseline(layout.bottom_y + 8, kHeadingSize), "Classes",
                {.size = kHeadingSize, .colour = kInk});
  }
  const int classes = static_cast<int>(layout.classes);
  for (int c = 0; legend.rows > 0 && c < classes; ++c) {
    const int x = layout.legend_x + c / legend.rows * legend.width;
    const int y = layout.legend_y + c % legend.rows * kLine;
    canvas.rectangle(y + 3, x, 11, 11, class_colour(c, classes));
    canvas.text(x + 17, centred_baseline(y + 8.5, kTextSize), history.classes[c],
                {.size = kTextSize, .colour = kInk, .room = legend.width - 22.0});
  }
  double y = layout.legend_y + legend.rows * kLine + (legend.rows > 0 ? 10 : 0);
  for (const std::vector<std::string>& paragraph : layout.notes) {
    for (const std::string& line : paragraph) {
      canvas.text(layout.legend_x, centred_baseline(y + kLine / 2.0, kTextSize), line,
                  {.size = kTextSize, .colour = kFaint, .room = room});
      y += kLine;
    }
    y += kParagraphGap;
  }
}

void draw(Canvas& canvas, const History& history, const Evolution& evolution,
          const EvolutionFigureOptions& options, const Layout& layout) {
  draw_head(canvas, options.title, subtitle(history, evolution), kWidth - 2 * kMargin);
  int y = layout.curves_y;
  for (const Curve& curve : layout.curves) {
    draw_curve(canvas, y, curve, layout);
    y += kCurve + kCurveGap;
  }
  const int height = layout.heatmap_end - layout.heatmap_y;
  canvas.cells(layout.heatmap_y, kHeatmapX, height, layout.heatmap_width(), heatmap(layout),
               "The predicted classes of all images over the epochs");
  canvas.cells(layout.heatmap_y, kHeatmapX - 3 - kStrip, height, kStrip, strip(history, layout),
               "Their true classes");
  draw_names(canvas, history, layout);
  draw_bars(canvas, evolution, layout);
  draw_epochs(canvas, layout);
  if (layout.matrix) draw_matrix(canvas, history, layout);
  draw_legend(canvas, history, layout);
}

// The figure in words.
std::string description(const History& history, const Evolution& evolution) {
  const EpochEvolution &first = evolution.epochs.front(), &last = evolution.epochs.back();
  return fmt::format("{}. Accuracy {} in epoch {} and {} in epoch {}.",
                     subtitle(history, evolution), percent(first.accuracy), first.epoch,
                     percent(last.accuracy), last.epoch);
}

}  // namespace

Image evolution_figure(const History& history, const Evolution& evolution,
                       const EvolutionFigureOptions& options) {
  const Layout layout = lay_out(history, evolution, options);
  RasterCanvas canvas(layout.height, kWidth, options.scale);
  draw(canvas, history, evolution, options, layout);
  return std::move(canvas).image();
}

std::string evolution_figure_svg(const History& history, const Evolution& evolution,
                                 const EvolutionFigureOptions& options) {
  const Layout layout = lay_out(history, evolution, options);
  SvgCanvas canvas(layout.height, kWidth,
                   options.title.empty() ? "Confusion evolution" : options.title,
                   description(history, evolution));
  draw(canvas, history, evolution, options, layout);
  return canvas.document();
}

}  // namespace glassnet
