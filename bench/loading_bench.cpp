// How quickly weights are loaded. Times what it is told to, a line of standard input each, and
// answers with milliseconds, so that a script can take turns with another program:
//
//   read FILE         a plain read of the whole file into new memory of the same kind
//   load FILE         from the file to a network that is ready: checked, allocated, filled
//   write MODEL FILE  makes a file of random weights, in the format that its name says
//
// The files are in the system's cache after the first time.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "models/resnet.h"
#include "models/weights.h"

namespace glassnet {
namespace {

double milliseconds_of(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

void read_plainly(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  require(file >= 0, [&] { return fmt::format("{}: cannot be opened", path); });
  const auto size = static_cast<size_t>(lseek(file, 0, SEEK_END));
  lseek(file, 0, SEEK_SET);
  Tensor memory = Tensor::empty({static_cast<int64_t>(size)}, DType::kUInt8);
  size_t have = 0;
  for (ssize_t got = 1; have < size && got > 0; have += static_cast<size_t>(got)) {
    got = std::max<ssize_t>(0, read(file, static_cast<char*>(memory.raw()) + have, size - have));
  }
  close(file);
  require(have == size, [&] { return fmt::format("{}: cannot be read", path); });
}

void write_random(const std::string& model_name, const std::string& path) {
  const auto model = make_model(model_name);
  initialise(*model, /*seed=*/0);
  TensorFile content;
  for (const NamedTensor& entry : model->state_dict()) {
    auto tensor = std::make_shared<Tensor>(nhwc_to_nchw(entry.tensor));
    content.tensors.push_back(stored_view(entry.name, *tensor));
    content.owners.push_back(std::move(tensor));
  }
  write_tensor_file(path, content);
}

double answer(const std::string& line) {
  std::istringstream words(line);
  std::string command, first, second;
  words >> command >> first >> second;
  double taken = 0;
  if (command == "read") {
    taken = milliseconds_of([&] { read_plainly(first); });
  } else if (command == "load") {
    LoadedModel loaded;
    taken = milliseconds_of([&] { loaded = load_model(first); });
  } else if (command == "write") {
    taken = milliseconds_of([&] { write_random(first, second); });
  } else {
    throw Error(fmt::format("'{}' is not known here", command));
  }
  return taken;
}

}  // namespace
}  // namespace glassnet

int main() {
  try {
    for (std::string line; std::getline(std::cin, line);) {
      fmt::print("{:.3f}\n", glassnet::answer(line));
      std::fflush(stdout);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "glassnet_loading_bench: {}\n", error.what());
    return 1;
  }
}
