#include "cli/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <exception>
#include <system_error>

#include <fmt/format.h>

#include "kernels/error.h"

namespace glassnet::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kMostConnections = 256;
constexpr size_t kMostWork = 64;  // that waits for a worker
constexpr int kWorkers = 2;
constexpr seconds kHeadTime{10};     // for a request to arrive
constexpr seconds kStallTime{30};    // without the viewer taking a byte of what it is sent
constexpr seconds kWorkTime{600};    // for a worker
constexpr seconds kLingerTime{1};    // for a viewer to close after a reply
constexpr seconds kFarewellTime{2};  // for what is to be sent when the server stops
constexpr milliseconds kTick{1000};  // between two looks at streams that nobody woke

struct Status {
  int number;
  const char* reason;
};
constexpr std::array<Status, 11> kStatuses = {{
    {200, "OK"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
}};

const char* reason_of(int status) {
  const auto* found = std::ranges::find(kStatuses, status, &Status::number);
  return found == kStatuses.end() ? "" : found->reason;
}

const char* sentence_of(int status) {
  switch (status) {
    case 403:
      return "this server answers its own page on this machine only";
    case 405:
      return "only GET and HEAD are known here";
    case 413:
      return "a request has no body here";
    case 414:
      return "the address is too long";
    case 431:
      return "the request's head is too long";
    case 505:
      return "only HTTP/1.0 and HTTP/1.1 are spoken here";
    default:
      return "this is not a request";
  }
}

std::string system_sentence(int error) {
  return std::generic_category().message(error);
}

// RFC 9110's token, of which methods and field names are made.
bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || kMarks.find(c) != kMarks.npos;
  });
}

bool is_visible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
}

// Tabs and everything that is no control character, whatever its encoding.
bool is_field_value(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < ' ' && c != '\t') || byte == 0x7f;
  });
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// 127.0.0.1 or localhost, with any port, which a tunnel may have changed. A page of another site
// whose name was made to lead here still has that site's name.
bool is_this_machine(std::string_view host) {
  const std::string_view name = host.substr(0, host.find(':'));
  if (name.size() < host.size()) {
    const std::string_view port = host.substr(name.size() + 1);
    if (port.size() > 5 || port.find_first_not_of("0123456789") != port.npos) return false;
  }
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower == "127.0.0.1" || lower == "localhost";
}

// What browsers tell of the page that asks; other programs say nothing.
bool is_own_page(const HttpRequest& request) {
  const std::string site = request.field("sec-fetch-site");
  return site.empty() || site == "same-origin" || site == "none" || request.path == "/";
}

}  // namespace

// --- sockets -------------------------------------------------------------------------------------

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Descriptor listen_on_loopback(int port) {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto fail = [&](int error) {
    throw Error(fmt::format("port {} of 127.0.0.1 cannot be listened on: {}", port,
                            system_sentence(error)));
  };
  if (listener.get() < 0) fail(errno);
  // So that a server that is started again gets its port while old connections fade.
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const auto listen = [&] {
    const auto* name = reinterpret_cast<const sockaddr*>(&address);
    return ::bind(listener.get(), name, sizeof address) == 0 &&
           ::listen(listener.get(), SOMAXCONN) == 0;
  };
  bool listening = listen();
  // A predecessor that is just ending lets go of its port.
  for (int wait = 0; !listening && errno == EADDRINUSE && wait < 10; ++wait) {
    std::this_thread::sleep_for(milliseconds(100));
    listening = listen();
  }
  if (!listening) {
    const int error = errno;
    require(error != EADDRINUSE, [&] {
      return fmt::format(
          "port {} is taken, perhaps by another glassnet; choose another with --port, or any free "
          "one with --port 0",
          port);
    });
    fail(error);
  }
  return listener;
}

int port_of(const Descriptor& listener) {
  sockaddr_in address = {};
  socklen_t size = sizeof address;
  require(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
              address.sin_family == AF_INET,
          [&] { return fmt::format("descriptor {} is no socket that listens", listener.get()); });
  return ntohs(address.sin_port);
}

// --- requests ------------------------------------------------------------------------------------

std::string HttpRequest::field(const std::string& name) const {
  const auto found = fields.find(name);
  return found == fields.end() ? std::string() : found->second;
}

int parse_request(std::string_view head, HttpRequest& request) {
  constexpr std::string_view kEnd = "\r\n";
  size_t end = head.find(kEnd);
  if (end == head.npos || !head.ends_with("\r\n\r\n")) return 400;
  if (end > kMostRequestLine) return 414;
  if (head.size() > kMostHead) return 431;

  const std::string_view line = head.substr(0, end);
  const size_t space = line.find(' '), last = line.rfind(' ');
  if (space == last) return 400;
  const std::string_view method = line.substr(0, space), version = line.substr(last + 1);
  const std::string_view target = line.substr(space + 1, last - space - 1);
  if (!is_token(method) || !target.starts_with('/') || !is_visible(target)) return 400;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return version.starts_with("HTTP/") ? 505 : 400;
  }
  const size_t query = target.find('?');
  request.method = method;
  request.path = target.substr(0, query);
  request.query = query == target.npos ? std::string_view{} : target.substr(query + 1);

  for (size_t begin = end + kEnd.size(); (end = head.find(kEnd, begin)) != begin;
       begin = end + kEnd.size()) {
    const std::string_view field = head.substr(begin, end - begin);
    const size_t colon = field.find(':');
    if (colon == field.npos || !is_token(field.substr(0, colon))) return 400;
    const std::string_view value = trimmed(field.substr(colon + 1));
    if (!is_field_value(value)) return 400;
    std::string name(field.substr(0, colon));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    const bool added = request.fields.emplace(name, value).second;
    // Twice, and each reader would choose another one.
    if (!added && (name == "host" || name == "content-length" || name == "transfer-encoding")) {
      return 400;
    }
  }
  if (method != "GET" && method != "HEAD") return 405;
  const std::string length = request.field("content-length");
  if (request.fields.contains("transfer-encoding") || (!length.empty() && length != "0")) {
    return 413;
  }
  if (!request.fields.contains("host")) return 400;
  return is_this_machine(request.field("host")) && is_own_page(request) ? 0 : 403;
}

HttpReply refusal(int status, const std::string& sentence) {
  HttpReply reply{.status = status, .body = std::make_shared<std::string>(sentence + "\n")};
  if (status == 405) reply.fields.emplace_back("Allow: GET, HEAD");
  return reply;
}

// --- the server ----------------------------------------------------------------------------------

struct HttpServer::Connection {
  enum class Phase {
    kReading,    // the request arrives
    kWorking,    // a worker makes the reply
    kSending,    // the reply leaves
    kStreaming,  // and is followed by events
    kLingering,  // all is said: a close now could take what has not been read from the viewer
    kDone,
  };

  Descriptor socket;
  Phase phase = Phase::kReading;
  Clock::time_point deadline;
  std::string received;
  bool deaf = false;  // the viewer has said all it will
  bool head_only = false;
  std::vector<SharedText> outgoing;  // what is left of it begins in the first, at `sent`
  size_t sent = 0;
  std::function<SharedText()> events;
};

HttpServer::HttpServer(Descriptor listener, std::string policy, Handler handler)
    : listener_(std::move(listener)),
      bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      port_(port_of(listener_)),
      policy_(std::move(policy)),
      handler_(std::move(handler)) {
  require(bell_.get() >= 0, [] { return "the system has no event descriptor to spare"; });
  for (int i = 0; i < kWorkers; ++i) {
    workers_.emplace_back([this](const std::stop_token& stop) { run_worker(stop); });
  }
}

HttpServer::~HttpServer() = default;

void HttpServer::wake() noexcept {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one);
}

void HttpServer::stop() noexcept {
  stopping_.store(true);
  wake();
}

void HttpServer::run() {
  using Phase = Connection::Phase;
  Clock::time_point farewell = Clock::time_point::max();
  std::vector<pollfd> polled;
  std::vector<uint64_t> ids;
  while (true) {
    const bool stopping = stopping_.load();
    const auto now = Clock::now();
    if (stopping && farewell == Clock::time_point::max()) {
      farewell = now + kFarewellTime;
      listener_ = Descriptor();
    }
    take_finished_work();

    polled = {{bell_.get(), POLLIN, 0}};
    ids.clear();
    for (auto at = connections_.begin(); at != connections_.end();) {
      auto& [id, connection] = *at;
      if (connection.phase == Phase::kStreaming && connection.outgoing.empty()) {
        connection.deadline = now + kStallTime;
        if (SharedText next = connection.events()) {
          connection.outgoing.push_back(std::move(next));
        } else if (stopping) {
          connection.phase = Phase::kDone;
        }
      }
      const bool idle = connection.phase == Phase::kReading || connection.phase == Phase::kWorking;
      if (connection.phase == Phase::kDone || now > connection.deadline || (stopping && idle)) {
        at = connections_.erase(at);
        continue;
      }
      const int events =
          (connection.deaf ? 0 : POLLIN) | (connection.outgoing.empty() ? 0 : POLLOUT);
      polled.push_back({connection.socket.get(), static_cast<short>(events), 0});
      ids.push_back(id);
      ++at;
    }
    if (stopping && (connections_.empty() || now > farewell)) return;
    // Those beyond what there is room for wait in the system's queue.
    const bool accepting =
        !stopping && connections_.size() < kMostConnections && now >= accept_from_;
    if (accepting) polled.push_back({listener_.get(), POLLIN, 0});

    ::poll(polled.data(), polled.size(), static_cast<int>(kTick.count()));
    if (polled[0].revents != 0) {
      uint64_t rings = 0;
      [[maybe_unused]] const auto got = ::read(bell_.get(), &rings, sizeof rings);
    }
    for (size_t i = 0; i < ids.size(); ++i) {
      if (polled[i + 1].revents == 0) continue;
      serve(ids[i], connections_.at(ids[i]), polled[i + 1].revents);
    }
    if (accepting && polled.back().revents != 0) accept_some();
  }
}

void HttpServer::accept_some() {
  while (connections_.size() < kMostConnections) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.get() < 0) {
      // Without descriptors to spare the same connection would be offered again at once.
      if (errno == EMFILE || errno == ENFILE) accept_from_ = Clock::now() + milliseconds(200);
      return;
    }
    Connection& connection = connections_[next_id_++];
    connection.socket = std::move(socket);
    connection.deadline = Clock::now() + kHeadTime;
  }
}

void HttpServer::serve(uint64_t id, Connection& connection, short events) {
  using Phase = Connection::Phase;
  if ((events & POLLIN) != 0 && connection.phase == Phase::kReading) {
    read_head(id, connection);
  } else if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) {
    // Nothing that still comes is looked at, but for the end. Who has asked and closes only that
    // direction may still wait for the reply.
    std::array<char, 16384> ignored;
    const ssize_t got = ::recv(connection.socket.get(), ignored.data(), ignored.size(), 0);
    const bool waits = connection.phase == Phase::kWorking || connection.phase == Phase::kSending;
    if (got == 0 && waits && (events & (POLLHUP | POLLERR)) == 0) {
      connection.deaf = true;
    } else if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
      connection.phase = Phase::kDone;
    }
  }
  if ((events & POLLOUT) != 0 && connection.phase != Phase::kDone) send_some(connection);
}

void HttpServer::read_head(uint64_t id, Connection& connection) {
  std::array<char, 4096> bytes;
  const ssize_t got = ::recv(connection.socket.get(), bytes.data(), bytes.size(), 0);
  if (got <= 0) {
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      connection.phase = Connection::Phase::kDone;
    }
    return;
  }
  std::string& received = connection.received;
  received.append(bytes.data(), static_cast<size_t>(got));
  const size_t end = received.find("\r\n\r\n");
  if (end != received.npos) {
    answer(id, connection, std::string_view(received).substr(0, end + 4));
  } else if (received.size() > kMostRequestLine && received.find("\r\n") > kMostRequestLine) {
    reply(id, connection, refusal(414, sentence_of(414)));
  } else if (received.size() > kMostHead) {
    reply(id, connection, refusal(431, sentence_of(431)));
  }
}

void HttpServer::answer(uint64_t id, Connection& connection, std::string_view head) {
  HttpRequest request;
  if (const int status = parse_request(head, request)) {
    reply(id, connection, refusal(status, sentence_of(status)));
    return;
  }
  connection.head_only = request.method == "HEAD";
  try {
    reply(id, connection, handler_(request));
  } catch (const std::exception& error) {
    reply(id, connection, refusal(500, error.what()));
  }
}

void HttpServer::reply(uint64_t id, Connection& connection, HttpReply reply) {
  using Phase = Connection::Phase;
  if (reply.work) {
    const std::lock_guard lock(mutex_);
    if (work_.size() < kMostWork) {
      connection.phase = Phase::kWorking;
      connection.deadline = Clock::now() + kWorkTime;
      work_.emplace_back(id, std::move(reply.work));
      work_waits_.notify_one();
      return;
    }
    reply = refusal(503, "too much is asked for at once");
    reply.fields.emplace_back("Retry-After: 1");
  }
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\n", reply.status,
                                 reason_of(reply.status), reply.type);
  // A stream ends where the connection does.
  if (!reply.events) {
    head += fmt::format("Content-Length: {}\r\n", reply.body ? reply.body->size() : 0);
  }
  for (const std::string& field : reply.fields) head += field + "\r\n";
  head += fmt::format(
      "Content-Security-Policy: {}\r\n"
      "X-Content-Type-Options: nosniff\r\n"
      "Cross-Origin-Resource-Policy: same-origin\r\n"
      "Cross-Origin-Opener-Policy: same-origin\r\n"
      "Referrer-Policy: no-referrer\r\n"
      "Cache-Control: no-store\r\n"
      "Connection: close\r\n\r\n",
      policy_);
  connection.outgoing = {std::make_shared<std::string>(std::move(head))};
  connection.sent = 0;
  connection.received.clear();
  connection.deadline = Clock::now() + kStallTime;
  connection.phase = Phase::kSending;
  if (connection.head_only) return;
  if (reply.body && !reply.body->empty()) connection.outgoing.push_back(std::move(reply.body));
  if (reply.events) {
    connection.events = std::move(reply.events);
    connection.phase = Phase::kStreaming;
  }
}

void HttpServer::send_some(Connection& connection) {
  using Phase = Connection::Phase;
  while (!connection.outgoing.empty()) {
    const std::string& text = *connection.outgoing.front();
    const ssize_t sent = ::send(connection.socket.get(), text.data() + connection.sent,
                                text.size() - connection.sent, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) connection.phase = Phase::kDone;
      return;
    }
    connection.deadline = Clock::now() + kStallTime;
    connection.sent += static_cast<size_t>(sent);
    if (connection.sent < text.size()) continue;
    connection.outgoing.erase(connection.outgoing.begin());
    connection.sent = 0;
  }
  if (connection.phase == Phase::kSending) {
    ::shutdown(connection.socket.get(), SHUT_WR);
    connection.phase = Phase::kLingering;
    connection.deadline = Clock::now() + kLingerTime;
  }
}

void HttpServer::take_finished_work() {
  std::vector<std::pair<uint64_t, HttpReply>> finished;
  {
    const std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (auto& [id, made] : finished) {
    const auto found = connections_.find(id);
    if (found != connections_.end()) reply(id, found->second, std::move(made));
  }
}

void HttpServer::run_worker(const std::stop_token& stop) {
  while (true) {
    std::pair<uint64_t, std::function<HttpReply()>> task;
    {
      std::unique_lock lock(mutex_);
      if (!work_waits_.wait(lock, stop, [&] { return !work_.empty(); })) return;
      task = std::move(work_.front());
      work_.pop_front();
    }
    HttpReply made;
    try {
      made = task.second();
    } catch (const std::exception& error) {
      made = refusal(500, error.what());
    }
    {
      const std::lock_guard lock(mutex_);
      finished_.emplace_back(task.first, std::move(made));
    }
    wake();
  }
}

}  // namespace glassnet::cli
