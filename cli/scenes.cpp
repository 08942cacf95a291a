#include "data/scenes.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "report/terminal.h"

namespace glassnet::cli {

void add_scenes(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "scenes", "Draw a data set of six kinds of landscape, with the outline of what makes each.");
  command->footer(
      "Example:\n"
      "  glassnet scenes landscapes --train 400 --test 100\n"
      "  glassnet train landscapes --model resnet18 --out run");
  struct Arguments {
    std::string dir;
    ScenesOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  ScenesOptions& options = arguments->options;
  command->add_option("DIR", arguments->dir, "folder to write")->required();
  command->add_option("--train", options.train_per_class, "training pictures of each class")
      ->check(CLI::Range(1, 99999))
      ->capture_default_str();
  command->add_option("--test", options.test_per_class, "test pictures of each class")
      ->check(CLI::Range(1, 99999))
      ->capture_default_str();
  command->add_option("--size", options.size, "side of a picture in pixels")
      ->check(CLI::Range(16, 2048))
      ->capture_default_str();
  command->add_option("--seed", options.seed, "the same seed draws the same pictures")
      ->check(CLI::Range(INT64_C(0), INT64_MAX))
      ->capture_default_str();
  command->add_flag("--beside-others", options.beside_others,
                    "write into a folder that holds other files");
  command->add_flag("--replace", options.replace,
                    "replace scenes in DIR that were drawn with other options");
  command->callback([=, &action] {
    action = [arguments] {
      Progress progress(
          "drawing", 6 * (arguments->options.train_per_class + arguments->options.test_per_class));
      write_scenes(arguments->dir, arguments->options,
                   [&](int64_t done, int64_t) { progress.update(done); });
      progress.finish();
      fmt::print("{} training and {} test pictures of {} classes, and their masks, are in {}\n",
                 6 * arguments->options.train_per_class, 6 * arguments->options.test_per_class,
                 scene_classes().size(), arguments->dir);
      return 0;
    };
  });
}

}  // namespace glassnet::cli
