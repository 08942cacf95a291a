#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/output.h"
#include "tensor/device.h"

namespace glassnet::cli {

void add_devices(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("devices", "List what can compute here.");
  command->footer("Example:\n  glassnet devices --json");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "print JSON");
  command->callback([=, &action] {
    action = [json] {
      nlohmann::json list = nlohmann::json::array();
      for (const DeviceInfo& info : list_devices()) {
        if (*json) {
          list.push_back({{"device", info.device.str()},
                          {"name", info.name},
                          {"details", info.details},
                          {"usable", info.usable},
                          {"why_not", info.why_not}});
        } else {
          fmt::print("{:<8} {}\n", info.device.str(), info.name);
          if (!info.details.empty()) fmt::print("         {}\n", info.details);
          if (!info.usable) fmt::print("         cannot be used: {}\n", info.why_not);
        }
      }
      if (*json) fmt::print("{}\n", to_text(list, 2));
      return 0;
    };
  });
}

}  // namespace glassnet::cli
