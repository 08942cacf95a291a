// The one exception type of the engine, and the two ways to raise it.
//
// A message is one sentence that starts with the op or the file it is about:
//   [conv2d] expected weight (K, R, S, 64), got (128, 3, 3, 32)
#pragma once

#include <stdexcept>
#include <string>

namespace glassnet {

// Something that was asked for cannot be done: the program ends with exit code 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What was asked for makes no sense (a wrong option, an unknown name): exit code 2.
struct UsageError : Error {
  using Error::Error;
};

// `message()` is only built when the check fails, so that checks cost a branch.
template <class Message>
void require(bool holds, Message&& message) {
  if (!holds) throw Error(message());
}

}  // namespace glassnet
