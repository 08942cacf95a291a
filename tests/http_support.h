// A browser for tests of the server: bytes out, bytes in.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cli/http_server.h"

namespace glassnet::test {

// A connection to that port of an address of this machine.
class Connection {
 public:
  explicit Connection(int port, const char* address = "127.0.0.1")
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    ::inet_pton(AF_INET, address, &to.sin_addr);
    open_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }

  bool open() const { return open_; }
  // As much of it as the other side takes.
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  void finish_sending() { ::shutdown(socket_.get(), SHUT_WR); }
  // Everything received so far, once it has `text` (or, without one, the other side has closed);
  // waits for ten seconds at most.
  const std::string& until(std::string_view text = "") {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (text.empty() || received_.find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "waited in vain for '" << text << "' in: " << received_.substr(0, 2000);
        break;
      }
      pollfd polled = {socket_.get(), POLLIN, 0};
      if (::poll(&polled, 1, 100) <= 0) continue;
      char bytes[16384];
      const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, 0);
      if (got <= 0) {
        EXPECT_EQ(text, "") << "closed after: " << received_.substr(0, 2000);
        break;
      }
      received_.append(bytes, static_cast<size_t>(got));
    }
    return received_;
  }
  void forget() { received_.clear(); }

 private:
  cli::Descriptor socket_;
  bool open_ = false;
  std::string received_;
};

struct Answer {
  int status = 0;
  std::string head, body;
};

inline Answer ask(int port, std::string_view request) {
  Connection connection(port);
  EXPECT_TRUE(connection.open());
  connection.send(request);
  const std::string received = connection.until();
  const size_t end = received.find("\r\n\r\n");
  if (!received.starts_with("HTTP/1.1 ") || end == std::string::npos) return {.body = received};
  return {std::stoi(received.substr(9, 3)), received.substr(0, end + 2), received.substr(end + 4)};
}

inline std::string request_for(std::string_view path, std::string_view fields = "",
                               std::string_view method = "GET") {
  return fmt::format("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", method, path, fields);
}
inline Answer get(int port, std::string_view path, std::string_view fields = "") {
  return ask(port, request_for(path, fields));
}

// A server on a free port, as long as it lives.
class Serving {
 public:
  explicit Serving(cli::HttpServer::Handler handler)
      : server_(cli::listen_on_loopback(0), "default-src 'none'", std::move(handler)),
        thread_([this] { server_.run(); }) {}
  ~Serving() { stop(); }
  void stop() {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  int port() const { return server_.port(); }
  void wake() { server_.wake(); }

 private:
  cli::HttpServer server_;
  std::thread thread_;
};

}  // namespace glassnet::test
