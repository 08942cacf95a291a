// glassnet: trains residual networks on folders of images, and shows what they look at.
//
// Exit codes: 0 done, 1 it could not be done, 2 the command line makes no sense, 130 interrupted.
#include <sys/auxv.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/output.h"
#include "kernels/error.h"
#include "nn/module.h"

namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;

// A thread that waits for the others spins for up to 15 ms by libgomp's default, which beside
// another busy program makes both several times slower; half a millisecond costs nothing on an idle
// machine. libgomp reads this before main begins: hence a second start.
void spin_briefly(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  if (getauxval(AT_BASE) == 0) return;  // the dynamic loader was started, and is what would start
  setenv("GOMP_SPINCOUNT", "10000", 0);
  execv("/proc/self/exe", argv);  // where it fails, all is as it was
}

int fail(const std::string& sentence, int code) {
  glassnet::cli::complain(sentence);
  return code;
}

// The command that the words before the mistake chose, "glassnet weights" for one.
const CLI::App& chosen_command(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return *command;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name() : full_name(*parent) + " " + command.get_name();
}

std::vector<std::string> commands_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(one->get_name());
  }
  return names;
}

std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// What is wrong with the command line; the parser's own sentence where that is good.
std::string mistake(const CLI::ParseError& error, const CLI::App& app, const CLI::App& command) {
  const std::string name = full_name(command), said = error.what();
  const std::vector<std::string> commands = commands_of(command), unknown = app.remaining(true);
  const auto is = [&](CLI::ExitCodes kind) {  // its name may be the command's
    return error.get_exit_code() == static_cast<int>(kind);
  };
  const bool left_over = is(CLI::ExitCodes::ExtrasError) || is(CLI::ExitCodes::RequiredError);
  if (left_over && !unknown.empty()) {
    const std::string& word = unknown.front();
    if (word.starts_with('-')) {
      const std::string option = word.substr(0, word.find('='));
      return fmt::format("{} has no option {}; the nearest are {}", name, option,
                         fmt::join(glassnet::nearest_names(option, options_of(command)), ", "));
    }
    if (!commands.empty()) {
      return fmt::format("{} has no command {}; the nearest are {}", name, word,
                         fmt::join(glassnet::nearest_names(word, commands), ", "));
    }
    if (is(CLI::ExitCodes::ExtrasError)) {
      return fmt::format("{} takes fewer arguments: '{}' is too many", name, word);
    }
  }
  if (is(CLI::ExitCodes::RequiredError) && !commands.empty()) {
    return fmt::format("{} needs a command: {}", name, fmt::join(commands, ", "));
  }
  if (const size_t end = said.find(": At Most 1 required"); end != std::string::npos) {
    return fmt::format("{} is given more than once", said.substr(0, end));
  }
  return said;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace glassnet::cli;
  CLI::App app("Trains residual networks on folders of images, and shows what they look at.",
               "glassnet");
  app.set_version_flag("--version", "glassnet " GLASSNET_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);

  Action action;
  add_train(app, action);
  add_predict(app, action);
  add_evaluate(app, action);
  add_explain(app, action);
  add_trust(app, action);
  add_evolve(app, action);
  add_report(app, action);
  add_watch(app, action);
  add_scenes(app, action);
  add_summary(app, action);
  add_profile(app, action);
  add_weights(app, action);
  add_devices(app, action);
  add_demo(app, action);

  try {
    app.parse(argc, argv);
    spin_briefly(argv);
    const int code = action();
    // A full disk behind a redirection shows here at the latest.
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return fail("the output cannot be written; is the disk full?", kFailure);
    }
    return code;
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::ParseError& error) {
    const CLI::App& command = chosen_command(app);
    return fail(
        fmt::format("{} ({} --help shows how)", mistake(error, app, command), full_name(command)),
        kUsage);
  } catch (const glassnet::UsageError& error) {
    return fail(error.what(), kUsage);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; use a smaller --batch-size or --image-size", kFailure);
  } catch (const std::exception& error) {
    return fail(error.what(), kFailure);
  }
}
