// The side-by-side sheet: pictures and their explanations in rows, to be looked at or printed.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

struct Panel {
  std::string title;  // heads the column: "Grad-CAM"
  Image image;
  std::optional<ColourBar> bar;  // drawn once, below the column
};

struct SheetRow {
  Image input;
  std::vector<Panel> panels;
  std::string headline;         // "predicted glacier 93.1 % · true mountain"
  std::optional<bool> correct;  // unset where the truth is not known: no mark
  std::string caption;          // "20057.jpg"
};

struct SheetOptions {
  std::string title;     // above all, left out when empty
  std::string subtitle;  // below the title, smaller
  std::string note;      // at the bottom: how to read the panels
  std::string input_title = "Input";
  // Pictures are drawn with their longer side at the longest side of any in the sheet, but no
  // smaller and no larger than this.
  int min_panel = 192;
  int max_panel = 320;
};

// Column headings are drawn for the first row and again where a row's titles differ from those of
// the row before. Throws Error without rows, for an empty picture, and for a sheet of more than
// kMaxPixels: split it.
Image sheet(std::span<const SheetRow> rows, const SheetOptions& options = {});
// The same sheet as an SVG document (report/svg_canvas.h), as high and as wide.
std::string sheet_svg(std::span<const SheetRow> rows, const SheetOptions& options = {});

}  // namespace glassnet
