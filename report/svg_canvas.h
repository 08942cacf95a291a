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
  // The picture lies in the document as large as its place, so that it is nearly as sharp where a
  // program knows only smooth enlargement.
  void cells(int y, int x, int height, int width, const Image& picture,
             std::string_view name) override;
  void bars(int y, int x, int thickness, std::span<const double> lengths, Rgb colour) override;
  void line(std::span<const Point> points, double width, Rgb colour) override;
  void colours(int y, int x, int height, int width, Colormap colormap) override;
  void mark(double y, double x, double radius, bool right) override;

 private:
  void write(double x, double baseline, std::string_view text, const TextStyle& style) override;
  // Of an element <image>; `more` are further attributes.
  void embed(int y, int x, int height, int width, const Image& picture, std::string_view name,
             std::string_view more);
  void fill(int y, int x, int height, int width, const std::string& paint);

  std::string body_;
  std::set<Colormap> gradients_;  // those that the document already defines
};

}  // namespace glassnet
