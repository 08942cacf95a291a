#include "report/sheet.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/draw.h"
#include "report/text.h"

namespace glassnet {
namespace {

constexpr Rgb kInk{0x1f, 0x23, 0x28};
constexpr Rgb kFaint{0x6a, 0x73, 0x7d};
constexpr Rgb kRule{0xdf, 0xe2, 0xe6};
constexpr Rgb kRight{0x12, 0x8a, 0x5b};
constexpr Rgb kWrong{0xc6, 0x34, 0x2c};

constexpr double kTitleSize = 21;
constexpr double kHeadlineSize = 15;
constexpr double kHeadingSize = 13.5;
constexpr double kSmallSize = 12;

constexpr int kMargin = 28;
constexpr int kGap = 14;        // between columns
constexpr int kRowGap = 26;     // between rows
constexpr int kTitleBand = 34;  // heights of lines, their space included
constexpr int kSubtitleBand = 22;
constexpr int kHeadingBand = 29;
constexpr int kHeadlineBand = 30;
constexpr int kCaptionBand = 19;  // where the caption has a line of its own
constexpr int kBarBand = 44;
constexpr int kBarHeight = 9;
constexpr int kNoteBand = 30;
constexpr double kMarkRadius = 9;

struct Layout {
  int side = 0;  // of the square cell a picture is fitted into
  int columns = 0;
  int width = 0;

  int column_x(int column) const { return kMargin + column * (side + kGap); }
  int content_width() const { return width - 2 * kMargin; }
};

Layout lay_out(std::span<const SheetRow> rows, const SheetOptions& options) {
  Layout layout;
  int longest = 0;
  const auto measure = [&](const Image& image) {
    require(image.height > 0 && image.width > 0, [] {
      return std::string("[sheet] expected a picture in every cell, got an empty one");
    });
    longest = std::max({longest, image.height, image.width});
  };
  for (const SheetRow& row : rows) {
    measure(row.input);
    for (const Panel& panel : row.panels) measure(panel.image);
    layout.columns = std::max(layout.columns, 1 + static_cast<int>(row.panels.size()));
  }
  layout.side = std::clamp(longest, options.min_panel, options.max_panel);
  layout.width = layout.column_x(layout.columns) - kGap + kMargin;
  return layout;
}

std::vector<std::string> titles_of(const SheetRow& row, const SheetOptions& options) {
  std::vector<std::string> titles = {options.input_title};
  for (const Panel& panel : row.panels) titles.push_back(panel.title);
  return titles;
}

// (height, width) of a picture whose longer side is `side`.
std::pair<int, int> fitted(const Image& image, int side) {
  const double scale = static_cast<double>(side) / std::max(image.height, image.width);
  return {std::max(1, static_cast<int>(std::lround(image.height * scale))),
          std::max(1, static_cast<int>(std::lround(image.width * scale)))};
}

int pictures_height(const SheetRow& row, const Layout& layout) {
  int height = fitted(row.input, layout.side).first;
  for (const Panel& panel : row.panels) {
    height = std::max(height, fitted(panel.image, layout.side).first);
  }
  return height;
}

// The baseline that centres capitals on `middle`.
double centred_baseline(double middle, double size) {
  return middle + font_metrics(size).cap_height / 2;
}

void draw_mark(Image& image, double y, double x, bool correct) {
  constexpr double kSymbolSize = 14;
  fill_disc(image, y, x, kMarkRadius, correct ? kRight : kWrong);
  const char* symbol = correct ? "✓" : "✗";
  draw_text(image, x - text_width(symbol, kSymbolSize) / 2, centred_baseline(y, kSymbolSize),
            symbol, kSymbolSize, kWhite);
}

void draw_headings(Image& image, int y, const std::vector<std::string>& titles,
                   const Layout& layout) {
  for (int column = 0; column < static_cast<int>(titles.size()); ++column) {
    draw_text(image, layout.column_x(column), centred_baseline(y + 7, kHeadingSize),
              fit_text(titles[column], kHeadingSize, layout.side), kHeadingSize, kFaint);
  }
  fill_rectangle(image, y + 19, kMargin, 1, layout.content_width(), kRule);
}

// Where a row's headline begins, its mark left of it.
double headline_x(const SheetRow& row) {
  return kMargin + (row.correct ? 2 * kMarkRadius + 8 : 0);
}

// Headline and caption share a line where both fit; neither is cut for the other's sake.
bool caption_beside(const SheetRow& row, const Layout& layout) {
  constexpr double kApart = 20;
  const double needed =
      text_width(row.headline, kHeadlineSize) + kApart + text_width(row.caption, kSmallSize);
  return row.caption.empty() || headline_x(row) + needed <= layout.width - kMargin;
}

int header_height(const SheetRow& row, const Layout& layout) {
  return kHeadlineBand + (caption_beside(row, layout) ? 0 : kCaptionBand);
}

void draw_header(Image& image, int y, const SheetRow& row, const Layout& layout) {
  const double middle = y + kHeadlineBand / 2.0 - 2;
  const double x = headline_x(row);
  const double room = layout.width - kMargin - x;
  if (row.correct) draw_mark(image, middle, kMargin + kMarkRadius, *row.correct);
  draw_text(image, x, centred_baseline(middle, kHeadlineSize),
            fit_text(row.headline, kHeadlineSize, room), kHeadlineSize, kInk);
  const std::string caption = fit_text(row.caption, kSmallSize, room, Cut::kMiddle);
  if (caption_beside(row, layout)) {
    draw_text(image, layout.width - kMargin - text_width(caption, kSmallSize),
              centred_baseline(middle, kSmallSize), caption, kSmallSize, kFaint);
  } else {
    draw_text(image, x, centred_baseline(middle + kCaptionBand, kSmallSize), caption, kSmallSize,
              kFaint);
  }
}

void draw_picture(Image& image, int y, int column, int band, const Image& picture,
                  const Layout& layout) {
  const auto [height, width] = fitted(picture, layout.side);
  paste(image, y + (band - height) / 2, layout.column_x(column) + (layout.side - width) / 2,
        resize(picture, height, width));
}

void draw_bar(Image& image, int y, int x, int width, const ColourBar& bar) {
  for (int i = 0; i < width; ++i) {
    const float value = width > 1 ? static_cast<float>(i) / static_cast<float>(width - 1) : 0.f;
    fill_rectangle(image, y, x + i, kBarHeight, 1, colour(bar.colormap, value));
  }
  const double baseline = y + kBarHeight + 5 + font_metrics(kSmallSize).cap_height;
  const std::string low = fit_text(bar.low, kSmallSize, width / 2.0 - 4);
  const std::string high = fit_text(bar.high, kSmallSize, width / 2.0 - 4);
  draw_text(image, x, baseline, low, kSmallSize, kFaint);
  draw_text(image, x + width - text_width(high, kSmallSize), baseline, high, kSmallSize, kFaint);
}

// The scale of each column: of the first row that has one.
std::vector<std::optional<ColourBar>> bars_of(std::span<const SheetRow> rows, int columns) {
  std::vector<std::optional<ColourBar>> bars(columns);
  for (const SheetRow& row : rows) {
    for (size_t i = 0; i < row.panels.size(); ++i) {
      if (!bars[i + 1]) bars[i + 1] = row.panels[i].bar;
    }
  }
  return bars;
}

}  // namespace

Image sheet(std::span<const SheetRow> rows, const SheetOptions& options) {
  require(!rows.empty(), [] { return std::string("[sheet] expected at least one row, got none"); });
  require(options.min_panel > 0 && options.min_panel <= options.max_panel, [&] {
    return fmt::format("[sheet] expected panels of 1 pixel or more, got {} to {}",
                       options.min_panel, options.max_panel);
  });
  const Layout layout = lay_out(rows, options);
  const auto bars = bars_of(rows, layout.columns);
  const bool has_bars = std::ranges::any_of(bars, [](const auto& bar) { return bar.has_value(); });
  const auto has_headings = [&](size_t i) {
    return i == 0 || titles_of(rows[i], options) != titles_of(rows[i - 1], options);
  };

  int64_t height = 2 * kMargin;
  if (!options.title.empty()) height += kTitleBand;
  if (!options.subtitle.empty()) height += kSubtitleBand;
  if (!options.title.empty() || !options.subtitle.empty()) height += kGap;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (has_headings(i)) height += kHeadingBand;
    height += header_height(rows[i], layout) + pictures_height(rows[i], layout) +
              (i + 1 < rows.size() ? kRowGap : 0);
  }
  if (has_bars) height += kBarBand;
  if (!options.note.empty()) height += kNoteBand;
  require(height * layout.width <= kMaxPixels, [&] {
    return fmt::format(
        "[sheet] {} rows make a picture of {} x {} pixels, which is too large; "
        "split them over several sheets",
        rows.size(), layout.width, height);
  });

  Image image = filled(static_cast<int>(height), layout.width, kWhite);
  int y = kMargin;
  if (!options.title.empty()) {
    draw_text(image, kMargin, centred_baseline(y + 9, kTitleSize),
              fit_text(options.title, kTitleSize, layout.content_width()), kTitleSize, kInk);
    y += kTitleBand;
  }
  if (!options.subtitle.empty()) {
    draw_text(image, kMargin, centred_baseline(y + 5, kHeadingSize),
              fit_text(options.subtitle, kHeadingSize, layout.content_width()), kHeadingSize,
              kFaint);
    y += kSubtitleBand;
  }
  if (y > kMargin) y += kGap;

  for (size_t i = 0; i < rows.size(); ++i) {
    const SheetRow& row = rows[i];
    if (has_headings(i)) {
      draw_headings(image, y, titles_of(row, options), layout);
      y += kHeadingBand;
    }
    draw_header(image, y, row, layout);
    y += header_height(row, layout);
    const int band = pictures_height(row, layout);
    draw_picture(image, y, 0, band, row.input, layout);
    for (size_t j = 0; j < row.panels.size(); ++j) {
      draw_picture(image, y, static_cast<int>(j) + 1, band, row.panels[j].image, layout);
    }
    y += band + (i + 1 < rows.size() ? kRowGap : 0);
  }

  for (int column = 0; column < layout.columns; ++column) {
    if (bars[column]) {
      draw_bar(image, y + 12, layout.column_x(column), layout.side, *bars[column]);
    }
  }
  if (has_bars) y += kBarBand;
  if (!options.note.empty()) {
    draw_text(image, kMargin, centred_baseline(y + kNoteBand - 6, kSmallSize),
              fit_text(options.note, kSmallSize, layout.content_width()), kSmallSize, kFaint);
  }
  return image;
}

}  // namespace glassnet
