// Times superpixels for scripts/bench-superpixels, which times scikit-image's in turn.
//
//   glassnet_superpixels_bench IMAGE
//
// Each line of the input is a method, "quickshift", "slic" or "felzenszwalb", and the name of a
// file for its labels (.npy). The answer is a line with the milliseconds that it took.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "data/image.h"
#include "kernels/error.h"
#include "tensor/npy.h"
#include "xai/superpixels.h"

namespace glassnet {
namespace {

// With the options that scripts/bench-superpixels gives to scikit-image.
Superpixels segment(const std::string& method, const Tensor& image) {
  if (method == "quickshift") return quickshift(image);
  if (method == "slic") return slic(image);
  if (method == "felzenszwalb") {
    return felzenszwalb(image, {.scale = 100, .sigma = 0.5, .min_size = 50});
  }
  throw UsageError("no method is called '" + method + "'");
}

void answer(const std::string& path) {
  const Image picture = read_image(path);
  const Tensor image = Tensor::from(picture.rgb, {picture.height, picture.width, 3});
  std::string method, out;
  while (std::cin >> method >> out) {
    const auto begin = std::chrono::steady_clock::now();
    const Superpixels found = segment(method, image);
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - begin;
    save_npy(out, found.labels);
    std::cout << spent.count() << std::endl;
  }
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: glassnet_superpixels_bench IMAGE\n", stderr);
    return 2;
  }
  try {
    glassnet::answer(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
