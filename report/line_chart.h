// Lines over named positions, as SVG: text that can be read, selected and searched, on white.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace glassnet {

struct ChartLine {
  std::string name;            // stands at the line's end
  std::vector<double> values;  // one for each position; NaN leaves a gap
};

struct LineChart {
  std::string title, subtitle;  // the subtitle says what is to be seen
  std::string x_title, y_title;
  std::vector<std::string> positions;  // below the axis, from left to right
  std::vector<ChartLine> lines;        // told apart by their names and colours that all can see
  double low = 0, high = 1;            // of the axis, widened to hold every value
  std::optional<std::pair<double, std::string>> level;  // a dashed line, and what it means
};

// A whole SVG file. Throws Error when there is no position, or a line has not one value for each.
std::string line_chart_svg(const LineChart& chart);

}  // namespace glassnet
