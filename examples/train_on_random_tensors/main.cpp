// A network of one's own, trained on random images with random labels: it learns them by heart, so
// its loss falls. Ends with 1 when it does not.
//
//   cmake -S . -B build -DCMAKE_PREFIX_PATH=PREFIX && cmake --build build
//   build/train_on_random_tensors
#include <glassnet/glassnet.h>

#include <cstdio>

using namespace glassnet;

struct Net : Module {
  Conv2d& conv = child<Conv2d>("conv", Conv2dLayer{.in = 3, .out = 16, .stride = 2, .padding = 1});
  Linear& fc = child<Linear>("fc", LinearLayer{.in = 16, .out = 2});

 protected:
  Variable forward(const Variable& x) override { return fc(global_avg_pool(relu(conv(x)))); }
};

int main() {
  Net net;
  initialise(net, /*seed=*/1);
  const auto sgd = make_sgd(net.named_parameters(), {.momentum = 0.9, .weight_decay = 0});

  const Variable images(random_normal({8, 16, 16, 3}, /*stddev=*/1, /*seed=*/2, /*stream=*/0));
  const Tensor labels = Tensor::from<int64_t>({0, 1, 1, 0, 1, 0, 0, 1}, {8});

  double first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    const Variable loss = cross_entropy(net(images), labels);
    net.clear_grads();
    backward(loss);
    sgd->step(/*learning_rate=*/0.1);

    last = loss.value().item();
    if (step == 0) first = last;
    if (step % 25 == 0) std::printf("step %3d  loss %.4f\n", step, last);
  }
  std::printf("from %.4f to %.4f\n", first, last);
  return last < 0.5 * first ? 0 : 1;
}
