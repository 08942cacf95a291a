// glassnet: trains residual networks on folders of images, and shows what they look at.
//
// Exit codes: 0 done, 1 it could not be done, 2 the command line makes no sense, 130 interrupted.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output.h"
#include "kernels/error.h"

namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;

// A thread that waits for the others spins for up to 15 ms by libgomp's default, which beside
// another busy program makes both several times slower; half a millisecond costs nothing on an idle
// machine. libgomp reads this before main begins: hence a second start.
void spin_briefly(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "10000", 0);
  execv("/proc/self/exe", argv);  // where it fails, all is as it was
}

int fail(const std::string& sentence, int code) {
  glassnet::cli::complain(sentence);
  return code;
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
    return fail(fmt::format("{} (glassnet --help shows how)", error.what()), kUsage);
  } catch (const glassnet::UsageError& error) {
    return fail(error.what(), kUsage);
  } catch (const std::bad_alloc&) {
    return fail("out of memory; use a smaller --batch-size or --image-size", kFailure);
  } catch (const std::exception& error) {
    return fail(error.what(), kFailure);
  }
}
