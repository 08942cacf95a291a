// Pictures with hidden superpixels: the definition by hand, and the kernel against it.
#include "kernels/perturb.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "data/input.h"
#include "tests/data_support.h"
#include "tests/device_kernels.h"

namespace glassnet {
namespace {

// Pictures of one size, their superpixels in no order, and masks for each.
struct Scene {
  Image picture, hidden;
  std::vector<int32_t> labels;
  std::vector<std::vector<uint32_t>> masks;
};

Scene scene(int height, int width, int superpixels, int masks, uint32_t seed) {
  Scene made{.picture = test::noise_image(height, width, seed),
             .hidden = test::noise_image(height, width, seed + 1000)};
  std::mt19937 bits(seed);
  for (int i = 0; i < height * width; ++i) {
    made.labels.push_back(static_cast<int32_t>(bits() % static_cast<uint32_t>(superpixels)));
  }
  for (int i = 0; i < masks; ++i) {
    std::vector<uint32_t> mask;
    for (int word = 0; word < (superpixels + 31) / 32; ++word) {
      mask.push_back(static_cast<uint32_t>(bits()));
    }
    made.masks.push_back(mask);
  }
  return made;
}

// What a network reads of a sample, pixel by pixel.
std::vector<float> by_hand(const Scene& scene, const std::vector<uint32_t>& mask) {
  Image shown = scene.hidden;
  for (size_t p = 0; p < scene.labels.size(); ++p) {
    const auto label = static_cast<size_t>(scene.labels[p]);
    if ((mask[label / 32] >> (label % 32)) % 2 == 0) continue;
    std::copy_n(&scene.picture.rgb[3 * p], 3, &shown.rgb[3 * p]);
  }
  return to_input(shown).to_vector<float>();
}

// The samples of all scenes in turn, so that neighbours are of different pictures.
struct Samples {
  std::vector<kernels::PerturbedSample> samples;
  std::vector<float> expected;
};
Samples on_host(const std::vector<Scene>& scenes) {
  Samples all;
  for (size_t i = 0; i < scenes[0].masks.size(); ++i) {
    for (const Scene& scene : scenes) {
      all.samples.push_back({scene.picture.rgb.data(), scene.hidden.rgb.data(), scene.labels.data(),
                             scene.masks[i].data()});
      const std::vector<float> values = by_hand(scene, scene.masks[i]);
      all.expected.insert(all.expected.end(), values.begin(), values.end());
    }
  }
  return all;
}

std::vector<Scene> scenes_of(int height, int width) {
  return {scene(height, width, 5, 3, 1), scene(height, width, 32, 3, 2),
          scene(height, width, 70, 3, 3)};
}

TEST(Perturb, ShowsAndHidesSuperpixelsOnTheCpu) {
  for (const auto& [height, width] : {std::pair{1, 1}, {2, 3}, {9, 12}}) {
    const std::vector<Scene> scenes = scenes_of(height, width);
    const Samples all = on_host(scenes);
    std::vector<float> y(all.expected.size());
    kernels::perturb(Cpu{}, all.samples.data(), static_cast<int64_t>(all.samples.size()),
                     int64_t{height} * width, y.data(), scale_of({}));
    EXPECT_EQ(y, all.expected);
  }
}

#if defined(GLASSNET_CUDA)

template <class T>
class DevicePerturb : public DeviceTest {};
TYPED_TEST_SUITE(DevicePerturb, DeviceTypes, DeviceTypeName);

// The device's copy of a scene.
struct SceneOnDevice {
  DeviceArray<uint8_t> picture, hidden;
  DeviceArray<int32_t> labels;
  std::vector<std::unique_ptr<DeviceArray<uint32_t>>> masks;

  explicit SceneOnDevice(const Scene& scene)
      : picture(scene.picture.rgb), hidden(scene.hidden.rgb), labels(scene.labels) {
    for (const std::vector<uint32_t>& mask : scene.masks) {
      masks.push_back(std::make_unique<DeviceArray<uint32_t>>(mask));
    }
  }
};

// Equal to the last bit: the definition's floats, rounded once.
TYPED_TEST(DevicePerturb, ShowsAndHidesSuperpixels) {
  using T = TypeParam;
  // A value, less than a vector, pictures of whole vectors and of others, more than a block.
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 2}, {4, 4}, {5, 7}, {31, 33}}) {
    const std::vector<Scene> scenes = scenes_of(height, width);
    const Samples all = on_host(scenes);
    std::vector<std::unique_ptr<SceneOnDevice>> copies;
    for (const Scene& scene : scenes) copies.push_back(std::make_unique<SceneOnDevice>(scene));
    std::vector<kernels::PerturbedSample> samples;
    for (size_t i = 0; i < scenes[0].masks.size(); ++i) {
      for (const auto& copy : copies) {
        samples.push_back(
            {copy->picture.get(), copy->hidden.get(), copy->labels.get(), copy->masks[i]->get()});
      }
    }
    const DeviceArray<kernels::PerturbedSample> table(samples);
    for (const size_t offset : {size_t{0}, size_t{1}}) {
      const Placed<T> y(all.expected.size(), offset);
      kernels::perturb(cuda(), table.get(), static_cast<int64_t>(samples.size()),
                       int64_t{height} * width, y.get(), scale_of({}));
      EXPECT_EQ(widened(y.host()), widened(rounded<T>(all.expected)))
          << height << " x " << width << " at " << offset;
    }
  }
}

TYPED_TEST(DevicePerturb, OfNoSamplesDoesNothing) {
  using T = TypeParam;
  const Placed<T> y(8, 0);
  kernels::perturb(cuda(), nullptr, 0, 10, y.get(), scale_of({}));
  EXPECT_EQ(widened(y.host()), widened(std::vector<T>(8)));
}

#endif

}  // namespace
}  // namespace glassnet
