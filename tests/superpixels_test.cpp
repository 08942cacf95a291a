// Superpixels: the labels of scikit-image, the quick kernels against their definitions, and what
// holds for any image.
#include "xai/superpixels.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/reference/superpixels.h"
#include "kernels/superpixels.h"
#include "models/safetensors.h"
#include "tensor/numpy_random.h"
#include "tests/error_support.h"
#include "tests/superpixel_images.h"

namespace glassnet {
namespace {

using test::error_of;
using test::noisy_image;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int64_t> labels_of(const Superpixels& superpixels) {
  return superpixels.labels.to_vector<int64_t>();
}

// How many pixels have each label.
std::vector<int64_t> sizes_of(const Superpixels& superpixels) {
  std::vector<int64_t> sizes(static_cast<size_t>(superpixels.count));
  for (const int64_t label : labels_of(superpixels)) ++sizes.at(static_cast<size_t>(label));
  return sizes;
}

// 4-connected parts in which all labels are equal.
int64_t parts_of(const Superpixels& superpixels) {
  const int64_t h = superpixels.labels.dim(0), w = superpixels.labels.dim(1);
  const std::vector<int64_t> labels = labels_of(superpixels);
  std::vector<bool> seen(labels.size());
  int64_t parts = 0;
  for (size_t first = 0; first < labels.size(); ++first) {
    if (seen[first]) continue;
    ++parts;
    seen[first] = true;
    std::vector<int64_t> open = {static_cast<int64_t>(first)};
    while (!open.empty()) {
      const int64_t y = open.back() / w, x = open.back() % w;
      open.pop_back();
      for (const auto& [row, column] :
           {std::pair{y - 1, x}, std::pair{y + 1, x}, std::pair{y, x - 1}, std::pair{y, x + 1}}) {
        if (row < 0 || row >= h || column < 0 || column >= w) continue;
        const auto pixel = static_cast<size_t>(row * w + column);
        if (seen[pixel] || labels[pixel] != labels[first]) continue;
        seen[pixel] = true;
        open.push_back(static_cast<int64_t>(pixel));
      }
    }
  }
  return parts;
}

using Method = std::function<Superpixels(const Tensor& image)>;
struct Row {
  std::string name;  // in scripts/make-golden-superpixels
  Method segment;
};
const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
      {"quickshift lime", [](const Tensor& x) { return quickshift(x); }},
      {"quickshift defaults",
       [](const Tensor& x) {
         return quickshift(x, {.kernel_size = 5, .max_dist = 10, .ratio = 1});
       }},
      {"quickshift narrow", [](const Tensor& x) { return quickshift(x, {.kernel_size = 2}); }},
      {"quickshift smoothed",
       [](const Tensor& x) {
         return quickshift(
             x, {.kernel_size = 1.5, .max_dist = 6, .ratio = 0.5, .sigma = 1, .seed = 7});
       }},
      {"slic 12", [](const Tensor& x) { return slic(x, {.segments = 12}); }},
      {"slic smoothed",
       [](const Tensor& x) { return slic(x, {.segments = 30, .compactness = 2, .sigma = 1}); }},
      {"slic raw",
       [](const Tensor& x) {
         return slic(x, {.segments = 12, .compactness = 1, .iterations = 3, .connected = false});
       }},
      {"slic sizes",
       [](const Tensor& x) {
         return slic(x, {.segments = 9, .compactness = 1, .min_size = 0.2, .max_size = 1.2});
       }},
      {"felzenszwalb defaults", [](const Tensor& x) { return felzenszwalb(x); }},
      {"felzenszwalb 100",
       [](const Tensor& x) {
         return felzenszwalb(x, {.scale = 100, .sigma = 0.5, .min_size = 10});
       }},
  };
  return all;
}

std::map<std::string, Tensor> golden() {
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, value] :
       load_safetensors(GLASSNET_GOLDEN_DIR "/superpixels.safetensors").tensors) {
    tensors[name] = value;
  }
  return tensors;
}

TEST(Superpixels, AreScikitImages) {
  const std::map<std::string, Tensor> tensors = golden();
  size_t compared = 0;
  for (const auto& [name, value] : tensors) {
    const size_t slash = name.find('/');
    if (slash == std::string::npos) continue;  // a picture
    const std::string wanted = name.substr(slash + 1);
    const auto row = std::find_if(rows().begin(), rows().end(),
                                  [&](const Row& candidate) { return candidate.name == wanted; });
    ASSERT_NE(row, rows().end()) << name;
    const Tensor image = tensors.at(name.substr(0, slash)).to(DType::kUInt8);
    const Superpixels found = row->segment(image);
    const std::vector<int64_t> expected = value.to_vector<int64_t>();
    EXPECT_EQ(found.count, *std::max_element(expected.begin(), expected.end()) + 1) << name;
    EXPECT_EQ(labels_of(found), expected) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 2 * rows().size());
}

TEST(Superpixels, QuickshiftTakesTheNoiseItIsGiven) {
  const Tensor image = noisy_image(20, 24, 1);
  const int64_t h = image.dim(0), w = image.dim(1);
  const QuickshiftOptions narrow{.kernel_size = 1.5, .max_dist = 4};
  QuickshiftOptions seeded = narrow, given = narrow;
  seeded.seed = 5;
  NumpyGenerator random(5);
  std::vector<double> noise(static_cast<size_t>(h * w));
  for (double& value : noise) value = 1e-5 * random.normal();
  given.tie_noise = Tensor::from(noise, {h, w});
  EXPECT_EQ(labels_of(quickshift(image, given)), labels_of(quickshift(image, seeded)));

  // On one colour the noise alone decides.
  const Tensor flat = Tensor::full({12, 12, 3}, 90, DType::kUInt8);
  given.tie_noise = Tensor::zeros({12, 12}, DType::kFloat64);
  given.tie_noise->data<double>()[5 * 12 + 5] = 1;
  given.kernel_size = 4;
  given.max_dist = 200;
  EXPECT_EQ(quickshift(flat, given).count, 1);
  EXPECT_THROW(quickshift(noisy_image(12, 13, 1), given), Error);
}

TEST(Superpixels, LabelsCountFromZeroAndAllOccur) {
  for (const auto& [h, w] : {std::pair{17, 23}, {1, 1}, {1, 30}, {30, 1}, {2, 2}, {3, 40}}) {
    for (const Tensor& image :
         {noisy_image(h, w, 2), Tensor::full({h, w, 3}, 200, DType::kUInt8)}) {
      for (const Row& row : rows()) {
        SCOPED_TRACE(row.name + " of " + image.shape().str());
        const Superpixels found = row.segment(image);
        EXPECT_EQ(found.labels.shape(), (Shape{h, w}));
        EXPECT_EQ(found.labels.dtype(), DType::kInt64);
        EXPECT_THAT(sizes_of(found), testing::Each(testing::Gt(0)));
        EXPECT_EQ(labels_of(row.segment(image)), labels_of(found));
      }
    }
  }
}

TEST(Superpixels, SlicSegmentsHangTogether) {
  const Tensor image = noisy_image(40, 50, 3);
  const Superpixels raw = slic(image, {.segments = 30, .compactness = 10, .connected = false});
  EXPECT_GT(parts_of(raw), 2 * raw.count);
  const Superpixels connected = slic(image, {.segments = 30, .compactness = 10});
  EXPECT_EQ(parts_of(connected), connected.count);
  EXPECT_GT(connected.count, 10);
}

TEST(Superpixels, FelzenszwalbKeepsToItsSmallestSize) {
  const Superpixels found =
      felzenszwalb(noisy_image(30, 30, 4), {.scale = 1, .sigma = 0.5, .min_size = 15});
  EXPECT_GT(found.count, 5);
  EXPECT_THAT(sizes_of(found), testing::Each(testing::Ge(15)));
}

TEST(Superpixels, OneColourIsOneRegion) {
  const Tensor flat = Tensor::full({25, 30, 3}, 128, DType::kUInt8);
  EXPECT_EQ(felzenszwalb(flat).count, 1);
  // SLIC has nothing but places to go by: the cells of its grid.
  const Superpixels cells = slic(flat, {.segments = 30});
  EXPECT_EQ(cells.count, 30);
  EXPECT_EQ(parts_of(cells), 30);
}

TEST(Superpixels, GridsHaveCellsOfEqualSize) {
  const Superpixels found = grid(4, 6, 2);
  EXPECT_EQ(found.count, 4);
  EXPECT_THAT(labels_of(found), ElementsAre(0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1,  //
                                            2, 2, 2, 3, 3, 3, 2, 2, 2, 3, 3, 3));
  const Superpixels uneven = grid(50, 70, 8);
  EXPECT_EQ(uneven.count, 64);
  EXPECT_EQ(parts_of(uneven), 64);
  EXPECT_THAT(sizes_of(uneven), testing::Each(testing::AllOf(testing::Ge(48), testing::Le(63))));
  EXPECT_EQ(grid(2, 3, 8).count, 6);
  EXPECT_THAT(error_of<UsageError>([] { grid(2, 3, 0); }), HasSubstr("[grid]"));
}

TEST(Superpixels, LabelsOfTheUsersOwnAreNumberedAnew) {
  const Superpixels found = from_labels(Tensor::from<int64_t>({70, -3, 70, 9, 9, -3}, {2, 3}));
  EXPECT_EQ(found.count, 3);
  EXPECT_THAT(labels_of(found), ElementsAre(2, 0, 2, 1, 1, 0));
  EXPECT_EQ(from_labels(Tensor::full({2, 2}, 255, DType::kUInt8)).count, 1);
  EXPECT_THAT(error_of<UsageError>([] {
                from_labels(Tensor::zeros({2, 2}));
              }),
              HasSubstr("float32"));
  EXPECT_THAT(error_of<UsageError>([] {
                from_labels(Tensor::zeros({2, 2, 1}, DType::kInt64));
              }),
              HasSubstr("(2, 2, 1)"));
}

TEST(Superpixels, AreNamedInWords) {
  const Tensor image = noisy_image(24, 30, 5);
  const auto named = [&](const std::string& words) {
    return labels_of(parse_superpixels(words).value()(image, Device{}));
  };
  EXPECT_EQ(named("quickshift"), labels_of(quickshift(image)));
  EXPECT_EQ(named("slic"), labels_of(slic(image)));
  EXPECT_EQ(named("slic:7"), labels_of(slic(image, {.segments = 7})));
  EXPECT_EQ(named("felzenszwalb"), labels_of(felzenszwalb(image)));
  EXPECT_EQ(named("felzenszwalb:300"), labels_of(felzenszwalb(image, {.scale = 300})));
  EXPECT_EQ(named("grid:3"), labels_of(grid(24, 30, 3)));
  for (const char* path : {"labels.png", "slics", "", "my:slic"}) {
    EXPECT_FALSE(parse_superpixels(path)) << path;
  }
  for (const char* wrong : {"slic:", "slic:0", "slic:-4", "slic:7x", "grid", "grid:2.5",
                            "quickshift:4", "felzenszwalb:99999999999999999999"}) {
    EXPECT_THAT(error_of<UsageError>([&] { parse_superpixels(wrong); }), HasSubstr(wrong));
  }
}

TEST(Superpixels, RefuseWhatIsNoImage) {
  const Tensor image = noisy_image(8, 8, 6);
  EXPECT_THAT(error_of<UsageError>([&] { slic(Tensor::zeros({8, 8, 3})); }), HasSubstr("float32"));
  EXPECT_THAT(error_of<UsageError>([&] {
                quickshift(image.reshape({8, 24}));
              }),
              HasSubstr("(8, 24)"));
  EXPECT_THAT(error_of<UsageError>([&] {
                felzenszwalb(Tensor::zeros({0, 8, 3}, DType::kUInt8));
              }),
              HasSubstr("(0, 8, 3)"));
  EXPECT_THAT(error_of<UsageError>([&] { quickshift(image, {.kernel_size = 0.5}); }),
              HasSubstr("0.5"));
  EXPECT_THAT(error_of<UsageError>([&] { slic(image, {.segments = 0}); }), HasSubstr("segment"));
  EXPECT_THAT(error_of<UsageError>([&] { slic(image, {.compactness = 0}); }),
              HasSubstr("compactness"));
}

// --- kernels against their definitions -----------------------------------------------------------

TEST(SuperpixelKernels, ColoursAndSmoothingAreTheDefinitions) {
  for (const auto& [h, w] : {std::pair{19, 70}, {1, 1}, {2, 9}, {60, 40}}) {
    const Tensor image = noisy_image(h, w, 7);
    const int64_t pixels = int64_t{h} * w;
    std::vector<double> levels(256), lab(static_cast<size_t>(3 * pixels)), expected = lab;
    for (size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<double>(i) / 255;
    kernels::rgb_to_lab(Cpu{}, levels.data(), image.data<uint8_t>(), lab.data(), pixels);
    kernels::reference::rgb_to_lab(levels.data(), image.data<uint8_t>(), expected.data(), pixels);
    EXPECT_THAT(lab, testing::Pointwise(testing::DoubleNear(1e-11), expected));
    for (const double sigma : {0.3, 1.0, 2.5}) {
      std::vector<double> smooth = lab;
      expected = lab;
      kernels::gaussian_smooth(Cpu{}, lab.data(), smooth.data(), sigma, {3, h, w});
      kernels::reference::gaussian_smooth(lab.data(), expected.data(), sigma, {3, h, w});
      EXPECT_THAT(smooth, testing::Pointwise(testing::DoubleNear(1e-11), expected));
    }
  }
}

TEST(SuperpixelKernels, LabIsKnownForKnownColours) {
  // White, black, and pure red, whose L*a*b* is 53.24, 80.09, 67.20.
  const std::vector<uint8_t> rgb = {255, 255, 255, 0, 0, 0, 255, 0, 0};
  std::vector<double> levels(256), lab(9);
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<double>(i) / 255;
  kernels::rgb_to_lab(Cpu{}, levels.data(), rgb.data(), lab.data(), 3);
  const std::vector<double> expected = {100, 0, 53.24, 0, 0, 80.09, 0, 0, 67.20};
  EXPECT_THAT(lab, testing::Pointwise(testing::DoubleNear(0.01), expected));
}

TEST(SuperpixelKernels, QuickshiftIsTheDefinition) {
  for (const auto& [h, w] : {std::pair{19, 70}, {1, 1}, {40, 3}, {1, 50}}) {
    for (const double kernel_size : {1.0, 2.2, 4.0}) {
      const kernels::QuickshiftShape shape{h, w, kernel_size};
      const std::vector<double> colors = test::noisy_planes(h, w, 8);
      std::vector<double> density(static_cast<size_t>(h * w));
      std::iota(density.begin(), density.end(), 0.0);
      for (double& value : density) value *= 1e-6;
      std::vector<double> expected = density;
      kernels::quickshift_density(Cpu{}, colors.data(), density.data(), shape);
      kernels::reference::quickshift_density(colors.data(), expected.data(), shape);
      EXPECT_THAT(density, testing::Pointwise(testing::DoubleNear(1e-12), expected));
      for (const double max_dist : {3.0, 1000.0}) {
        std::vector<int64_t> parents(density.size()), wanted(density.size());
        kernels::quickshift_parents(Cpu{}, colors.data(), density.data(), max_dist, parents.data(),
                                    shape);
        kernels::reference::quickshift_parents(colors.data(), density.data(), max_dist,
                                               wanted.data(), shape);
        EXPECT_EQ(parents, wanted);
      }
    }
  }
}

TEST(SuperpixelKernels, SlicIsTheDefinition) {
  for (const test::SlicCase& o : test::slic_cases()) {
    const std::vector<double> colors = test::noisy_planes(o.shape.h, o.shape.w, 9);
    std::vector<int64_t> labels(static_cast<size_t>(o.shape.h * o.shape.w)), wanted = labels;
    std::vector<kernels::SlicCenter> centers = o.centers, expected = o.centers;
    for (int i = 0; i < 3; ++i) {
      kernels::slic_assign(Cpu{}, colors.data(), centers.data(), labels.data(), o.shape);
      kernels::reference::slic_assign(colors.data(), expected.data(), wanted.data(), o.shape);
      EXPECT_EQ(labels, wanted);
      kernels::slic_update(Cpu{}, colors.data(), labels.data(), centers.data(), o.shape);
      kernels::reference::slic_update(colors.data(), wanted.data(), expected.data(), o.shape);
      EXPECT_TRUE(test::same(centers, expected));
    }
  }
}

}  // namespace
}  // namespace glassnet
