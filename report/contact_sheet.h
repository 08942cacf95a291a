// The contact sheet: many small pictures in a grid, each with two lines below it, in sections with
// a heading: "mountain taken for glacier (14 images)".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"
#include "report/colormap.h"

namespace glassnet {

struct ContactCell {
  Image picture;
  std::optional<Image> overlay;  // stands beside the picture
  std::string caption;           // "mountain → glacier"
  std::string detail;            // below it, smaller: "93.1 % · 20057.jpg"
  std::optional<bool> correct;   // unset where the truth is not known: no mark
};

struct ContactSection {
  std::string heading;  // left out when empty
  std::vector<ContactCell> cells;
};

struct ContactSheetOptions {
  std::string title;             // above all, left out when empty
  std::string subtitle;          // below the title, smaller
  std::string note;              // at the bottom
  std::optional<ColourBar> bar;  // what the overlays' colours mean, drawn once, at the end
  int columns = 0;               // of cells; 0: as many as 1210 pixels hold
  int side = 136;                // the longer side of every picture, pixels
};

// Sections of a few cells stand beside each other, those without any are left out. Throws Error
// without any cell, for an empty picture, and for a sheet of more than kMaxPixels: split it.
Image contact_sheet(std::span<const ContactSection> sections,
                    const ContactSheetOptions& options = {});
// The same sheet as an SVG document (report/svg_canvas.h), as high and as wide.
std::string contact_sheet_svg(std::span<const ContactSection> sections,
                              const ContactSheetOptions& options = {});

}  // namespace glassnet
