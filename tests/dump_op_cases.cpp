// Hands the rows of the table that PyTorch can compute to scripts/make-golden-ops: a safetensors
// file with a row's inputs "NAME/0", "NAME/1", … and upstream gradient "NAME/dy", and its call in
// Python as metadata.
//
//   glassnet_dump_op_cases OUT.safetensors
#include <cstdio>

#include <fmt/format.h>

#include "models/safetensors.h"
#include "tests/op_cases.h"

int main(int argc, char** argv) try {
  using namespace glassnet;
  if (argc != 2) {
    std::fputs("usage: glassnet_dump_op_cases OUT.safetensors\n", stderr);
    return 2;
  }
  SafeTensors content;
  for (const OpCase& row : op_cases()) {
    if (row.torch.empty()) continue;
    content.metadata[row.name] = row.torch;
    std::vector<Variable> inputs;
    for (const Tensor& input : make_inputs(row)) {
      content.tensors.push_back({fmt::format("{}/{}", row.name, inputs.size()), input});
      inputs.emplace_back(input);
    }
    const Shape result = row.f(inputs).shape();
    content.tensors.push_back({row.name + "/dy", make_upstream(row, result)});
  }
  save_safetensors(argv[1], content);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "glassnet_dump_op_cases: %s\n", error.what());
  return 1;
}
