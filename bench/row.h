// A row of the benchmark of whole networks as scripts/bench asks for it, for Glassnet's program and
// for the peer's, which have no type in common; C++17, which LibTorch's headers are.
//
// After a first step a program prints the milliseconds since main began. Then it answers each line
// of its input: "step" by the milliseconds of one more; "learn N", of training, by those of N steps
// at a learning rate of 0.001, whose losses are then the result; "result FILE" by writing what the
// last step computed, as a .npy of floats; "memory" by the process's highest resident memory in
// MiB.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>

namespace bench {

using Clock = std::chrono::steady_clock;

constexpr double kLearningRate = 1e-3;  // for gradients that momentum has gathered tenfold

template <class Tensor>
struct Row {
  std::function<void()> step;
  std::function<Tensor()> result;
  std::function<void(int64_t steps)> learn = {};
};

// `save(path, tensor)` writes a result. Throws std::runtime_error for what is no question.
template <class Tensor, class Save>
void answer_questions(const Row<Tensor>& row, Clock::time_point begin, Save save) {
  const auto tell_time_since = [](Clock::time_point from) {
    std::cout << std::chrono::duration<double, std::milli>(Clock::now() - from).count()
              << std::endl;
  };
  row.step();
  tell_time_since(begin);
  std::string word;
  while (std::cin >> word) {
    const auto from = Clock::now();
    if (word == "step") {
      row.step();
      tell_time_since(from);
    } else if (word == "learn" && row.learn) {
      int64_t steps = 0;
      std::cin >> steps;
      row.learn(steps);
      tell_time_since(from);
    } else if (word == "result") {
      std::string path;
      std::cin >> path;
      save(path, row.result());
      std::cout << 0 << std::endl;
    } else if (word == "memory") {
      rusage usage = {};
      getrusage(RUSAGE_SELF, &usage);
      std::cout << static_cast<double>(usage.ru_maxrss) / 1024 << std::endl;
    } else {
      throw std::runtime_error("'" + word + "' is no question");
    }
  }
}

}  // namespace bench
