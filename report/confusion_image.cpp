#include "report/confusion_image.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/colormap.h"
#include "report/draw.h"
#include "report/text.h"

namespace glassnet {
namespace {

constexpr Rgb kInk{0x1f, 0x23, 0x28};
constexpr Rgb kFaint{0x6a, 0x73, 0x7d};
constexpr Rgb kEmpty{0xf6, 0xf7, 0xf8};

constexpr double kTitleSize = 19;
constexpr double kAxisSize = 13.5;
constexpr double kSmallSize = 12;
constexpr int kMargin = 28;
constexpr int kNameGap = 10;          // between names and cells
constexpr double kLongestName = 150;  // pixels
// With fewer pixels a side, a cell has no number; its row and column have no name.
constexpr int kSmallestNumbered = 26;
constexpr int kSmallestNamed = 13;

// A cell's side: comfortable for few classes, the picture of bearable size for many.
int cell_side(int classes) {
  return std::clamp(800 / classes, 3, 72);
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

std::string percent(int64_t part, int64_t whole) {
  return whole > 0 ? fmt::format("{:.1f}", 100 * share(part, whole)) : "–";
}

void draw_centred(Image& image, double x, double y, const std::string& text, double size,
                  Rgb colour) {
  draw_text(image, x - text_width(text, size) / 2, y + font_metrics(size).cap_height / 2, text,
            size, colour);
}

// The size at which `text` fits into a cell, at most `size`; 0 when it would be unreadable.
double size_within(const std::string& text, double size, double width) {
  constexpr double kSmallestReadable = 8.5;
  const double fitting = std::min(size, size * width / std::max(text_width(text, size), 1.0));
  return fitting >= kSmallestReadable ? fitting : 0;
}

}  // namespace

Image confusion_matrix_image(std::span<const std::string> classes, std::span<const int64_t> counts,
                             const std::string& title) {
  const int n = static_cast<int>(classes.size());
  require(n > 0 && counts.size() == classes.size() * classes.size(), [&] {
    return fmt::format(
        "[confusion_matrix_image] expected {0} x {0} counts for {0} classes, got {1}", n,
        counts.size());
  });
  const auto count = [&](int t, int p) { return counts[static_cast<size_t>(t) * n + p]; };
  std::vector<int64_t> true_totals(n), predicted_totals(n);
  int64_t total = 0, correct = 0;
  for (int t = 0; t < n; ++t) {
    for (int p = 0; p < n; ++p) {
      true_totals[t] += count(t, p);
      predicted_totals[p] += count(t, p);
      total += count(t, p);
    }
    correct += count(t, t);
  }

  const int cell = cell_side(n);
  const bool named = cell >= kSmallestNamed;
  const bool numbered = cell >= kSmallestNumbered;
  const double name_size = std::min(13.5, cell * 0.72);
  std::vector<std::string> names;
  double name_width = 0;
  for (const std::string& name : classes) {
    names.push_back(fit_text(name, name_size, kLongestName));
    name_width = std::max(name_width, text_width(names.back(), name_size));
  }
  if (!named) name_width = 0;
  // Names above the columns lie flat when all fit without becoming much smaller, else they read
  // upwards.
  const double flat_size = std::min(name_size, name_size * (cell - 5) / std::max(name_width, 1.0));
  const bool flat = flat_size >= 11;

  const std::string accuracy =
      fmt::format("{} of {} images right ({} %)", correct, total, percent(correct, total));
  const std::string legend = "blue: right, orange: wrong, darker with the share of the row";
  const int title_band = (title.empty() ? 0 : 34) + 34;
  const int names_band = !named ? 0 : kNameGap + (flat ? 12 : static_cast<int>(name_width));
  const int axis_band = 28;
  const int names_column =
      axis_band + (named ? kNameGap + static_cast<int>(std::ceil(name_width)) : 0);
  const int metrics = numbered ? 68 : 0;
  const int side = n * cell;
  const int left = kMargin + names_column;
  const int top = kMargin + title_band + axis_band + names_band;
  constexpr double kWidestTitle = 800;
  const std::string heading = fit_text(title, kTitleSize, kWidestTitle);
  const double text_needed =
      std::max({text_width(heading, kTitleSize), text_width(accuracy, kAxisSize),
                text_width(legend, kSmallSize)});
  const int width = std::max(left + side + metrics + kMargin,
                             2 * kMargin + static_cast<int>(std::ceil(text_needed)));
  const int height = top + side + (numbered ? 34 : 0) + 34 + kMargin;

  Image image = filled(height, width, kWhite);
  int y = kMargin;
  if (!title.empty()) {
    draw_text(image, kMargin, y + 16, heading, kTitleSize, kInk);
    y += 34;
  }
  draw_text(image, kMargin, y + 10, accuracy, kAxisSize, kInk);

  draw_centred(image, left + side / 2.0, top - names_band - axis_band / 2.0, "predicted", kAxisSize,
               kFaint);
  draw_text_upwards(image, kMargin + 10, top + (side + text_width("true", kAxisSize)) / 2, "true",
                    kAxisSize, kFaint);

  for (int t = 0; t < n; ++t) {
    const double middle = top + (t + 0.5) * cell;
    if (named) {
      draw_text(image, left - kNameGap - text_width(names[t], name_size),
                middle + font_metrics(name_size).cap_height / 2, names[t], name_size, kInk);
      const double column = left + (t + 0.5) * cell;
      if (flat) {
        draw_centred(image, column, top - kNameGap - 4, names[t], flat_size, kInk);
      } else {
        draw_text_upwards(image, column + font_metrics(name_size).cap_height / 2, top - kNameGap,
                          names[t], name_size, kInk);
      }
    }
    for (int p = 0; p < n; ++p) {
      const int64_t value = count(t, p);
      const double part = share(value, true_totals[t]);
      const Rgb shade = value == 0 ? kEmpty
                                   : colour(t == p ? Colormap::kBlues : Colormap::kOranges,
                                            static_cast<float>(0.06 + 0.88 * std::sqrt(part)));
      const int gap = numbered ? 2 : cell >= 6 ? 1 : 0;
      fill_rectangle(image, top + t * cell, left + p * cell, cell - gap, cell - gap, shade);
      if (!numbered || value == 0) continue;
      const std::string text = fmt::format("{}", value);
      const double size = size_within(text, std::min(15.0, cell * 0.42), cell - 6);
      if (size > 0) {
        draw_centred(image, left + p * cell + (cell - gap) / 2.0,
                     top + t * cell + (cell - gap) / 2.0, text, size, readable_on(shade));
      }
    }
    if (numbered) {
      const std::string recall = percent(count(t, t), true_totals[t]);
      draw_text(image, left + side + metrics - text_width(recall, kSmallSize),
                middle + font_metrics(kSmallSize).cap_height / 2, recall, kSmallSize, kFaint);
      const std::string precision = percent(count(t, t), predicted_totals[t]);
      const double size = size_within(precision, kSmallSize, cell - 4);
      if (size > 0) {
        draw_centred(image, left + (t + 0.5) * cell, top + side + 14, precision, size, kFaint);
      }
    }
  }
  if (numbered) {
    draw_text(image, left + side + metrics - text_width("recall %", kSmallSize), top - kNameGap,
              "recall %", kSmallSize, kFaint);
    draw_text(image, left - kNameGap - text_width("precision %", kSmallSize), top + side + 18,
              "precision %", kSmallSize, kFaint);
  }
  draw_text(image, kMargin, height - kMargin, legend, kSmallSize, kFaint);
  return image;
}

}  // namespace glassnet
