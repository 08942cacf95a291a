// From pictures on disk to what a network takes and what it says.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "data/folder.h"
#include "data/image.h"
#include "models/weights.h"
#include "training/evaluator.h"

namespace glassnet::cli {

// Decoded and made square as the network was trained: (image_size, image_size).
Image prepare_picture(const std::filesystem::path& path, const ModelCard& card);
// The mask of that picture, cut and resized with it: (S, S) uint8, 1 where the object covers half
// of a pixel or more. Throws Error when the file has another size than the picture.
Tensor prepare_mask(const std::filesystem::path& mask, const std::filesystem::path& picture,
                    const ModelCard& card);
// Normalised float32 (1, S, S, 3).
Tensor network_input(const Image& picture, const ModelCard& card);
// inputs (N, S, S, 3), on any device and in the type to compute in -> (N, classes) on the model's,
// without recording.
Tensor logits(Module& model, const Tensor& inputs);
// A picture's input (1, S, S, 3) -> (classes). Throws as require_numbers does.
std::vector<float> probabilities(Module& model, const Tensor& input,
                                 const std::filesystem::path& picture);
// Throws Error, a sentence that names the picture, when a logit or a probability of it, computed in
// `type`, is infinite or NaN: no class is the largest then.
void require_numbers(std::span<const float> answers, const std::filesystem::path& picture,
                     DType type = DType::kFloat32);

// Of pictures whose classes are known, computed in `type`, while a bar shows how far it is. Throws
// as require_numbers does.
Evaluation evaluate(LoadedModel& network, const std::vector<Sample>& samples,
                    int64_t batch_size = 64, DType type = DType::kFloat32);

}  // namespace glassnet::cli
