#include "report/timeline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "kernels/error.h"
#include "report/page.h"
#include "report/svg_canvas.h"

namespace glassnet {
namespace {

using namespace page;

constexpr int kWidth = 1000;
constexpr int kPlotX = kMargin + 78;  // right of the lanes' names
constexpr int kPlotWidth = kWidth - kMargin - kPlotX;
constexpr int kPartBand = 20, kPartLine = 3;  // names of parts, and the line below them
constexpr int kLane = 34, kLaneGap = 14;
constexpr int kAxisBand = 30;
constexpr int kLegendHead = 18, kLegendLine = 20;
constexpr int kLegendColumns = 3;
constexpr double kTextSize = 11.5;
constexpr double kLeastGap = 0.05;  // pixels, that is drawn

constexpr Rgb kGround{0xe9, 0xeb, 0xee};

constexpr std::array kKinds = {"convolutions",           "their input gradients",
                               "their weight gradients", "batch norm, with its ReLU",
                               "pooling and sums",       "matrix products",
                               "the weights' update",    "other ops"};
Rgb colour_of(size_t kind) {
  return class_colour(static_cast<int>(kind), static_cast<int>(kKinds.size()));
}

size_t kind_of(std::string_view op) {
  if (op == "conv2d" || op == "conv2d_bias_add_relu") return 0;
  if (op == "conv2d_input_gradient") return 1;
  if (op == "conv2d_weight_gradient") return 2;
  if (op.starts_with("batch_norm")) return 3;
  if (op.ends_with("_pool2d") || op == "sum" || op == "max_last") return 4;
  if (op == "matmul") return 5;
  if (op == "sgd" || op == "adam" || op == "gradient_norm") return 6;
  return 7;
}

constexpr const char* kOther = "other";  // what is in no phase

// Of a lane, in milliseconds.
struct Bar {
  double begin, end;
  size_t kind;
};
struct Part {
  double begin, end;
  std::string name;  // "layer1"
};
struct Lane {
  std::string name;         // of a phase, or kOther
  std::vector<Bar> bars;    // one after the other
  std::vector<Part> parts;  // likewise
};

struct Layout {
  double total = 0;  // milliseconds
  std::vector<Lane> lanes;
  std::vector<std::pair<double, size_t>> legend;  // (milliseconds, kind)
  double between = 0;
  int lanes_y = 0, axis_y = 0, legend_y = 0, height = 0;

  double x_of(double time) const { return kPlotWidth * time / total; }
};

Lane& lane_called(std::vector<Lane>& lanes, const std::string& name) {
  const auto found = std::ranges::find(lanes, name, &Lane::name);
  return found != lanes.end() ? *found : lanes.emplace_back(Lane{.name = name});
}

Layout lay_out(const std::vector<Span>& spans, const TimelineOptions& options) {
  require(!spans.empty() && spans.front().duration() > 0,
          [] { return std::string("[timeline] expected the spans of a step, got none"); });
  Layout layout{.total = spans.front().duration()};
  std::array<double, kKinds.size()> times = {};
  layout.between = layout.total;
  for (size_t i = 1; i < spans.size(); ++i) {
    const Span& span = spans[i];
    // What an op calls is part of it.
    if (span.kind != Span::Kind::kOp || nearest(spans, i, Span::Kind::kOp) != nullptr) continue;
    const Span* phase = outermost(spans, i, Span::Kind::kPhase);
    Lane& lane = lane_called(layout.lanes, phase != nullptr ? phase->name : kOther);
    const size_t kind = kind_of(span.name);
    times[kind] += span.duration();
    layout.between -= span.duration();
    lane.bars.push_back({span.begin, span.end, kind});

    const Span* layer = nearest(spans, i, Span::Kind::kLayer);
    const std::string part = layer == nullptr ? "" : layer->name.substr(0, layer->name.find('.'));
    const bool goes_on = !lane.parts.empty() && lane.parts.back().name == part;
    if (goes_on) {
      lane.parts.back().end = span.end;
    } else {
      lane.parts.push_back({span.begin, span.end, part});
    }
  }
  std::stable_partition(layout.lanes.begin(), layout.lanes.end(),
                        [](const Lane& lane) { return lane.name != kOther; });
  for (size_t kind = 0; kind < kKinds.size(); ++kind) {
    if (times[kind] > 0) layout.legend.emplace_back(times[kind], kind);
  }

  layout.lanes_y = kMargin + head_height(options.title, options.subtitle);
  const int lanes = static_cast<int>(layout.lanes.size());
  layout.axis_y = layout.lanes_y + lanes * (kPartBand + kLane + kLaneGap);
  layout.legend_y = layout.axis_y + kAxisBand + kLegendHead;
  const int entries = static_cast<int>(layout.legend.size()) + 1;
  const int rows = (entries + kLegendColumns - 1) / kLegendColumns;
  layout.height = layout.legend_y + rows * kLegendLine + kMargin;
  return layout;
}

// The least of 1, 2, 5, 10, … (times a power of ten) that is not below `value`.
double nice_step(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power * (1 + 1e-9)) return step * power;
  }
  return 10 * power;
}

void draw_axis(Canvas& canvas, const Layout& layout) {
  const double step = nice_step(layout.total / 10);
  for (int i = 0; i * step <= layout.total; ++i) {
    const double x = kPlotX + layout.x_of(i * step);
    const double top = layout.lanes_y + kPartBand, bottom = layout.axis_y - kLaneGap + 5;
    canvas.line(std::array{Point{top, x}, Point{bottom, x}}, 1, kRule);
    canvas.text(x, centred_baseline(bottom + 12, kTextSize), fmt::format("{:g}", i * step),
                {.size = kTextSize, .colour = kFaint, .anchor = Anchor::kMiddle});
  }
  canvas.text(kPlotX - 14, centred_baseline(layout.axis_y - kLaneGap + 17, kTextSize), "ms",
              {.size = kTextSize, .colour = kFaint, .anchor = Anchor::kEnd});
}

// Bars one after the other, and grey between them.
void draw_run(Canvas& canvas, int y, std::span<const Bar> bars, const Layout& layout) {
  const double begin = layout.x_of(bars.front().begin), end = layout.x_of(bars.back().end);
  const int left = kPlotX + static_cast<int>(begin);
  if (end - begin < 1) {  // at least a pixel of it is to be seen
    canvas.rectangle(y, left, kLane, 1, colour_of(bars.front().kind));
    return;
  }
  // A canvas's bars begin at a whole pixel and may end within one: each bar is drawn from the
  // beginning of the run, the last one first, and the ones before it are drawn over that.
  const auto fill_up_to = [&](double time, Rgb colour) {
    canvas.bars(y, left, kLane, std::array{kPlotX + layout.x_of(time) - left}, colour);
  };
  for (size_t i = bars.size(); i-- > 0;) {
    fill_up_to(bars[i].end, colour_of(bars[i].kind));
    const bool gap = i > 0 && layout.x_of(bars[i].begin - bars[i - 1].end) >= kLeastGap;
    if (gap) fill_up_to(bars[i].begin, kGround);
  }
}

void draw_lane(Canvas& canvas, int y, const Lane& lane, const Layout& layout) {
  const int top = y + kPartBand;
  canvas.text(kPlotX - 14, centred_baseline(top + kLane / 2.0, kHeadingSize), lane.name,
              {.size = kHeadingSize, .colour = kInk, .anchor = Anchor::kEnd});
  for (const Part& part : lane.parts) {
    const double begin = layout.x_of(part.begin), width = layout.x_of(part.end) - begin;
    if (part.name.empty() || width < 2) continue;
    const double line = top - kPartLine - 1.5;
    canvas.line(
        std::array{Point{line, kPlotX + begin + 1}, Point{line, kPlotX + begin + width - 1}}, 1.5,
        kFaint);
    if (text_width(part.name, kTextSize) > width) continue;
    canvas.text(kPlotX + begin + width / 2, line - 4, part.name,
                {.size = kTextSize, .colour = kFaint, .anchor = Anchor::kMiddle});
  }
  // What lies between ops of no phase may be a phase.
  std::vector<std::vector<Bar>> runs(1);
  for (const Bar& bar : lane.bars) {
    std::vector<Bar>& run = runs.back();
    const bool gap = !run.empty() && layout.x_of(bar.begin - run.back().end) >= kLeastGap;
    if (gap && lane.name == kOther) {
      runs.push_back({bar});
    } else if (!gap && !run.empty() && run.back().kind == bar.kind) {
      run.back().end = bar.end;
    } else {
      run.push_back(bar);
    }
  }
  for (const std::vector<Bar>& run : runs) draw_run(canvas, top, run, layout);
}

void draw_legend(Canvas& canvas, const Layout& layout) {
  const int column = (kWidth - 2 * kMargin) / kLegendColumns;
  const int entries = static_cast<int>(layout.legend.size()) + 1;
  const int rows = (entries + kLegendColumns - 1) / kLegendColumns;
  for (int i = 0; i < entries; ++i) {
    const bool left_over = i + 1 == entries;
    const size_t entry = static_cast<size_t>(i);
    const double time = left_over ? layout.between : layout.legend[entry].first;
    const int x = kMargin + i / rows * column, y = layout.legend_y + i % rows * kLegendLine;
    const double baseline = centred_baseline(y + 5.5, kTextSize);
    canvas.rectangle(y, x, 11, 11, left_over ? kGround : colour_of(layout.legend[entry].second));
    canvas.text(x + 18, baseline, left_over ? "between ops" : kKinds[layout.legend[entry].second],
                {.size = kTextSize, .colour = kInk, .room = column - 140.0});
    canvas.text(x + column - 70, baseline, fmt::format("{:.1f} ms", time),
                {.size = kTextSize, .colour = kInk, .anchor = Anchor::kEnd});
    canvas.text(x + column - 24, baseline, fmt::format("{:.1f} %", 100 * time / layout.total),
                {.size = kTextSize, .colour = kFaint, .anchor = Anchor::kEnd});
  }
}

void draw(Canvas& canvas, const TimelineOptions& options, const Layout& layout) {
  draw_head(canvas, options.title, options.subtitle, kWidth - 2 * kMargin);
  draw_axis(canvas, layout);
  int y = layout.lanes_y;
  for (const Lane& lane : layout.lanes) {
    draw_lane(canvas, y, lane, layout);
    y += kPartBand + kLane + kLaneGap;
  }
  draw_legend(canvas, layout);
}

// The picture in words.
std::string description(const TimelineOptions& options, const Layout& layout) {
  std::string words = options.subtitle.empty() ? "" : fmt::format("{}. ", options.subtitle);
  for (const auto& [time, kind] : layout.legend) {
    words += fmt::format("{}: {:.1f} ms. ", kKinds[kind], time);
  }
  return fmt::format("{}Between ops: {:.1f} ms.", words, layout.between);
}

}  // namespace

Image timeline(const std::vector<Span>& spans, const TimelineOptions& options) {
  const Layout layout = lay_out(spans, options);
  RasterCanvas canvas(layout.height, kWidth, options.scale);
  draw(canvas, options, layout);
  return std::move(canvas).image();
}

std::string timeline_svg(const std::vector<Span>& spans, const TimelineOptions& options) {
  const Layout layout = lay_out(spans, options);
  SvgCanvas canvas(layout.height, kWidth,
                   options.title.empty() ? "Where the time of a step goes" : options.title,
                   description(options, layout));
  draw(canvas, options, layout);
  return canvas.document();
}

}  // namespace glassnet
