// The classes of ImageNet (Russakovsky et al., "ImageNet large scale visual recognition challenge",
// IJCV 2015).
#pragma once

#include <string>
#include <vector>

namespace glassnet {

// The 1,000 names by index, as torchvision's networks number them; no name twice.
const std::vector<std::string>& imagenet_classes();

}  // namespace glassnet
