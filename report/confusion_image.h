// A confusion matrix as a picture.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace glassnet {

// counts (C, C): counts[t * C + p] images of class t were predicted as class p; classes: C names.
// A cell is shaded by its share of its row (blue on the diagonal, orange beside it, darker by the
// square root, so that a few mistakes among many images still show) and carries its count. On the
// right stands each class's recall, below its precision. With many classes cells shrink, first
// their numbers and then the names are left out.
// Throws Error when the sizes do not match or there is no class.
Image confusion_matrix_image(std::span<const std::string> classes, std::span<const int64_t> counts,
                             const std::string& title = "");

}  // namespace glassnet
