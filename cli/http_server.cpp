#include "cli/http_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <exception>
#include <string_view>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include "kernels/error.h"

#if defined(GLASSNET_HTTPLIB)
#include <httplib.h>
#endif

namespace glassnet::cli {

// --- sockets -------------------------------------------------------------------------------------

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Descriptor listen_on_loopback(int port) {
#if !defined(GLASSNET_HTTPLIB)
  throw Error(
      "this program was built without cpp-httplib, with which runs are watched; install Debian's "
      "libcpp-httplib-dev and build it again");
#endif
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto fail = [&](int error) {
    throw Error(fmt::format("port {} of 127.0.0.1 cannot be listened on: {}", port,
                            std::generic_category().message(error)));
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
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
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

HttpReply refusal(int status, const std::string& sentence) {
  return {.status = status, .body = std::make_shared<std::string>(sentence + "\n")};
}

#if defined(GLASSNET_HTTPLIB)

// --- requests ------------------------------------------------------------------------------------

namespace {

using std::chrono::seconds;

constexpr seconds kReadTime{5};      // for the next bytes of a request
constexpr seconds kWriteTime{10};    // without the viewer taking a byte of what it is sent
constexpr seconds kTick{1};          // between two looks at streams that nobody woke
constexpr seconds kFarewellTime{2};  // for the last of streams when the server stops

std::string_view sentence_of(int status) {
  switch (status) {
    case 403:
      return "this server answers its own page on this machine only";
    case 404:
      return "there is nothing here";
    case 405:
      return "only GET and HEAD are known here";
    case 413:
      return "a request has no body here";
    case 414:
      return "the address is too long";
    default:
      return "this is not a request";
  }
}

// 127.0.0.1 or localhost, with any port, which a tunnel may have changed. A page of another site
// whose name was made to lead here still has that site's name.
bool is_this_machine(const std::string& host) {
  std::string name = host.substr(0, host.find(':'));
  if (name.size() < host.size()) {
    const std::string port = host.substr(name.size() + 1);
    if (port.size() > 5 || port.find_first_not_of("0123456789") != port.npos) return false;
  }
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name == "127.0.0.1" || name == "localhost";
}

// What browsers tell of the page that asks; other programs say nothing.
bool is_own_page(const httplib::Request& request) {
  const std::string site = request.get_header_value("Sec-Fetch-Site");
  return site.empty() || site == "same-origin" || site == "none" || request.path == "/";
}

// The status that a request is refused with before its body would be read, or 0.
int refused(const httplib::Request& request) {
  if (request.method != "GET" && request.method != "HEAD") return 405;
  const std::string length = request.get_header_value("Content-Length");
  if (request.has_header("Transfer-Encoding") || (!length.empty() && length != "0")) return 413;
  if (request.get_header_value_count("Host") != 1) return 400;
  return is_this_machine(request.get_header_value("Host")) && is_own_page(request) ? 0 : 403;
}

}  // namespace

// --- the server ----------------------------------------------------------------------------------

// Events for a viewer, counted as long as they may be asked for.
struct HttpServer::Stream {
  std::function<SharedText()> events;
  std::shared_ptr<std::atomic<int>> count;

  Stream(std::function<SharedText()> made, std::shared_ptr<std::atomic<int>> streams)
      : events(std::move(made)), count(std::move(streams)) {
    ++*count;
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { --*count; }
};

class HttpServer::Library : public httplib::Server {
 public:
  explicit Library(Descriptor listener) { svr_sock_ = listener.release(); }
};

HttpServer::HttpServer(Descriptor listener, std::string policy, Handler handler)
    : port_(port_of(listener)),
      handler_(std::move(handler)),
      library_(std::make_unique<Library>(std::move(listener))) {
  Library& server = *library_;
  // A stream keeps its thread, which sleeps until there is something new.
  server.new_task_queue = [] { return new httplib::ThreadPool(kMostConnections); };
  server.set_keep_alive_max_count(1);
  server.set_read_timeout(kReadTime);
  server.set_write_timeout(kWriteTime);
  server.set_default_headers({{"Content-Security-Policy", policy},
                              {"X-Content-Type-Options", "nosniff"},
                              {"Cross-Origin-Resource-Policy", "same-origin"},
                              {"Cross-Origin-Opener-Policy", "same-origin"},
                              {"Referrer-Policy", "no-referrer"},
                              {"Cache-Control", "no-store"}});

  using Handled = httplib::Server::HandlerResponse;
  server.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
    const int status = refused(request);
    if (status == 0) return Handled::Unhandled;
    response.status = status;
    if (status == 405) response.set_header("Allow", "GET, HEAD");
    return Handled::Handled;
  });
  server.set_error_handler([](const httplib::Request&, httplib::Response& response) {
    if (!response.body.empty() || response.content_length_ > 0) return;
    response.set_content(fmt::format("{}\n", sentence_of(response.status)),
                         "text/plain; charset=utf-8");
  });
  server.set_exception_handler(
      [](const httplib::Request&, httplib::Response& response, std::exception_ptr thrown) {
        response.status = 500;
        try {
          std::rethrow_exception(std::move(thrown));
        } catch (const std::exception& error) {
          response.set_content(fmt::format("{}\n", error.what()), "text/plain; charset=utf-8");
        }
      });

  server.Get(".*", [this](const httplib::Request& asked, httplib::Response& response) {
    const size_t query = asked.target.find('?');
    HttpReply reply = handler_(
        {.method = asked.method,
         .path = asked.path,
         .query = query == asked.target.npos ? std::string() : asked.target.substr(query + 1),
         .last_event = asked.get_header_value("Last-Event-ID")});
    response.status = reply.status;
    for (const auto& [name, value] : reply.fields) response.set_header(name, value);
    if (reply.events) {
      response.set_chunked_content_provider(
          reply.type, [this, stream = std::make_shared<Stream>(std::move(reply.events), streams_)](
                          size_t, httplib::DataSink& sink) {
            const bool last = stopping_;
            const uint64_t rings = this->rings();
            while (const SharedText text = stream->events()) {
              if (!sink.write(text->data(), text->size())) return false;
            }
            if (last) {
              sink.done();
              return true;
            }
            wait_for_news(rings);
            return sink.is_writable();  // not when the viewer has left
          });
    } else if (reply.body && !reply.body->empty()) {
      response.set_content_provider(
          reply.body->size(), reply.type,
          [body = reply.body](size_t offset, size_t length, httplib::DataSink& sink) {
            return sink.write(body->data() + offset, length);
          });
    }
  });
}

HttpServer::~HttpServer() = default;

uint64_t HttpServer::rings() {
  const std::lock_guard lock(mutex_);
  return rings_;
}

void HttpServer::wait_for_news(uint64_t rings) {
  std::unique_lock lock(mutex_);
  news_.wait_for(lock, kTick, [&] { return rings_ != rings; });
}

void HttpServer::run() {
  if (!stopping_) library_->listen_after_bind();
  ended_ = true;
}

void HttpServer::wake() {
  {
    const std::lock_guard lock(mutex_);
    ++rings_;
  }
  news_.notify_all();
}

void HttpServer::stop() {
  stopping_ = true;
  wake();
  // The library's stop() does nothing before it listens, and cuts streams off.
  const auto end = std::chrono::steady_clock::now() + kFarewellTime;
  while (!ended_ &&
         (!library_->is_running() || (*streams_ > 0 && std::chrono::steady_clock::now() < end))) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  library_->stop();
}

#else

class HttpServer::Library {};

HttpServer::HttpServer(Descriptor listener, std::string, Handler) : port_(port_of(listener)) {}
HttpServer::~HttpServer() = default;
void HttpServer::run() {}
void HttpServer::wake() {}
void HttpServer::stop() {}

#endif

}  // namespace glassnet::cli
