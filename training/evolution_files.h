// What confusion evolution found, for other programs to read: numbers with every digit that tells
// a double apart. docs/confusion-evolution.md lists the keys and columns.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "training/evolution.h"

namespace glassnet {

// {"window": …, "classes": [names], "class_means": [a class], "epochs": [an epoch],
//  "images": [an image]}, piece by piece to `write`.
void write_evolution_json(const History& history, const Evolution& evolution,
                          const std::function<void(std::string_view)>& write);
void save_evolution_json(const std::filesystem::path& path, const History& history,
                         const Evolution& evolution);

// A line an image, under a header.
void save_evolution_csv(const std::filesystem::path& path, const History& history,
                        const Evolution& evolution);

}  // namespace glassnet
