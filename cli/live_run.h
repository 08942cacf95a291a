// A run's page while it is trained: what a browser asks a server for, answered from the run's
// folder.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "cli/http_server.h"
#include "training/run_follower.h"

namespace glassnet::cli {

// Explains an image, numbered as in the run's log, by the best weights so far: JSON for
// report/web/explanations.js. Throws Error, a sentence. Always called by the same thread.
using ExplainImage = std::function<std::string(int64_t image)>;

inline constexpr int kMostViewers = 64;      // that follow at once; others get 503
inline constexpr size_t kMostToExplain = 8;  // images that wait for it; others likewise

// The paths are "/", what live_asset knows, "/events", "/picture/N" and "/explanation/N".
//
// CONVENTION: `look` is for one thread; `answer` may run in many at the same time.
class LiveRun {
 public:
  // Without `explain`, explanations are 404. The folder need not be there yet.
  explicit LiveRun(std::filesystem::path run, ExplainImage explain = {});
  ~LiveRun();

  // Reads what is new in the folder. Returns whether there is anything for viewers.
  bool look();
  HttpReply answer(const HttpRequest& request);
  // Explains no image any more but the one that it is at: answers that wait are 503.
  void close();

  // Of all replies: nothing but what this server sends, and no script in the page itself.
  static const char* policy();

 private:
  struct Published;
  struct Viewer;
  struct Pictures;

  std::shared_ptr<const Published> published() const;
  HttpReply page() const;
  HttpReply events(const HttpRequest& request);
  HttpReply picture(int64_t image) const;
  HttpReply explanation(int64_t image);
  HttpReply explained(int64_t image);
  void run_explainer(const std::stop_token& stop);
  std::shared_ptr<const Pictures> pictures() const;

  std::filesystem::path folder_;
  RunFollower follower_;  // of `look` alone

  mutable std::mutex mutex_;  // of the pointer, never of what it points to
  std::shared_ptr<const Published> published_;

  mutable std::mutex pictures_mutex_;
  mutable std::shared_ptr<const Pictures> pictures_;
  mutable std::chrono::steady_clock::time_point pictures_read_;

  std::shared_ptr<std::atomic<int>> viewers_ = std::make_shared<std::atomic<int>>(0);

  // One thread explains: each that does keeps a team and memory of its own for good.
  ExplainImage explain_;
  std::string explained_by_;  // what the best weights looked like from outside
  std::map<int64_t, SharedText> explanations_;
  std::mutex to_explain_mutex_;  // of the next two
  bool closed_ = false;
  std::deque<std::packaged_task<HttpReply()>> to_explain_;
  std::condition_variable_any something_to_explain_;
  std::jthread explainer_;  // the last member: it uses all others
};

}  // namespace glassnet::cli
