// HTTP for the browsers of one machine: pages that are made in memory, and streams of events.
//
// It listens on 127.0.0.1 and nowhere else. GET and HEAD without a body are answered; everything
// else is refused in a sentence, and so is what another site's page asks for, or what asks for
// another host than this one. No file is ever named by a request. The protocol is cpp-httplib's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace glassnet::cli {

// An open file of the system's, closed with the object; -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

// A socket that listens on that port of 127.0.0.1; 0 takes a free one. Throws Error, a sentence
// that says what to do, when the port is taken and stays so for a second, or when this program was
// built without cpp-httplib.
Descriptor listen_on_loopback(int port);
// Throws Error for what is no socket with a port.
int port_of(const Descriptor& listener);

struct HttpRequest {
  std::string method, path, query;  // "GET", "/events", "after=3"
  std::string last_event;           // the field Last-Event-ID, mostly empty
};

// Text that several connections may be sending.
using SharedText = std::shared_ptr<const std::string>;

struct HttpReply {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  SharedText body;
  std::vector<std::pair<std::string, std::string>> fields;  // further ones: {"Retry-After", "2"}

  // Instead of a body. Asked whenever the viewer has taken all it was sent, and after every wake()
  // and about every second then: what to send next, or null for nothing yet.
  std::function<SharedText()> events;
};
// With the sentence as its body, a line.
HttpReply refusal(int status, const std::string& sentence);

inline constexpr int kMostConnections = 96;  // at a time; others wait for their turn

class HttpServer {
 public:
  // Called by a thread for each connection; what it throws becomes a 500.
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  // `policy` is the Content-Security-Policy of every reply.
  HttpServer(Descriptor listener, std::string policy, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  // Serves until stop(); streams are asked once more then.
  void run();
  // From any thread: there may be something new for streams.
  void wake();
  // From any thread.
  void stop();

 private:
  class Library;
  struct Stream;

  uint64_t rings();
  void wait_for_news(uint64_t rings);

  int port_;
  Handler handler_;
  std::mutex mutex_;  // of the next two
  std::condition_variable news_;
  uint64_t rings_ = 0;  // calls of wake()
  std::atomic<bool> stopping_{false}, ended_{false};
  std::shared_ptr<std::atomic<int>> streams_ = std::make_shared<std::atomic<int>>(0);
  std::unique_ptr<Library> library_;
};

}  // namespace glassnet::cli
