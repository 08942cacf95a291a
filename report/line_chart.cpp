#include "report/line_chart.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/colormap.h"
#include "report/page.h"
#include "report/text.h"

namespace glassnet {
namespace {

constexpr const char* kInk = "#1f2328";
constexpr const char* kFaint = "#59636e";
constexpr const char* kRule = "#e4e7ea";
constexpr double kTitleSize = 18, kTextSize = 13;
constexpr double kMargin = 24, kLabelGap = 26, kLabelHeight = 18;
constexpr double kPlotWidth = 560, kPlotHeight = 300;

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return result;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor = "start",
                    double size = kTextSize, const char* fill = kInk) {
  return fmt::format(
      R"(<text x="{:.1f}" y="{:.1f}" font-size="{}" text-anchor="{}" fill="{}">{}</text>)"
      "\n",
      x, y, size, anchor, fill, escaped(text));
}

std::string rule(double x1, double y1, double x2, double y2, const std::string& stroke,
                 const char* more = "") {
  return fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"{}/>)"
                     "\n",
                     x1, y1, x2, y2, stroke, more);
}

}  // namespace

std::string line_chart_svg(const LineChart& chart) {
  const size_t positions = chart.positions.size();
  require(positions > 0,
          [] { return std::string("[line_chart] expected a position or more, got none"); });
  double low = chart.low, high = chart.high;
  for (const ChartLine& line : chart.lines) {
    require(line.values.size() == positions, [&] {
      return fmt::format("[line_chart] expected {} values of {}, got {}", positions, line.name,
                         line.values.size());
    });
    for (const double value : line.values) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  // Ticks at every fifth of a unit.
  const double tick = 0.2 * std::max(1.0, std::ceil((high - low) / 2));
  low = tick * std::floor(low / tick + 1e-9);
  high = tick * std::ceil(high / tick - 1e-9);

  double names = 0;
  for (const ChartLine& line : chart.lines) {
    names = std::max(names, text_width(line.name, kTextSize));
  }
  const double left = kMargin + 52, top = kMargin + 74;
  const double right = left + kPlotWidth, bottom = top + kPlotHeight;
  const double width = std::max({right + kLabelGap + 6 + names + kMargin,
                                 2 * kMargin + text_width(chart.title, kTitleSize),
                                 2 * kMargin + text_width(chart.subtitle, kTextSize)});
  const double height = bottom + (chart.level ? 82 : 58) + kMargin;
  const auto x_of = [&](size_t i) {
    return positions == 1
               ? left
               : left + kPlotWidth * static_cast<double>(i) / static_cast<double>(positions - 1);
  };
  const auto y_of = [&](double value) {
    return bottom - kPlotHeight * (value - low) / (high - low);
  };

  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" viewBox="0 0 {0:.0f} {1:.0f}" font-family="'DejaVu Sans', Verdana, sans-serif">)"
      "\n"
      R"(<rect width="100%" height="100%" fill="#ffffff"/>)"
      "\n",
      width, height);
  svg += text_at(kMargin, kMargin + 16, chart.title, "start", kTitleSize);
  svg += text_at(kMargin, kMargin + 40, chart.subtitle, "start", kTextSize, kFaint);

  for (int i = 0; low + i * tick <= high + 1e-9; ++i) {
    const double value = low + i * tick;
    const bool zero = std::abs(value) < 1e-9;
    svg += rule(left, y_of(value), right, y_of(value), zero ? kFaint : kRule);
    svg += text_at(left - 10, y_of(value) + 4.5, fmt::format("{:.1f}", zero ? 0.0 : value), "end",
                   kTextSize, kFaint);
  }
  for (size_t i = 0; i < positions; ++i) {
    svg += text_at(x_of(i), bottom + 22, chart.positions[i], "middle");
  }
  svg += text_at((left + right) / 2, bottom + 46, chart.x_title, "middle", kTextSize, kFaint);
  svg += fmt::format(
      R"svg(<text transform="translate({:.1f} {:.1f}) rotate(-90)" font-size="{}" text-anchor="middle" fill="{}">{}</text>)svg"
      "\n",
      kMargin + 8, (top + bottom) / 2, kTextSize, kFaint, escaped(chart.y_title));
  if (chart.level) {
    // Explained below: anywhere else a line may run through the words.
    constexpr const char* kDashes = R"( stroke-dasharray="5 4")";
    const double y = y_of(chart.level->first), key = bottom + 72;
    svg += rule(left, y, right, y, kFaint, kDashes);
    svg += rule(left, key, left + 36, key, kFaint, kDashes);
    svg += text_at(left + 46, key + 4.5, chart.level->second, "start", kTextSize, kFaint);
  }

  std::vector<double> ends;
  for (const ChartLine& line : chart.lines) {
    const auto last = std::find_if(line.values.rbegin(), line.values.rend(),
                                   [](double value) { return std::isfinite(value); });
    ends.push_back(y_of(last == line.values.rend() ? low : *last));
  }
  const std::vector<double> labels = page::spread(ends, kLabelHeight, bottom);
  for (size_t l = 0; l < chart.lines.size(); ++l) {
    const ChartLine& line = chart.lines[l];
    const std::string stroke = hex(class_colour(static_cast<int>(l)));
    std::string path, dots;
    bool pen_down = false;
    for (size_t i = 0; i < positions; ++i) {
      const bool drawn = std::isfinite(line.values[i]);
      if (drawn) {
        const double x = x_of(i), y = y_of(line.values[i]);
        path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", x, y);
        dots += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="3.5"/>)", x, y);
      }
      pen_down = drawn;
    }
    svg += fmt::format(
        R"(<path d="{}" fill="none" stroke="{}" stroke-width="2.5" stroke-linejoin="round"/>)"
        "\n",
        path, stroke);
    svg += fmt::format("<g fill=\"{}\">{}</g>\n", stroke, dots);
    svg += rule(right + 6, ends[l], right + kLabelGap, labels[l], stroke);
    svg += text_at(right + kLabelGap + 6, labels[l] + 4.5, line.name);
  }
  return svg + "</svg>\n";
}

}  // namespace glassnet
