// A page as SVG: text that can be searched, copied and set in another font, shapes that stay sharp,
// and pictures that lie in the file as PNGs.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "report/canvas.h"

namespace glassnet {

// `text` to be put between tags or into an attribute's double quotes. Control characters become a
// space, invalid UTF-8 and what else XML does not allow U+FFFD.
std::string xml_escaped(std::string_view text);

// CONVENTION: the same calls give the same bytes. Elements stand in the order of the calls, each on
// a line of its own.
class SvgCanvas : public Canvas {
 public:
  // White. `title` and `description` are what those are told who do not see the page.
  SvgCanvas(int height, int width, std::string_view title, std::string_view description);

  // The whole document, with an end.
  std::string document() const { return body_ + "</svg>\n"; }

  void rectangle(int y, int x, int height, int width, Rgb colour) override;
  // A picture of more than twice the pixels each way is reduced to that.
  void picture(int y, int x, int height, int width, const Image& picture,
               std::string_view name) override;
  void colours(int y, int x, int height, int width, Colormap colormap) override;
  void mark(double y, double x, double radius, bool right) override;

 private:
  void write(double x, double baseline, std::string_view text, const TextStyle& style) override;
  void fill(int y, int x, int height, int width, const std::string& paint);

  std::string body_;
  std::set<Colormap> gradients_;  // those that the document already defines
};

}  // namespace glassnet
