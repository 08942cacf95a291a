#include "report/contact_sheet.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/page.h"
#include "report/svg_canvas.h"

namespace glassnet {
namespace {

using namespace page;

constexpr int kWidth = 1210;     // of a page, at most
constexpr int kNarrowest = 440;  // so that a title has room above a single picture
constexpr int kPairGap = 3;      // between a picture and its overlay
constexpr int kColumnGap = 18;
constexpr int kRowGap = 16;
constexpr int kSectionGap = 30;
constexpr int kHeadingBand = 35;
constexpr int kCaptionBand = 42;  // below the pictures: both lines
constexpr int kLegendGap = 10;

constexpr double kSectionSize = 14;
constexpr double kCaptionSize = 12;
constexpr double kSmallestCaption = 9.5;
constexpr double kDetailSize = 10.5;
constexpr double kMarkRadius = 6;
constexpr double kMarkRoom = 2 * kMarkRadius + 6;

constexpr int kBarWidth = 260;

// Where everything lies.
struct Layout {
  struct Heading {
    int y, x, width;
    const std::string* text;
  };
  struct Cell {
    int y, x, height;  // of the pictures' band
    const ContactCell* content;
  };

  int height = 0;
  int width = 0;
  int cell_width = 0;
  double caption_size = kCaptionSize;  // the same for all, so that the longest fits if it can
  int end = 0;                         // below the last section
  std::vector<Heading> headings;
  std::vector<Cell> cells;

  int content_width() const { return width - 2 * kMargin; }
  bool has(bool mark) const {
    return std::ranges::any_of(cells, [&](const Cell& cell) {
      return cell.content->correct && *cell.content->correct == mark;
    });
  }
  bool has_legend(const ContactSheetOptions& options) const {
    return options.bar || has(true) || has(false);
  }
};

double caption_x(const Layout::Cell& cell) {
  return cell.x + (cell.content->correct ? kMarkRoom : 0);
}

double caption_room(const Layout::Cell& cell, const Layout& layout) {
  return cell.x + layout.cell_width - caption_x(cell);
}

int pictures_height(std::span<const ContactCell> cells, int side) {
  int height = 0;
  for (const ContactCell& cell : cells) {
    height = std::max(height, fitted(cell.picture, side).first);
    if (cell.overlay) height = std::max(height, fitted(*cell.overlay, side).first);
  }
  return height;
}

// Those, of `columns`, that a section's cells and its heading need.
int columns_of(const ContactSection& section, int columns, int step) {
  if (section.cells.empty()) return 0;
  const double heading = text_width(section.heading, kSectionSize) + kColumnGap;
  const double needed =
      std::max(static_cast<double>(section.cells.size()), std::ceil(heading / step));
  return static_cast<int>(std::min(needed, static_cast<double>(columns)));
}

Layout lay_out(std::span<const ContactSection> sections, const ContactSheetOptions& options) {
  constexpr int kMaxSide = 4096, kMaxColumns = 1000;
  require(options.side > 0 && options.side <= kMaxSide && options.columns >= 0 &&
              options.columns <= kMaxColumns,
          [&] {
            return fmt::format(
                "[contact_sheet] expected pictures of 1 to {} pixels in at most {} columns, got {} "
                "pixels and {} columns",
                kMaxSide, kMaxColumns, options.side, options.columns);
          });
  size_t count = 0;
  bool paired = false;
  const auto is_empty = [](const Image& image) { return image.height <= 0 || image.width <= 0; };
  for (const ContactSection& section : sections) {
    count += section.cells.size();
    for (const ContactCell& cell : section.cells) {
      paired = paired || cell.overlay;
      require(!is_empty(cell.picture) && !(cell.overlay && is_empty(*cell.overlay)), [] {
        return std::string("[contact_sheet] expected a picture in every cell, got an empty one");
      });
    }
  }
  require(count > 0,
          [] { return std::string("[contact_sheet] expected at least one picture, got none"); });

  Layout layout;
  layout.cell_width = paired ? 2 * options.side + kPairGap : options.side;
  const int step = layout.cell_width + kColumnGap;
  int columns = options.columns;
  if (columns == 0) {
    const int holds = std::max(1, (kWidth - 2 * kMargin + kColumnGap) / step);
    for (const ContactSection& section : sections) columns += columns_of(section, holds, step);
    columns = std::min(columns, holds);
  }
  layout.width = 2 * kMargin + std::max(columns * step - kColumnGap, kNarrowest);

  // Short sections stand beside each other: where the current ones began, and the next free column.
  int top = kMargin + head_height(options.title, options.subtitle);
  int column = 0;
  layout.end = top;
  for (const ContactSection& section : sections) {
    if (section.cells.empty()) continue;
    const bool headed = !section.heading.empty();
    const int wide = columns_of(section, columns, step);
    if (!headed || section.cells.size() > static_cast<size_t>(wide) || column + wide > columns) {
      top = layout.end + (layout.cells.empty() ? 0 : kSectionGap);
      column = 0;
    }
    const int x = kMargin + column * step;
    int y = top;
    if (headed) {
      const int width = wide == columns ? layout.content_width() : wide * step - kColumnGap;
      layout.headings.push_back({y, x, width, &section.heading});
      y += kHeadingBand;
    }
    const std::span<const ContactCell> cells = section.cells;
    for (size_t first = 0; first < cells.size(); first += columns) {
      const auto row = cells.subspan(first, std::min<size_t>(columns, cells.size() - first));
      const int band = pictures_height(row, options.side);
      if (first > 0) y += kRowGap;
      for (size_t i = 0; i < row.size(); ++i) {
        layout.cells.push_back({y, x + static_cast<int>(i) * step, band, &row[i]});
      }
      y += band + kCaptionBand;
    }
    layout.end = std::max(layout.end, y);
    column = headed ? column + wide : columns;
  }

  double scale = 1;
  for (const Layout::Cell& cell : layout.cells) {
    scale = std::min(scale, caption_room(cell, layout) /
                                std::max(text_width(cell.content->caption, kCaptionSize), 1.0));
  }
  // In half pixels, for a size that a reader of the SVG would choose.
  layout.caption_size = std::max(std::floor(2 * kCaptionSize * scale) / 2, kSmallestCaption);

  const int64_t height = int64_t{layout.end} +
                         (layout.has_legend(options) ? kLegendGap + kBarBand : 0) +
                         (options.note.empty() ? 0 : kNoteBand) + kMargin;
  require_bearable(height, layout.width, fmt::format("[contact_sheet] {} cells", count));
  layout.height = static_cast<int>(height);
  return layout;
}

void draw_cell(Canvas& canvas, const Layout::Cell& cell, int side, const Layout& layout) {
  const ContactCell& content = *cell.content;
  const std::string name = fmt::format("{}, {}", content.caption, content.detail);
  draw_fitted(canvas, cell.y, cell.x, cell.height, side, content.picture, name);
  if (content.overlay) {
    draw_fitted(canvas, cell.y, cell.x + side + kPairGap, cell.height, side, *content.overlay,
                fmt::format("{}, explained", name));
  }
  const double middle = cell.y + cell.height + 14;
  const double x = caption_x(cell);
  const double room = caption_room(cell, layout);
  if (content.correct) canvas.mark(middle, cell.x + kMarkRadius, kMarkRadius, *content.correct);
  canvas.text(x, centred_baseline(middle, layout.caption_size), content.caption,
              {.size = layout.caption_size, .colour = kInk, .room = room});
  const double detail_size = std::min(kDetailSize, layout.caption_size);
  canvas.text(x, centred_baseline(middle + 17, detail_size), content.detail,
              {.size = detail_size, .colour = kFaint, .room = room, .cut = Cut::kMiddle});
}

void draw_legend(Canvas& canvas, int y, const ContactSheetOptions& options, const Layout& layout) {
  double x = kMargin;
  if (options.bar) {
    draw_bar(canvas, y, kMargin, kBarWidth, *options.bar);
    x += kBarWidth + 2 * kGap;
  }
  const double middle = y + 17;
  for (const bool right : {true, false}) {
    if (!layout.has(right)) continue;
    const char* word = right ? "right" : "wrong";
    canvas.mark(middle, x + kMarkRadius, kMarkRadius, right);
    x += kMarkRoom;
    canvas.text(x, centred_baseline(middle, kSmallSize), word,
                {.size = kSmallSize, .colour = kFaint});
    x += text_width(word, kSmallSize) + kGap;
  }
}

void draw(Canvas& canvas, const ContactSheetOptions& options, const Layout& layout) {
  draw_head(canvas, options.title, options.subtitle, layout.content_width());
  for (const Layout::Heading& heading : layout.headings) {
    canvas.text(heading.x, centred_baseline(heading.y + 8, kSectionSize), *heading.text,
                {.size = kSectionSize, .colour = kInk, .room = 1.0 * heading.width});
    canvas.rectangle(heading.y + 22, heading.x, 1, heading.width, kRule);
  }
  for (const Layout::Cell& cell : layout.cells) draw_cell(canvas, cell, options.side, layout);
  int y = layout.end;
  if (layout.has_legend(options)) {
    draw_legend(canvas, y + kLegendGap, options, layout);
    y += kLegendGap + kBarBand;
  }
  draw_note(canvas, y, options.note, layout.content_width());
}

// The sheet in words.
std::string description(std::span<const ContactSection> sections,
                        const ContactSheetOptions& options) {
  std::string text = options.subtitle;
  for (const ContactSection& section : sections) {
    if (section.cells.empty() || section.heading.empty()) continue;
    if (!text.empty()) text += ". ";
    text += section.heading;
  }
  return text;
}

}  // namespace

Image contact_sheet(std::span<const ContactSection> sections, const ContactSheetOptions& options) {
  const Layout layout = lay_out(sections, options);
  RasterCanvas canvas(layout.height, layout.width);
  draw(canvas, options, layout);
  return std::move(canvas).image();
}

std::string contact_sheet_svg(std::span<const ContactSection> sections,
                              const ContactSheetOptions& options) {
  const Layout layout = lay_out(sections, options);
  SvgCanvas canvas(layout.height, layout.width,
                   options.title.empty() ? "Pictures and their explanations" : options.title,
                   description(sections, options));
  draw(canvas, options, layout);
  return canvas.document();
}

}  // namespace glassnet
