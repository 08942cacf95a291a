#include "cli/watch.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/live_run.h"
#include "cli/output.h"
#include "cli/run_explanations.h"
#include "kernels/error.h"
#include "report/evolution_page.h"
#include "training/run_folder.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr timespec kBetweenLooks = {.tv_sec = 0, .tv_nsec = 500'000'000};
// A tenth of the weight of a trainer that has every core: serving takes next to nothing, and an
// explanation, which somebody waits for, comes in the end.
constexpr int kNiceness = 10;

// What ends the watch, blocked for this thread and those that it starts, so that one of them may
// wait for it. A signal that our parent ignores for us stays ignored.
sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    if (now.sa_handler != SIG_IGN) sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

// Looks at the run until a signal comes, then once more: a trainer that ends may have written just
// before.
void follow(LiveRun& live, HttpServer& server, const sigset_t& signals,
            const std::stop_token& stop) {
  while (!stop.stop_requested() && sigtimedwait(&signals, nullptr, &kBetweenLooks) < 0) {
    if (live.look()) server.wake();
  }
  // Its lock may outlive it for an instant.
  for (int look = 0; look < 5; ++look) {
    if (look > 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (live.look()) server.wake();
  }
  live.close();
  // A second signal ends the process at once, but not one that was sent with the first, as by those
  // who signal a process and then its group.
  constexpr timespec kNoTime = {};
  while (sigtimedwait(&signals, nullptr, &kNoTime) > 0) continue;
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  server.stop();
}

// By the best weights so far, on the CPU: a GPU is the trainer's.
ExplainImage explainer(const fs::path& run) {
  struct State {
    std::optional<RunExplanations> run;
    fs::file_time_type weights;
  };
  return [=, state = std::make_shared<State>()](int64_t image) {
    std::error_code ignored;
    const auto weights = fs::last_write_time(RunFolder(run).best(), ignored);
    // The log that their answers are compared with has grown with them.
    if (!state->run || weights != state->weights) {
      state->run.reset();
      state->run.emplace(run, RunExplanationOptions{});
      state->weights = weights;
    }
    return explanation_json(state->run->explain(image).shown);
  };
}

struct Arguments {
  fs::path run;
  int port = kWatchPort;
  int listener = -1, ready = -1;  // descriptors from watch_beside
};

// What watch_beside hears from the process that it started, an int: kReady, or why there is no such
// program (errno). Nothing at all: it has ended, and said why.
constexpr int kReady = 0;

void tell(const Descriptor& ready, int what) {
  [[maybe_unused]] const auto written = ::write(ready.get(), &what, sizeof what);
}

int run(const Arguments& a) {
  std::error_code ignored;
  if (fs::exists(a.run, ignored) && !fs::is_directory(a.run, ignored)) {
    throw UsageError(fmt::format("{} is no run's folder", a.run.string()));
  }
  require_evolution_page();
  const bool beside = a.listener >= 0;
  Descriptor listener = beside ? Descriptor(a.listener) : listen_on_loopback(a.port);
  // Training comes first.
  ::setpriority(PRIO_PROCESS, 0, kNiceness);
  const sigset_t signals = block_signals();
  LiveRun live(a.run, explainer(a.run));
  HttpServer server(std::move(listener), LiveRun::policy(),
                    [&](const HttpRequest& request) { return live.answer(request); });
  if (beside) {
    tell(Descriptor(a.ready), kReady);
  } else {
    fmt::print("http://127.0.0.1:{}/\n", server.port());
    std::fflush(stdout);
    say(fmt::format("watching {}; Ctrl-C ends this, not the training", a.run.string()));
  }
  const std::jthread following(
      [&](const std::stop_token& stop) { follow(live, server, signals, stop); });
  server.run();
  return 0;
}

std::string reason(int error) {
  return std::generic_category().message(error);
}

// Throws Error when the process that was started has ended instead.
void wait_until_ready(const Descriptor& hears, pid_t started) {
  int what = -1;
  ssize_t got = 0;
  do {
    got = ::read(hears.get(), &what, sizeof what);
  } while (got < 0 && errno == EINTR);
  if (got == sizeof what && what == kReady) return;
  ::waitpid(started, nullptr, 0);
  throw Error(fmt::format("--watch: the page cannot be served: {}",
                          got == sizeof what ? reason(what) : "its process has ended"));
}

}  // namespace

void watch_beside(const fs::path& run, const Descriptor& listener) {
  require_evolution_page();
  constexpr const char* kSelf = "/proc/self/exe";
  std::error_code ignored;
  // By its own name, which is what lists of processes show.
  const std::string program = fs::read_symlink(kSelf, ignored).string();
  std::array<int, 2> ends{};
  require(::pipe2(ends.data(), O_CLOEXEC) == 0,
          [] { return fmt::format("--watch: no pipe can be made: {}", reason(errno)); });
  const Descriptor hears(ends[0]);
  Descriptor tells(ends[1]);
  const std::string folder = run.string(), listener_number = fmt::format("{}", listener.get()),
                    ready_number = fmt::format("{}", tells.get());
  const std::array<const char*, 9> arguments = {"glassnet",   "watch",
                                                "--listener", listener_number.c_str(),
                                                "--ready",    ready_number.c_str(),
                                                "--",         folder.c_str(),
                                                nullptr};
  const pid_t trainer = ::getpid();
  const pid_t child = ::fork();
  require(child >= 0,
          [] { return fmt::format("--watch: no process can be started: {}", reason(errno)); });
  if (child > 0) {
    tells = Descriptor();
    wait_until_ready(hears, child);
    return;
  }
  // From here on only what a process with threads may do after fork.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != trainer) _exit(0);  // which has ended before it could be noticed
  // Ctrl-C is for the trainer, which may have an epoch to finish.
  ::signal(SIGINT, SIG_IGN);
  for (const Descriptor* handed : {&listener, &std::as_const(tells)}) {
    ::fcntl(handed->get(), F_SETFD, 0);
  }
  for (const char* path : {program.c_str(), kSelf}) {
    ::execv(path, const_cast<char* const*>(arguments.data()));
  }
  tell(tells, errno);
  _exit(1);
}

void add_watch(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "watch", "Serve the page of a run that is being trained to browsers on this machine.");
  command->footer(
      "Opens the page of `evolve --out page.html` on a run that grows: epochs appear as they are\n"
      "done, whoever trains it, and stay when training stops and goes on. RUN need not be there "
      "yet.\n"
      "Only this machine can connect (127.0.0.1); from another, tunnel with ssh -L.\n\n"
      "Examples:\n"
      "  glassnet watch run\n"
      "  glassnet train photos --out run --watch");
  auto arguments = std::make_shared<Arguments>();
  Arguments& a = *arguments;
  command->add_option("RUN", a.run, "the run's folder")->required();
  command->add_option("--port", a.port, "of 127.0.0.1; 0 takes a free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command->add_option("--listener", a.listener)->group("");  // hidden, as the next
  command->add_option("--ready", a.ready)->group("");
  command->callback([=, &action] { action = [arguments] { return run(*arguments); }; });
}

}  // namespace glassnet::cli
