// What tests of errors share.
#pragma once

#include <string>

#include "kernels/error.h"

namespace glassnet::test {

// The sentence of the Error, or of a narrower kind, that a call throws; empty when it throws
// nothing.
template <class Expected = Error, class F>
std::string error_of(F&& call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  return "";
}

}  // namespace glassnet::test
