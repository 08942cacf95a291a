// HTTP for the browsers of one machine: pages that are made in memory, and streams of events.
//
// It listens on 127.0.0.1 and nowhere else. A connection is one request, GET or HEAD without a
// body, whose head has at most kMostHead bytes; everything else is refused in a sentence and
// closed, and so is what another site's page asks for, or what asks for another host than this one.
// No file is ever named by a request.
//
// One thread waits for all connections at once and sends what is shared between them, so that a
// hundred viewers cost a hundred sockets. (Debian's cpp-httplib, 0.11, keeps a thread for each
// stream, takes any number of header lines and chunked bodies past the limit that it is given, and
// brings OpenSSL.)
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace glassnet::cli {

// An open file of the system's, closed with the object; -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  int get() const { return number_; }

 private:
  int number_;
};

// A socket that listens on that port of 127.0.0.1; 0 takes a free one. Throws Error, a sentence
// that says what to do, when the port is taken and stays so for a second.
Descriptor listen_on_loopback(int port);
// Throws Error for what is no socket with a port.
int port_of(const Descriptor& listener);

struct HttpRequest {
  std::string method, path, query;            // "GET", "/events", "after=3": nothing is decoded
  std::map<std::string, std::string> fields;  // header fields by name in lower case

  // Empty when it is not there.
  std::string field(const std::string& name) const;
};

inline constexpr size_t kMostRequestLine = 4096;
inline constexpr size_t kMostHead = 16384;

// Reads a head, the bytes up to the empty line, which is part of it. Returns 0, or the status to
// refuse it with: 400 where it is not HTTP, 405 for another method than GET and HEAD, 413 for a
// body, 414 and 431 where it is too long, 505 for another version than 1.0 and 1.1, 403 for another
// host than this machine and for another site's page that asks for more than "/".
int parse_request(std::string_view head, HttpRequest& request);

// Text that several connections may be sending.
using SharedText = std::shared_ptr<const std::string>;

struct HttpReply {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  SharedText body;
  std::vector<std::string> fields;  // further header lines: "Retry-After: 2"

  // Instead of a body, one of these. Asked whenever the viewer has taken all it was sent, and after
  // every wake() and about every second then: what to send next, or null for nothing yet.
  std::function<SharedText()> events;
  // Makes the reply on one of the server's two workers, since it takes longer than a millisecond;
  // or on a third, one at a time and in the order in which they were asked for, since it takes
  // seconds.
  std::function<HttpReply()> work, slow_work;
};
// With the sentence as its body, a line.
HttpReply refusal(int status, const std::string& sentence);

class HttpServer {
 public:
  // Asked by the thread in run(); what it throws becomes a 500.
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  // `policy` is the Content-Security-Policy of every reply.
  HttpServer(Descriptor listener, std::string policy, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const { return port_; }
  // Serves until stop(); what was to be sent by then is sent first, for two seconds at most.
  void run();
  // From any thread: there may be something new for streams.
  void wake() noexcept;
  // From any thread, and from a signal handler.
  void stop() noexcept;

 private:
  struct Connection;
  using Clock = std::chrono::steady_clock;

  void accept_some();
  void serve(uint64_t id, Connection& connection, short events);
  void read_head(uint64_t id, Connection& connection);
  void answer(uint64_t id, Connection& connection, std::string_view head);
  void reply(uint64_t id, Connection& connection, HttpReply reply);
  void send_some(Connection& connection);
  void take_finished_work();
  void forget_work(uint64_t id);
  struct Task {
    uint64_t id;
    std::function<HttpReply()> make;
  };
  void run_worker(const std::stop_token& stop, std::deque<Task>& tasks);

  Descriptor listener_, bell_;  // the bell wakes the poll
  int port_;
  std::string policy_;
  Handler handler_;
  std::atomic<bool> stopping_{false};
  std::map<uint64_t, Connection> connections_;
  uint64_t next_id_ = 0;
  Clock::time_point accept_from_;

  std::mutex mutex_;  // of what follows
  std::condition_variable_any work_waits_;
  std::deque<Task> work_, slow_work_;
  std::vector<std::pair<uint64_t, HttpReply>> finished_;
  std::vector<std::jthread> workers_;  // the last member: they use all others
};

}  // namespace glassnet::cli
