#include "cli/live_run.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/evolution_html.h"
#include "cli/output.h"
#include "data/image.h"
#include "kernels/error.h"
#include "report/evolution_page.h"

namespace glassnet::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kHeartbeat{15};
constexpr int kPictureSide = 192;
constexpr int kPictureQuality = 85;
constexpr size_t kMostExplanations = 256;  // that are kept
constexpr std::chrono::seconds kBetweenSearches{5};

HttpReply busy(const std::string& sentence) {
  HttpReply reply = refusal(503, sentence);
  reply.fields.emplace_back("Retry-After", "5");
  return reply;
}

const char* name_of(RunPhase phase) {
  switch (phase) {
    case RunPhase::kAwaited:
      return "awaited";
    case RunPhase::kTraining:
      return "training";
    case RunPhase::kPaused:
      return "paused";
    case RunPhase::kFinished:
      return "finished";
  }
  return "";
}

nlohmann::ordered_json json_of(const RunStatus& status) {
  return {{"phase", name_of(status.phase)},
          {"of", status.planned},
          {"seconds", status.seconds},
          {"note", status.note}};
}

EvolutionRun without_epochs(const PredictionLogHeader& header, const std::string& name) {
  return {.name = name, .classes = header.classes, .split = header.split, .images = header.images};
}

// Gives `run` the epochs [first, last) of a record, counted from 0.
void set_epochs(EvolutionRun& run, const RunRecord& record, int64_t first, int64_t last) {
  const PredictionHistory& log = record.log;
  const auto images = std::ssize(log.header.images);
  const auto rows = [&](const auto& values) {
    using Values = std::decay_t<decltype(values)>;
    return Values(values.begin() + first * images, values.begin() + last * images);
  };
  run.first_epoch = first + 1;
  run.epochs = last - first;
  run.predicted = rows(log.predicted);
  run.probability = rows(log.probability);
  run.true_probability = rows(log.true_probability);
  run.test_loss.clear(), run.train_loss.clear(), run.train_accuracy.clear();
  for (int64_t epoch = first; epoch < last && !record.metrics.empty(); ++epoch) {
    const EpochMetrics& of = record.metrics[static_cast<size_t>(epoch)];
    run.test_loss.push_back(of.test_loss);
    run.train_loss.push_back(of.train_loss);
    run.train_accuracy.push_back(of.train_accuracy);
  }
}

// "7-00c0ffee…": the first 7 epochs, and which they are.
std::string mark_of(const RunRecord& record, size_t epochs) {
  return fmt::format("{}-{:016x}", epochs, record.marks[epochs]);
}

SharedText shared(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

SharedText event_text(const char* kind, const std::string& data, const std::string& mark = "") {
  std::string text = mark.empty() ? "" : fmt::format("id: {}\n", mark);
  return shared(text + fmt::format("event: {}\ndata: {}\n\n", kind, data));
}

// "17" -> 17; -1 for anything else.
int64_t number_in(std::string_view text) {
  int64_t number = -1;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool plain = failure == std::errc{} && end == text.data() + text.size() && number >= 0;
  return plain ? number : -1;
}

// What a file looks like from outside; another text when it was written anew.
std::string appearance(const fs::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{}:{}:{}.{}", status.st_ino, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

HttpReply not_found() {
  return refusal(404, "there is no such page here");
}

}  // namespace

// What viewers are sent at a time.
struct LiveRun::Published {
  std::shared_ptr<const RunRecord> record;
  RunStatus status;
  std::vector<SharedText> epochs;  // the event of each
  SharedText status_event;
};

struct LiveRun::Pictures {
  std::shared_ptr<const RunRecord> record;  // whose images they are
  std::map<std::string, fs::path> paths;
};

// One stream of events.
struct LiveRun::Viewer {
  std::shared_ptr<const RunRecord> held;  // of which the viewer has the first `epochs`
  size_t epochs = 0;
  bool stranger = false;  // has nothing of this run
  bool lost = false;      // was told to begin again
  SharedText status;      // that it was sent
  Clock::time_point last = Clock::now();
  std::shared_ptr<std::atomic<int>> count;

  Viewer() = default;
  Viewer(const Viewer&) = delete;
  Viewer& operator=(const Viewer&) = delete;
  ~Viewer() { --*count; }

  SharedText next(const Published& now) {
    SharedText text = news(now);
    if (!text && Clock::now() - last >= kHeartbeat) text = shared(":\n\n");
    if (text) last = Clock::now();
    return text;
  }

 private:
  SharedText news(const Published& now) {
    if (lost) return nullptr;
    const std::vector<uint64_t>& marks = now.record->marks;
    // How many epochs the viewer has that are still so.
    size_t same = std::min(epochs, marks.size() - 1);
    while (same > 0 && held->marks[same] != marks[same]) --same;
    const bool begins_again = same == 0 && (epochs > 0 || marks.size() > 1);
    if (stranger || begins_again || held->marks[0] != marks[0]) {
      lost = true;
      return event_text("reload", "{}");
    }
    if (same + 1 < marks.size()) {
      held = now.record;
      epochs = same + 1;
      return now.epochs[same];
    }
    if (same < epochs) {
      held = now.record;
      epochs = same;
      return event_text("cut", fmt::format(R"({{"epochs":{}}})", same), mark_of(*held, same));
    }
    if (status == now.status_event) return nullptr;
    return status = now.status_event;
  }
};

LiveRun::LiveRun(fs::path run, ExplainImage explain)
    : folder_(std::move(run)), follower_(folder_), explain_(std::move(explain)) {
  published_ = std::make_shared<Published>(
      Published{.record = follower_.record(), .status = follower_.status()});
  look();
  if (explain_) explainer_ = std::jthread([this](const std::stop_token& s) { run_explainer(s); });
}

LiveRun::~LiveRun() = default;

const char* LiveRun::policy() {
  return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
         "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

std::shared_ptr<const LiveRun::Published> LiveRun::published() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

bool LiveRun::look() {
  const bool news = follower_.look();
  const auto before = published();
  if (!news && before->status_event) return false;
  auto now = std::make_shared<Published>();
  now->record = follower_.record();
  now->status = follower_.status();
  now->status_event = event_text("status", to_text(json_of(now->status)));
  const std::vector<uint64_t>&marks = now->record->marks, &earlier = before->record->marks;
  EvolutionRun one = without_epochs(now->record->log.header, "");
  for (size_t epoch = 1; epoch < marks.size(); ++epoch) {
    if (epoch <= before->epochs.size() && earlier[epoch] == marks[epoch]) {
      now->epochs.push_back(before->epochs[epoch - 1]);
      continue;
    }
    const auto at = static_cast<int64_t>(epoch);
    set_epochs(one, *now->record, at - 1, at);
    now->epochs.push_back(event_text("epoch", epoch_json(one), mark_of(*now->record, epoch)));
  }
  const std::lock_guard lock(mutex_);
  published_ = std::move(now);
  return true;
}

HttpReply LiveRun::answer(const HttpRequest& request) {
  const std::string& path = request.path;
  if (path == "/") {
    return page();
  }
  if (path == "/events") return events(request);
  if (const LiveAsset asset = live_asset(path); !asset.type.empty()) {
    return {.type = std::string(asset.type), .body = shared(std::string(asset.content))};
  }
  const auto image_of = [&](std::string_view prefix) {
    return path.starts_with(prefix) ? number_in(std::string_view(path).substr(prefix.size())) : -1;
  };
  const auto images = std::ssize(published()->record->log.header.images);
  if (const int64_t image = image_of("/picture/"); image >= 0 && image < images) {
    return picture(image);
  }
  if (const int64_t image = image_of("/explanation/"); image >= 0 && image < images) {
    if (!explain_) return refusal(404, "this server explains no images");
    return explanation(image);
  }
  return not_found();
}

HttpReply LiveRun::page() const {
  const auto now = published();
  const size_t epochs = now->record->marks.size() - 1;
  const std::string name = fs::absolute(folder_).lexically_normal().filename().string();
  const nlohmann::ordered_json live = {{"mark", mark_of(*now->record, epochs)},
                                       {"status", json_of(now->status)}};
  LivePageData data{.title = fmt::format("Confusion Evolution: {}", name), .live = to_text(live)};
  EvolutionRun run = without_epochs(now->record->log.header, name);
  if (epochs > 0) {
    set_epochs(run, *now->record, 0, static_cast<int64_t>(epochs));
    const auto all = pictures();
    for (size_t i = 0; i < run.images.size() && !all->paths.empty(); ++i) {
      const bool there = all->paths.contains(run.images[i].id);
      run.thumbnail_files.push_back(there ? fmt::format("/picture/{}", i) : "");
    }
    data.run = &run;
  }
  return {.type = "text/html; charset=utf-8", .body = shared(live_page(data))};
}

HttpReply LiveRun::events(const HttpRequest& request) {
  // Taken before it is looked at, so that the limit holds whoever comes at the same time.
  auto viewer = std::make_shared<Viewer>();
  viewer->count = viewers_;
  if (++*viewers_ > kMostViewers) {
    return busy(fmt::format("{} viewers follow this run already", kMostViewers));
  }
  // A browser that connects again by itself names the last event that it was sent.
  std::string mark = request.last_event;
  if (mark.empty() && request.query.starts_with("after=")) mark = request.query.substr(6);
  const auto now = published();
  const int64_t epochs = number_in(std::string_view(mark).substr(0, mark.find('-')));
  viewer->held = now->record;
  viewer->epochs =
      static_cast<size_t>(std::clamp<int64_t>(epochs, 0, std::ssize(now->record->marks) - 1));
  viewer->stranger = mark != mark_of(*now->record, viewer->epochs);
  return {.type = "text/event-stream",
          .events = [this, viewer] { return viewer->next(*published()); }};
}

std::shared_ptr<const LiveRun::Pictures> LiveRun::pictures() const {
  const auto record = published()->record;
  const std::lock_guard lock(pictures_mutex_);
  const bool other = !pictures_ || pictures_->record->marks[0] != record->marks[0];
  // Photographs that were not there may have come.
  if (other || (pictures_->paths.empty() && Clock::now() - pictures_read_ > kBetweenSearches)) {
    pictures_read_ = Clock::now();
    pictures_ = std::make_shared<Pictures>(
        Pictures{.record = record, .paths = pictures_of(folder_, "", record->log.header.classes)});
  }
  return pictures_;
}

HttpReply LiveRun::picture(int64_t image) const {
  const auto all = pictures();
  const std::vector<LoggedImage>& images = all->record->log.header.images;
  if (image >= std::ssize(images)) return not_found();
  const std::string& id = images[static_cast<size_t>(image)].id;
  const auto found = all->paths.find(id);
  if (found == all->paths.end()) return refusal(404, "the photograph is not where it was");
  try {
    const Image picture = fit_image(read_image(found->second), kPictureSide, Fit::kCrop);
    return {.type = "image/jpeg", .body = shared(encode_jpeg(picture, kPictureQuality, id))};
  } catch (const Error& error) {
    return refusal(404, error.what());
  }
}

HttpReply LiveRun::explanation(int64_t image) {
  std::packaged_task<HttpReply()> task([this, image] { return explained(image); });
  std::future<HttpReply> reply = task.get_future();
  {
    const std::lock_guard lock(to_explain_mutex_);
    if (closed_ || to_explain_.size() >= kMostToExplain) return busy("too many images wait");
    to_explain_.push_back(std::move(task));
  }
  something_to_explain_.notify_one();
  try {
    return reply.get();
  } catch (const std::future_error&) {  // left undone by close()
    return busy("this server ends");
  }
}

void LiveRun::close() {
  const std::lock_guard lock(to_explain_mutex_);
  closed_ = true;
  to_explain_.clear();
}

void LiveRun::run_explainer(const std::stop_token& stop) {
  while (true) {
    std::packaged_task<HttpReply()> task;
    {
      std::unique_lock lock(to_explain_mutex_);
      if (!something_to_explain_.wait(lock, stop, [&] { return !to_explain_.empty(); })) return;
      task = std::move(to_explain_.front());
      to_explain_.pop_front();
    }
    task();
  }
}

HttpReply LiveRun::explained(int64_t image) {
  const std::string weights = appearance(RunFolder(folder_).best());
  if (weights != explained_by_ || explanations_.size() >= kMostExplanations) explanations_.clear();
  explained_by_ = weights;
  SharedText& known = explanations_[image];
  try {
    if (!known) known = shared(explain_(image));
  } catch (const Error& error) {
    explanations_.erase(image);
    return refusal(404, error.what());
  }
  return {.type = "application/json", .body = known};
}

}  // namespace glassnet::cli
