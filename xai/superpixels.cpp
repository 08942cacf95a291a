#include "xai/superpixels.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "kernels/superpixels.h"
#include "tensor/numpy_random.h"

namespace glassnet {
namespace {

// Throws UsageError for what is no image; the image itself, on the CPU, otherwise.
Tensor checked_image(const char* op, const Tensor& image) {
  if (image.rank() != 3 || image.dim(2) != 3 || image.dtype() != DType::kUInt8 ||
      image.numel() == 0) {
    throw UsageError(fmt::format("[{}] expected an image (H, W, 3) of uint8, got {} of {}", op,
                                 image.shape().str(), name_of(image.dtype())));
  }
  return image.to(Device{});
}

void require_option(bool holds, const char* op, const char* expected, double value) {
  if (!holds) throw UsageError(fmt::format("[{}] expected {}, got {}", op, expected, value));
}

// What each byte stands for, from 0 to 1. A product, as in scikit-image: a division rounds
// otherwise.
std::array<double, 256> byte_levels() {
  std::array<double, 256> levels;
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<double>(i) * (1.0 / 255);
  return levels;
}

// planes (3, h, w), smoothed unless sigma is 0, times `scale`; in place where it can be.
Tensor smoothed(Tensor planes, double sigma, double scale) {
  if (sigma > 0) {
    const Tensor sharp = std::exchange(planes, Tensor::empty(planes.shape(), DType::kFloat64));
    kernels::gaussian_smooth(Cpu{}, sharp.data<double>(), planes.data<double>(), sigma,
                             {planes.dim(0), planes.dim(1), planes.dim(2)});
  }
  auto* values = planes.data<double>();
  std::for_each(values, values + planes.numel(), [=](double& value) { value *= scale; });
  return planes;
}

// L*a*b* of an image in planes (3, h, w).
Tensor lab_planes(const Tensor& image, const std::array<double, 256>& levels) {
  Tensor lab = Tensor::empty({3, image.dim(0), image.dim(1)}, DType::kFloat64);
  kernels::rgb_to_lab(Cpu{}, levels.data(), image.data<uint8_t>(), lab.data<double>(),
                      image.dim(0) * image.dim(1));
  return lab;
}

// Segments from labels between 0 and the number of pixels less one: those that occur become 0, 1,
// 2, … in their order.
Superpixels relabelled(Tensor labels) {
  const int64_t pixels = labels.numel();
  auto* label = labels.data<int64_t>();
  std::vector<int64_t> number(static_cast<size_t>(pixels));
  for (int64_t i = 0; i < pixels; ++i) number[label[i]] = 1;
  const int64_t count = std::reduce(number.begin(), number.end());
  std::exclusive_scan(number.begin(), number.end(), number.begin(), int64_t{0});
  for (int64_t i = 0; i < pixels; ++i) label[i] = number[label[i]];
  return {std::move(labels), count};
}

}  // namespace

// --- quickshift ----------------------------------------------------------------------------------

Superpixels quickshift(const Tensor& given, const QuickshiftOptions& options, Device device) {
  const Tensor image = checked_image("quickshift", given);
  require_option(options.kernel_size >= 1, "quickshift", "a kernel of at least 1 pixel",
                 options.kernel_size);
  require_option(options.max_dist >= 0, "quickshift", "a longest link of at least 0",
                 options.max_dist);
  require_option(options.sigma >= 0, "quickshift", "a sigma of at least 0", options.sigma);
  const int64_t h = image.dim(0), w = image.dim(1);

  Tensor density = Tensor::empty({h, w}, DType::kFloat64);
  if (options.tie_noise) {
    density.copy_from(*options.tie_noise);
  } else {
    NumpyGenerator random(options.seed);
    std::generate_n(density.data<double>(), h * w, [&] { return 1e-5 * random.normal(); });
  }

  const Tensor colors =
      smoothed(lab_planes(image, byte_levels()), options.sigma, options.ratio).to(device);
  density = density.to(device);
  Tensor parents = Tensor::empty({h, w}, DType::kInt64, device);
  on(device, [&](auto tag) {
    const OpScope scope("quickshift");
    const kernels::QuickshiftShape shape{h, w, options.kernel_size};
    kernels::quickshift_density(tag, colors.data<double>(), density.data<double>(), shape);
    kernels::quickshift_parents(tag, colors.data<double>(), density.data<double>(),
                                options.max_dist, parents.data<int64_t>(), shape);
  });

  // Every pixel follows its links to the root of its tree. A parent is denser than its child, so
  // there are no circles; what is passed on the way is shortened for those who come later.
  parents = parents.to(Device{});
  auto* parent = parents.data<int64_t>();
  for (int64_t i = 0; i < h * w; ++i) {
    int64_t root = i;
    while (parent[root] != root) root = parent[root];
    for (int64_t at = i; at != root;) at = std::exchange(parent[at], root);
  }
  return relabelled(parents);
}

// --- SLIC ----------------------------------------------------------------------------------------

namespace {

// Places start, start + step, … of both axes: about `points` of them, as far from each other along
// one axis as along the other, where the image is wide enough for that.
struct Grid {
  int64_t start_y, step_y, start_x, step_x;
};
Grid regular_grid(int64_t h, int64_t w, int64_t points) {
  if (h * w <= points) return {0, 1, 0, 1};
  const auto shorter = static_cast<double>(std::min(h, w));
  const auto longer = static_cast<double>(std::max(h, w)), count = static_cast<double>(points);
  double short_step = std::sqrt(shorter * longer / count), long_step = short_step;
  if (shorter < short_step) {
    short_step = shorter;
    long_step = longer / count;
  }
  const double step_y = h <= w ? short_step : long_step, step_x = h <= w ? long_step : short_step;
  const auto start = [](double step) { return static_cast<int64_t>(std::floor(step / 2)); };
  return {start(step_y), std::llrint(step_y), start(step_x), std::llrint(step_x)};
}

// The segments (h, w) that SLIC's labels (h, w) fall into. Pixels are visited row by row, and from
// each one its component is gathered, nearest first, up to max_size pixels. A component of fewer
// than min_size goes to the last neighbour that was met on the way.
Tensor connected_segments(const Tensor& labels, int64_t min_size, int64_t max_size) {
  const int64_t h = labels.dim(0), w = labels.dim(1);
  const auto* label = labels.data<int64_t>();
  Tensor result = Tensor::full({h, w}, -1, DType::kInt64);
  auto* segment = result.data<int64_t>();
  int64_t next = 0;
  std::vector<int64_t> component;
  const auto size = [&] { return static_cast<int64_t>(component.size()); };

  for (int64_t first = 0; first < h * w; ++first) {
    if (segment[first] >= 0) continue;
    int64_t neighbour = next;
    segment[first] = next;
    component.assign(1, first);
    for (size_t visited = 0; visited < component.size() && size() < max_size; ++visited) {
      const int64_t y = component[visited] / w, x = component[visited] % w;
      const int64_t places[4][2] = {{y, x + 1}, {y, x - 1}, {y + 1, x}, {y - 1, x}};
      for (const auto& [row, column] : places) {
        if (row < 0 || row >= h || column < 0 || column >= w) continue;
        const int64_t pixel = row * w + column;
        if (segment[pixel] < 0 && label[pixel] == label[first]) {
          segment[pixel] = next;
          component.push_back(pixel);
          if (size() >= max_size) break;
        } else if (segment[pixel] >= 0 && segment[pixel] != next) {
          neighbour = segment[pixel];
        }
      }
    }
    if (size() < min_size) {
      for (const int64_t pixel : component) segment[pixel] = neighbour;
    } else {
      ++next;
    }
  }
  return result;
}

}  // namespace

Superpixels slic(const Tensor& given, const SlicOptions& options, Device device) {
  const Tensor image = checked_image("slic", given);
  require_option(options.segments >= 1, "slic", "at least 1 segment",
                 static_cast<double>(options.segments));
  require_option(options.compactness > 0, "slic", "a compactness above 0", options.compactness);
  require_option(options.iterations >= 1, "slic", "at least 1 iteration",
                 static_cast<double>(options.iterations));
  require_option(options.sigma >= 0, "slic", "a sigma of at least 0", options.sigma);
  require_option(options.max_size > 0, "slic", "a largest size above 0", options.max_size);
  const int64_t h = image.dim(0), w = image.dim(1);

  // The image's own darkest and brightest values become 0 and 1.
  std::array<double, 256> levels = byte_levels();
  const auto* bytes = image.data<uint8_t>();
  const auto [darkest, brightest] = std::minmax_element(bytes, bytes + image.numel());
  const double low = levels[*darkest], range = levels[*brightest] - low;
  for (double& level : levels) level = (level - low) / (range != 0 ? range : 1);
  const Tensor colors =
      smoothed(lab_planes(image, levels), options.sigma, 1 / options.compactness).to(device);

  const Grid grid = regular_grid(h, w, options.segments);
  std::vector<double> places;  // a SlicCenter each, black
  for (int64_t y = grid.start_y; y < h; y += grid.step_y) {
    for (int64_t x = grid.start_x; x < w; x += grid.step_x) {
      places.insert(places.end(), {static_cast<double>(y), static_cast<double>(x), 0, 0, 0});
    }
  }
  const auto count = static_cast<int64_t>(places.size()) / 5;
  // How far a centre reaches is measured on the grid of as many points as there are centres.
  const Grid reach = regular_grid(h, w, count);
  const kernels::SlicShape shape{
      .h = h,
      .w = w,
      .centers = count,
      .step_y = reach.step_y,
      .step_x = reach.step_x,
      .spacing = static_cast<double>(std::max(grid.step_y, grid.step_x))};

  Tensor centers = Tensor::from(places, {count, 5}).to(device);
  Tensor labels = Tensor::zeros({h, w}, DType::kInt64, device);
  on(device, [&](auto tag) {
    const OpScope scope("slic");
    static_assert(sizeof(kernels::SlicCenter) == 5 * sizeof(double));
    auto* center = reinterpret_cast<kernels::SlicCenter*>(centers.data<double>());
    for (int64_t i = 0; i < options.iterations; ++i) {
      if (i > 0)
        kernels::slic_update(tag, colors.data<double>(), labels.data<int64_t>(), center, shape);
      kernels::slic_assign(tag, colors.data<double>(), center, labels.data<int64_t>(), shape);
    }
  });
  labels = labels.to(Device{});
  if (!options.connected) return relabelled(labels);

  const double mean_size = static_cast<double>(h * w) / static_cast<double>(count);
  return relabelled(connected_segments(labels, static_cast<int64_t>(options.min_size * mean_size),
                                       static_cast<int64_t>(options.max_size * mean_size)));
}

// --- Felzenszwalb --------------------------------------------------------------------------------

namespace {

struct Edge {
  int64_t a, b;  // pixels
  double cost;
};

// The edges between all pixels and their eight neighbours, the cheapest first.
std::vector<Edge> sorted_edges(const Tensor& colors) {
  const int64_t h = colors.dim(1), w = colors.dim(2);
  const auto* color = colors.data<double>();
  std::vector<Edge> edges;
  edges.reserve(static_cast<size_t>(4 * h * w));
  // To the right, below, below to the right, above to the right.
  const int64_t directions[4][2] = {{0, 1}, {1, 0}, {1, 1}, {-1, 1}};
  for (const auto& [dy, dx] : directions) {
    for (int64_t y = std::max<int64_t>(0, -dy); y < std::min(h, h - dy); ++y) {
      for (int64_t x = 0; x < w - dx; ++x) {
        const int64_t a = y * w + x, b = (y + dy) * w + x + dx;
        double sum = 0;
        for (int64_t c = 0; c < 3; ++c) {
          const double d = color[c * h * w + a] - color[c * h * w + b];
          sum += d * d;
        }
        edges.push_back({a, b, std::sqrt(sum)});
      }
    }
  }
  std::stable_sort(edges.begin(), edges.end(),
                   [](const Edge& a, const Edge& b) { return a.cost < b.cost; });
  return edges;
}

// Regions as trees whose roots are their first pixels.
class Regions {
 public:
  explicit Regions(int64_t pixels)
      : parent_(static_cast<size_t>(pixels)), sizes_(parent_.size(), 1) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }
  int64_t root(int64_t pixel) {
    int64_t root = pixel;
    while (parent_[root] != root) root = parent_[root];
    while (pixel != root) pixel = std::exchange(parent_[pixel], root);
    return root;
  }
  int64_t size(int64_t root) const { return sizes_[root]; }
  // The root of what two become.
  int64_t merge(int64_t root, int64_t other) {
    if (root > other) std::swap(root, other);
    parent_[other] = root;
    sizes_[root] += sizes_[other];
    return root;
  }

 private:
  std::vector<int64_t> parent_, sizes_;
};

}  // namespace

Superpixels felzenszwalb(const Tensor& given, const FelzenszwalbOptions& options) {
  const Tensor image = checked_image("felzenszwalb", given);
  require_option(options.scale >= 0, "felzenszwalb", "a scale of at least 0", options.scale);
  require_option(options.sigma >= 0, "felzenszwalb", "a sigma of at least 0", options.sigma);
  const int64_t h = image.dim(0), w = image.dim(1);

  const std::array<double, 256> levels = byte_levels();
  Tensor planes = Tensor::empty({3, h, w}, DType::kFloat64);
  const auto* byte = image.data<uint8_t>();
  auto* plane = planes.data<double>();
  for (int64_t pixel = 0; pixel < h * w; ++pixel) {
    for (int64_t c = 0; c < 3; ++c) plane[c * h * w + pixel] = levels[*byte++];
  }
  const std::vector<Edge> edges = sorted_edges(smoothed(planes, options.sigma, 1));

  Regions regions(h * w);
  std::vector<double> within(static_cast<size_t>(h * w));  // a region's dearest edge
  const double scale = options.scale / 255;
  for (const Edge& edge : edges) {
    const int64_t a = regions.root(edge.a), b = regions.root(edge.b);
    if (a == b) continue;
    // What a region allows is rounded to float32, as in scikit-image: edges often cost just as
    // much.
    const auto allowed = [&](int64_t root) {
      return static_cast<float>(within[root] + scale / static_cast<double>(regions.size(root)));
    };
    if (edge.cost < static_cast<double>(std::min(allowed(a), allowed(b)))) {
      within[regions.merge(a, b)] = edge.cost;
    }
  }
  for (const Edge& edge : edges) {
    const int64_t a = regions.root(edge.a), b = regions.root(edge.b);
    if (a != b && std::min(regions.size(a), regions.size(b)) < options.min_size) {
      regions.merge(a, b);
    }
  }

  Tensor labels = Tensor::empty({h, w}, DType::kInt64);
  auto* label = labels.data<int64_t>();
  for (int64_t i = 0; i < h * w; ++i) label[i] = regions.root(i);
  return relabelled(labels);
}

// --- others --------------------------------------------------------------------------------------

Superpixels grid(int64_t height, int64_t width, int64_t cells) {
  require_option(height >= 1 && width >= 1, "grid", "an image of at least one pixel, not 0 pixels",
                 static_cast<double>(std::min(height, width)));
  require_option(cells >= 1, "grid", "at least 1 cell a side", static_cast<double>(cells));
  const int64_t rows = std::min(cells, height), columns = std::min(cells, width);
  Tensor labels = Tensor::empty({height, width}, DType::kInt64);
  auto* label = labels.data<int64_t>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      *label++ = y * rows / height * columns + x * columns / width;
    }
  }
  return {labels, rows * columns};
}

Superpixels from_labels(const Tensor& labels) {
  if (labels.rank() != 2 || labels.numel() == 0 ||
      (labels.dtype() != DType::kInt64 && labels.dtype() != DType::kUInt8)) {
    throw UsageError(
        fmt::format("[superpixels] expected labels (H, W) of int64 or uint8, got {} of {}",
                    labels.shape().str(), name_of(labels.dtype())));
  }
  std::vector<int64_t> label = labels.to_vector<int64_t>(), values = label;
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  for (int64_t& value : label) {
    value = std::lower_bound(values.begin(), values.end(), value) - values.begin();
  }
  return {Tensor::from(label, labels.shape()), static_cast<int64_t>(values.size())};
}

namespace {

// The number behind a method's name.
int64_t number_in(const std::string& words, const std::string& digits, const char* what) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number < 1) {
    throw UsageError(
        fmt::format("superpixels '{}': expected {}, a whole number from 1, after the "
                    "colon",
                    words, what));
  }
  return number;
}

}  // namespace

std::optional<SuperpixelMethod> parse_superpixels(const std::string& words) {
  const size_t colon = words.find(':');
  const std::string name = words.substr(0, colon);
  const bool counted = colon != std::string::npos;
  const std::string digits = counted ? words.substr(colon + 1) : "";
  if (name == "quickshift") {
    if (counted)
      throw UsageError(fmt::format("superpixels '{}': quickshift takes no number", words));
    return [](const Tensor& image, Device device) { return quickshift(image, {}, device); };
  }
  if (name == "slic") {
    SlicOptions options;
    if (counted) options.segments = number_in(words, digits, "the number of segments");
    return [=](const Tensor& image, Device device) { return slic(image, options, device); };
  }
  if (name == "felzenszwalb") {
    FelzenszwalbOptions options;
    if (counted) options.scale = static_cast<double>(number_in(words, digits, "the scale"));
    return [=](const Tensor& image, Device) { return felzenszwalb(image, options); };
  }
  if (name == "grid") {
    const int64_t cells = number_in(words, digits, "the number of cells a side");
    return [=](const Tensor& image, Device) {
      const Tensor checked = checked_image("grid", image);
      return grid(checked.dim(0), checked.dim(1), cells);
    };
  }
  return std::nullopt;
}

}  // namespace glassnet
