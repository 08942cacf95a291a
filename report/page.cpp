#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet::page {
namespace {

constexpr int kTitleBand = 34;  // heights of lines, their space included
constexpr int kSubtitleBand = 22;
constexpr int kBarHeight = 9;

}  // namespace

double centred_baseline(double middle, double size) {
  return middle + font_metrics(size).cap_height / 2;
}

std::pair<int, int> fitted(const Image& picture, int side) {
  const double scale = static_cast<double>(side) / std::max(picture.height, picture.width);
  return {std::max(1, static_cast<int>(std::lround(picture.height * scale))),
          std::max(1, static_cast<int>(std::lround(picture.width * scale)))};
}

void draw_fitted(Canvas& canvas, int y, int x, int height, int side, const Image& picture,
                 std::string_view name) {
  const auto [h, w] = fitted(picture, side);
  canvas.picture(y + (height - h) / 2, x + (side - w) / 2, h, w, picture, name);
}

int head_height(const std::string& title, const std::string& subtitle) {
  const int lines = (title.empty() ? 0 : kTitleBand) + (subtitle.empty() ? 0 : kSubtitleBand);
  return lines > 0 ? lines + kGap : 0;
}

void draw_head(Canvas& canvas, const std::string& title, const std::string& subtitle, double room) {
  int y = kMargin;
  if (!title.empty()) {
    canvas.text(kMargin, centred_baseline(y + 9, kTitleSize), title,
                {.size = kTitleSize, .colour = kInk, .room = room});
    y += kTitleBand;
  }
  canvas.text(kMargin, centred_baseline(y + 5, kHeadingSize), subtitle,
              {.size = kHeadingSize, .colour = kFaint, .room = room});
}

void draw_bar(Canvas& canvas, int y, int x, int width, const ColourBar& bar) {
  const int top = y + 12;
  canvas.colours(top, x, kBarHeight, width, bar.colormap);
  const double baseline = top + kBarHeight + 5 + font_metrics(kSmallSize).cap_height;
  TextStyle style{.size = kSmallSize, .colour = kFaint, .room = width / 2.0 - 4};
  canvas.text(x, baseline, bar.low, style);
  style.anchor = Anchor::kEnd;
  canvas.text(x + width, baseline, bar.high, style);
}

void draw_note(Canvas& canvas, int y, const std::string& note, double room) {
  canvas.text(kMargin, centred_baseline(y + kNoteBand - 6, kSmallSize), note,
              {.size = kSmallSize, .colour = kFaint, .room = room});
}

std::vector<double> spread(std::vector<double> wanted, double apart, double bottom) {
  std::vector<size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    wanted[order[i]] = std::max(wanted[order[i]], wanted[order[i - 1]] + apart);
  }
  for (size_t i = order.size(); i-- > 0; bottom -= apart) {
    wanted[order[i]] = std::min(wanted[order[i]], bottom);
  }
  return wanted;
}

void require_bearable(int64_t height, int64_t width, const std::string& what) {
  require(height <= kMaxPixels / width, [&] {
    return fmt::format(
        "{} make a picture of {} x {} pixels, which is too large; split them over several sheets",
        what, width, height);
  });
}

}  // namespace glassnet::page
