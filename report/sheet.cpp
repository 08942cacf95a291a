#include "report/sheet.h"

#include <algorithm>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/page.h"
#include "report/svg_canvas.h"

namespace glassnet {
namespace {

using namespace page;

constexpr int kRowGap = 26;  // between rows
constexpr int kHeadingBand = 29;
constexpr int kHeadlineBand = 30;
constexpr int kCaptionBand = 19;  // where the caption has a line of its own
constexpr double kMarkRadius = 9;
constexpr double kApart = 20;  // headline and caption, at least

struct Layout {
  int side = 0;  // of the square cell a picture is fitted into
  int columns = 0;
  int height = 0;
  int width = 0;
  std::vector<std::optional<ColourBar>> bars;  // of each column: the first that a row has

  int column_x(int column) const { return kMargin + column * (side + kGap); }
  int content_width() const { return width - 2 * kMargin; }
  bool has_bars() const {
    return std::ranges::any_of(bars, [](const auto& bar) { return bar.has_value(); });
  }
};

std::vector<std::string> titles_of(const SheetRow& row, const SheetOptions& options) {
  std::vector<std::string> titles = {options.input_title};
  for (const Panel& panel : row.panels) titles.push_back(panel.title);
  return titles;
}

bool has_headings(std::span<const SheetRow> rows, size_t i, const SheetOptions& options) {
  return i == 0 || titles_of(rows[i], options) != titles_of(rows[i - 1], options);
}

int pictures_height(const SheetRow& row, const Layout& layout) {
  int height = fitted(row.input, layout.side).first;
  for (const Panel& panel : row.panels) {
    height = std::max(height, fitted(panel.image, layout.side).first);
  }
  return height;
}

// Where a row's headline begins, its mark left of it.
double headline_x(const SheetRow& row) {
  return kMargin + (row.correct ? 2 * kMarkRadius + 8 : 0);
}

// Headline and caption share a line where both fit; neither is cut for the other's sake.
bool caption_beside(const SheetRow& row, const Layout& layout) {
  const double needed =
      text_width(row.headline, kHeadlineSize) + kApart + text_width(row.caption, kSmallSize);
  return row.caption.empty() || headline_x(row) + needed <= layout.width - kMargin;
}

int header_height(const SheetRow& row, const Layout& layout) {
  return kHeadlineBand + (caption_beside(row, layout) ? 0 : kCaptionBand);
}

Layout lay_out(std::span<const SheetRow> rows, const SheetOptions& options) {
  require(!rows.empty(), [] { return std::string("[sheet] expected at least one row, got none"); });
  require(options.min_panel > 0 && options.min_panel <= options.max_panel, [&] {
    return fmt::format("[sheet] expected panels of 1 pixel or more, got {} to {}",
                       options.min_panel, options.max_panel);
  });
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
    layout.columns = std::max(layout.columns, 1 + static_cast<int>(row.panels.size()));
    layout.bars.resize(layout.columns);
    for (size_t i = 0; i < row.panels.size(); ++i) {
      measure(row.panels[i].image);
      if (!layout.bars[i + 1]) layout.bars[i + 1] = row.panels[i].bar;
    }
  }
  layout.side = std::clamp(longest, options.min_panel, options.max_panel);
  layout.width = layout.column_x(layout.columns) - kGap + kMargin;

  int64_t height = 2 * kMargin + head_height(options.title, options.subtitle);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (has_headings(rows, i, options)) height += kHeadingBand;
    height += header_height(rows[i], layout) + pictures_height(rows[i], layout) +
              (i + 1 < rows.size() ? kRowGap : 0);
  }
  if (layout.has_bars()) height += kBarBand;
  if (!options.note.empty()) height += kNoteBand;
  require_bearable(height, layout.width, fmt::format("[sheet] {} rows", rows.size()));
  layout.height = static_cast<int>(height);
  return layout;
}

void draw_headings(Canvas& canvas, int y, const std::vector<std::string>& titles,
                   const Layout& layout) {
  for (int column = 0; column < static_cast<int>(titles.size()); ++column) {
    canvas.text(layout.column_x(column), centred_baseline(y + 7, kHeadingSize), titles[column],
                {.size = kHeadingSize, .colour = kFaint, .room = 1.0 * layout.side});
  }
  canvas.rectangle(y + 19, kMargin, 1, layout.content_width(), kRule);
}

void draw_header(Canvas& canvas, int y, const SheetRow& row, const Layout& layout) {
  const double middle = y + kHeadlineBand / 2.0 - 2;
  const double x = headline_x(row);
  const double right = layout.width - kMargin;
  const bool beside = !row.caption.empty() && caption_beside(row, layout);
  // Beside a caption the headline fits with room to spare, which a wider font may use half of.
  const double taken = beside ? text_width(row.caption, kSmallSize) + kApart / 2 : 0;
  if (row.correct) canvas.mark(middle, kMargin + kMarkRadius, kMarkRadius, *row.correct);
  canvas.text(x, centred_baseline(middle, kHeadlineSize), row.headline,
              {.size = kHeadlineSize, .colour = kInk, .room = right - x - taken});
  TextStyle style{.size = kSmallSize, .colour = kFaint, .room = right - x, .cut = Cut::kMiddle};
  if (beside) {
    style.anchor = Anchor::kEnd;
    canvas.text(right, centred_baseline(middle, kSmallSize), row.caption, style);
  } else {
    canvas.text(x, centred_baseline(middle + kCaptionBand, kSmallSize), row.caption, style);
  }
}

void draw(Canvas& canvas, std::span<const SheetRow> rows, const SheetOptions& options,
          const Layout& layout) {
  draw_head(canvas, options.title, options.subtitle, layout.content_width());
  int y = kMargin + head_height(options.title, options.subtitle);
  for (size_t i = 0; i < rows.size(); ++i) {
    const SheetRow& row = rows[i];
    const std::vector<std::string> titles = titles_of(row, options);
    if (has_headings(rows, i, options)) {
      draw_headings(canvas, y, titles, layout);
      y += kHeadingBand;
    }
    draw_header(canvas, y, row, layout);
    y += header_height(row, layout);
    const int band = pictures_height(row, layout);
    for (size_t j = 0; j < titles.size(); ++j) {
      draw_fitted(canvas, y, layout.column_x(static_cast<int>(j)), band, layout.side,
                  j == 0 ? row.input : row.panels[j - 1].image,
                  fmt::format("{}: {}", titles[j], row.caption));
    }
    y += band + (i + 1 < rows.size() ? kRowGap : 0);
  }

  for (int column = 0; column < layout.columns; ++column) {
    const std::optional<ColourBar>& bar = layout.bars[column];
    if (bar) draw_bar(canvas, y, layout.column_x(column), layout.side, *bar);
  }
  if (layout.has_bars()) y += kBarBand;
  draw_note(canvas, y, options.note, layout.content_width());
}

// The sheet in words.
std::string description(std::span<const SheetRow> rows, const SheetOptions& options) {
  std::string text = options.subtitle;
  for (const SheetRow& row : rows) {
    if (!text.empty()) text += ". ";
    text += row.caption.empty() ? row.headline : fmt::format("{}: {}", row.caption, row.headline);
    if (row.correct) text += *row.correct ? ", right" : ", wrong";
  }
  return text;
}

}  // namespace

Image sheet(std::span<const SheetRow> rows, const SheetOptions& options) {
  const Layout layout = lay_out(rows, options);
  RasterCanvas canvas(layout.height, layout.width);
  draw(canvas, rows, options, layout);
  return std::move(canvas).image();
}

std::string sheet_svg(std::span<const SheetRow> rows, const SheetOptions& options) {
  const Layout layout = lay_out(rows, options);
  SvgCanvas canvas(layout.height, layout.width,
                   options.title.empty() ? "Pictures and their explanations" : options.title,
                   description(rows, options));
  draw(canvas, rows, options, layout);
  return canvas.document();
}

}  // namespace glassnet
