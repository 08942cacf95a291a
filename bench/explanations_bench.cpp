// Times explanations for scripts/bench-explanations, which times PyTorch's in turn.
//
//   glassnet_explanations_bench WEIGHTS PICTURE [winograd]
//
// Each line of the input is a method of xai/explain.h or "lime", a class, LIME's number of samples,
// and the name of a file for the map (H, W), or for LIME's weights (1, superpixels) (.npy). The
// answer is a line with the milliseconds from the picture's pixels to that.
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

#include "data/image.h"
#include "data/input.h"
#include "kernels/policy.h"
#include "models/weights.h"
#include "tensor/npy.h"
#include "xai/explain.h"
#include "xai/lime.h"
#include "xai/superpixels.h"

namespace glassnet {
namespace {

Tensor explained(Module& model, const Image& picture, const std::string& method, int64_t target,
                 int64_t samples) {
  if (method != "lime") {
    return explain(model, to_input(picture), method, {.target = target}).map;
  }
  const Tensor pixels = Tensor::from(picture.rgb, {picture.height, picture.width, 3});
  const LimeJob job{.picture = picture, .superpixels = quickshift(pixels), .classes = {target}};
  return lime(model, job, {.samples = samples}).weights;
}

void answer(const std::string& weights, const std::string& path) {
  const LoadedModel loaded = load_model(weights);
  const Image picture = read_image(path);
  std::string method, out;
  int64_t target = 0, samples = 0;
  while (std::cin >> method >> target >> samples >> out) {
    const auto begin = std::chrono::steady_clock::now();
    const Tensor found = explained(*loaded.model, picture, method, target, samples);
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - begin;
    save_npy(out, found);
    std::cout << spent.count() << std::endl;
  }
}

}  // namespace
}  // namespace glassnet

int main(int argc, char** argv) {
  const bool winograd = argc == 4 && std::string(argv[3]) == "winograd";
  if (argc != 3 && !winograd) {
    std::fputs("usage: glassnet_explanations_bench WEIGHTS PICTURE [winograd]\n", stderr);
    return 2;
  }
  glassnet::kernels::set_allow_winograd(winograd);
  try {
    glassnet::answer(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "glassnet_explanations_bench: %s\n", error.what());
    return 1;
  }
}
