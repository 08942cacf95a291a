// Source lines of addresses in the program, for messages.
#pragma once

#include <string>
#include <vector>

namespace glassnet::simt {

// The return addresses on the stack, the innermost call first.
std::vector<const void*> call_stack();

// "kernels/cuda/vec.h:25 from kernels/cuda/softmax.cu:57": the innermost and the outermost line of
// a kernel among `addresses`. Empty where there is no addr2line or no debug information.
std::string source_lines(const std::vector<const void*>& addresses);

}  // namespace glassnet::simt
