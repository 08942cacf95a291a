// Superpixels on the CUDA device: the CPU's, to the last bit.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/superpixels.h"
#include "tests/device_kernels.h"
#include "tests/superpixel_images.h"
#include "xai/superpixels.h"

namespace glassnet {
namespace {

class DeviceSuperpixels : public DeviceTest {};

#if defined(GLASSNET_CUDA)

TEST_F(DeviceSuperpixels, QuickshiftDensityAndParentsAreTheCpus) {
  for (const auto& [h, w] : {std::pair{6, 35}, {1, 1}, {1, 40}, {9, 5}}) {
    for (const double kernel_size : {1.0, 2.2}) {
      const kernels::QuickshiftShape shape{h, w, kernel_size};
      const std::vector<double> colors = test::noisy_planes(h, w, 8);
      std::vector<double> density(static_cast<size_t>(h * w), 1e-7);
      density[0] = 2e-5;
      const Placed<double> at_colors(colors, 1), at_density(density, 1);
      kernels::quickshift_density(Cpu{}, colors.data(), density.data(), shape);
      kernels::quickshift_density(cuda(), at_colors.get(), at_density.get(), shape);
      EXPECT_EQ(at_density.host(), density);
      for (const double max_dist : {1.5, 1000.0}) {
        std::vector<int64_t> parents(density.size());
        const Placed<int64_t> at_parents(parents.size(), 1);
        kernels::quickshift_parents(Cpu{}, colors.data(), density.data(), max_dist, parents.data(),
                                    shape);
        kernels::quickshift_parents(cuda(), at_colors.get(), at_density.get(), max_dist,
                                    at_parents.get(), shape);
        EXPECT_EQ(at_parents.host(), parents);
      }
    }
  }
}

TEST_F(DeviceSuperpixels, SlicLabelsAndCentresAreTheCpus) {
  for (const test::SlicCase& o : test::slic_cases()) {
    const std::vector<double> colors = test::noisy_planes(o.shape.h, o.shape.w, 9);
    std::vector<int64_t> labels(static_cast<size_t>(o.shape.h * o.shape.w));
    std::vector<kernels::SlicCenter> centers = o.centers;
    const Placed<double> at_colors(colors, 1);
    const Placed<int64_t> at_labels(labels, 1);
    const Placed<kernels::SlicCenter> at_centers(centers, 1);
    for (int i = 0; i < 3; ++i) {
      kernels::slic_assign(Cpu{}, colors.data(), centers.data(), labels.data(), o.shape);
      kernels::slic_assign(cuda(), at_colors.get(), at_centers.get(), at_labels.get(), o.shape);
      EXPECT_EQ(at_labels.host(), labels);
      kernels::slic_update(Cpu{}, colors.data(), labels.data(), centers.data(), o.shape);
      kernels::slic_update(cuda(), at_colors.get(), at_labels.get(), at_centers.get(), o.shape);
      EXPECT_TRUE(test::same(at_centers.host(), centers));
    }
  }
}

TEST_F(DeviceSuperpixels, SegmentsAreTheCpus) {
  const Tensor image = test::noisy_image(21, 40, 1);
  const auto expect_equal = [](const Superpixels& a, const Superpixels& b) {
    EXPECT_EQ(a.count, b.count);
    EXPECT_GT(a.count, 3);
    EXPECT_EQ(a.labels.device(), Device{});
    EXPECT_EQ(a.labels.to_vector<int64_t>(), b.labels.to_vector<int64_t>());
  };
  const QuickshiftOptions narrow{.kernel_size = 1.5};
  expect_equal(quickshift(image, narrow, device_), quickshift(image, narrow));
  const SlicOptions few{.segments = 12, .iterations = 4, .sigma = 1};
  expect_equal(slic(image, few, device_), slic(image, few));
  expect_equal(slic(image.to(device_), few, device_), slic(image, few));
}

#endif

}  // namespace
}  // namespace glassnet
