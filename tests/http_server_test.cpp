// The server of the live page by itself: what it answers, what it refuses, and that it cannot be
// kept busy, filled up or reached from elsewhere.
#include "cli/http_server.h"

#include <ifaddrs.h>

#include <atomic>
#include <latch>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/error_support.h"
#include "tests/http_support.h"

namespace glassnet::cli {
namespace {

using test::Answer;
using test::ask;
using test::Connection;
using test::error_of;
using test::get;
using test::request_for;
using test::Serving;
using testing::HasSubstr;
using testing::Not;

HttpReply echo(const HttpRequest& request) {
  return {.body = std::make_shared<std::string>(
              fmt::format("{} {} {}", request.method, request.path, request.query))};
}

TEST(HttpServer, AnswersWithWhatItsHandlerReturnsAndItsOwnFields) {
  const Serving serving(echo);
  const Answer answer = get(serving.port(), "/a/b?c=d");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "GET /a/b c=d");
  for (const char* field :
       {"Content-Length: 12\r\n", "Content-Security-Policy: default-src 'none'\r\n",
        "X-Content-Type-Options: nosniff\r\n", "Cache-Control: no-store\r\n",
        "Cross-Origin-Resource-Policy: same-origin\r\n", "Connection: close\r\n"}) {
    EXPECT_THAT(answer.head, HasSubstr(field));
  }
  EXPECT_THAT(answer.head, Not(HasSubstr("Access-Control")));
}

TEST(HttpServer, SendsNoBodyAfterHead) {
  const Serving serving(echo);
  const Answer answer = ask(serving.port(), request_for("/abc", "", "HEAD"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.head, HasSubstr("Content-Length: 10\r\n"));
  EXPECT_EQ(answer.body, "");
}

TEST(HttpServer, TakesARequestInPieces) {
  const Serving serving(echo);
  Connection connection(serving.port());
  const std::string request = request_for("/abc");
  for (const char byte : request) {
    connection.send({&byte, 1});
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_THAT(connection.until(), testing::EndsWith("GET /abc "));
}

TEST(HttpServer, RefusesWhatIsNoRequestOfItsOwnPage) {
  std::atomic<int> handled{0};
  const Serving serving([&](const HttpRequest& request) {
    ++handled;
    return echo(request);
  });
  const auto with_host = [](std::string_view fields) {
    return fmt::format("GET / HTTP/1.1\r\n{}\r\n", fields);
  };
  const std::vector<std::pair<std::string, int>> cases = {
      {request_for("/", "", "POST"), 405},
      {request_for("/", "", "PUT"), 405},
      {request_for("/", "", "DELETE"), 405},
      {request_for("/", "", "OPTIONS"), 405},
      {request_for("/", "", "CONNECT"), 405},
      {request_for("/", "", "get"), 400},
      {request_for("/", "Content-Length: 5\r\n") + "hello", 413},
      {request_for("/", "Content-Length: -1\r\n"), 413},
      {request_for("/", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n", 413},
      {request_for("/" + std::string(10000, 'a')), 414},
      {request_for("/", "X: " + std::string(10000, 'a') + "\r\n"), 400},
      {request_for("/a b"), 400},
      {"GET /\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400},
      {with_host(""), 400},
      {with_host("Host: localhost\r\nHost: localhost\r\n"), 400},
      {with_host("Host: evil.example\r\n"), 403},
      {with_host("Host: 127.0.0.1.evil.example\r\n"), 403},
      {with_host("Host: localhost.evil.example:80\r\n"), 403},
      {with_host("Host: localhost:80.evil.example\r\n"), 403},
      {with_host("Host: 192.168.1.2\r\n"), 403},
      {with_host("Host: \r\n"), 400},
      {request_for("/events", "Sec-Fetch-Site: cross-site\r\n"), 403},
      {request_for("/events", "Sec-Fetch-Site: same-site\r\n"), 403},
  };
  for (const auto& [request, status] : cases) {
    const Answer answer = ask(serving.port(), request);
    EXPECT_EQ(answer.status, status) << request.substr(0, 200);
    EXPECT_EQ(std::count(answer.body.begin(), answer.body.end(), '\n'), 1) << request;
  }
  EXPECT_EQ(handled, 0);
  EXPECT_THAT(ask(serving.port(), request_for("/", "", "POST")).head,
              HasSubstr("Allow: GET, HEAD\r\n"));
  for (const std::string fields :
       {"Host: 127.0.0.1:8321\r\n", "Host: localhost\r\n", "Host: LocalHost:80\r\n",
        "host:localhost:9000\r\nSec-Fetch-Site: cross-site\r\n"}) {
    EXPECT_EQ(ask(serving.port(), with_host(fields)).status, 200) << fields;
  }
}

// Such a body stays in the sender's hands.
TEST(HttpServer, ReadsNoBodyHoweverLong) {
  const Serving serving(echo);
  const std::string flood(8 << 20, 'x');
  for (const auto& [method, status] : {std::pair{"GET", 413}, {"POST", 405}}) {
    const auto request = request_for("/", "Content-Length: 8388608\r\n", method);
    EXPECT_EQ(ask(serving.port(), request + flood).status, status);
  }
}

TEST(HttpServer, AnswersEveryoneWhileSomeSayNothing) {
  const Serving serving(echo);
  std::vector<std::unique_ptr<Connection>> silent;
  for (int i = 0; i < 50; ++i) {
    silent.push_back(std::make_unique<Connection>(serving.port()));
    silent.back()->send("GET / HT");
  }
  EXPECT_EQ(get(serving.port(), "/").status, 200);
}

TEST(HttpServer, ListensOnTheLoopbackAddressAlone) {
  const Serving serving(echo);
  EXPECT_TRUE(Connection(serving.port()).open());
  // Not even on the loopback device's other addresses, and not on any other of this machine's.
  EXPECT_FALSE(Connection(serving.port(), "127.0.0.2").open());
  ifaddrs* addresses = nullptr;
  ASSERT_EQ(::getifaddrs(&addresses), 0);
  for (const ifaddrs* at = addresses; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET) continue;
    char text[INET_ADDRSTRLEN];
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text,
                sizeof text);
    EXPECT_EQ(Connection(serving.port(), text).open(), std::string_view(text) == "127.0.0.1")
        << text;
  }
  ::freeifaddrs(addresses);
}

TEST(HttpServer, SaysThatAPortIsTaken) {
  const Descriptor first = listen_on_loopback(0);
  EXPECT_THAT(error_of([&] { listen_on_loopback(port_of(first)); }),
              HasSubstr(fmt::format("port {} is taken", port_of(first))));
}

TEST(HttpServer, StreamsWhatIsNewWhenItIsWoken) {
  std::mutex mutex;
  std::vector<std::string> lines;
  Serving serving([&](const HttpRequest&) -> HttpReply {
    return {.type = "text/event-stream", .events = [&, next = size_t{0}]() mutable -> SharedText {
              const std::lock_guard lock(mutex);
              if (next == lines.size()) return nullptr;
              return std::make_shared<std::string>(lines[next++] + "\n");
            }};
  });
  const auto add = [&](const std::string& line) {
    {
      const std::lock_guard lock(mutex);
      lines.push_back(line);
    }
    serving.wake();
  };
  Connection early(serving.port());
  early.send(request_for("/"));
  EXPECT_THAT(early.until("\r\n\r\n"), Not(HasSubstr("Content-Length")));
  add("one");
  early.until("one\n");
  Connection late(serving.port());
  late.send(request_for("/"));
  late.until("one\n");
  add("two");
  early.until("two\n");
  late.until("two\n");
  // What came just before the end is still sent.
  {
    const std::lock_guard lock(mutex);
    lines.emplace_back("three");
  }
  serving.stop();
  EXPECT_THAT(early.until(), testing::ContainsRegex("one\n.*two\n.*three\n"));
  EXPECT_FALSE(Connection(serving.port()).open());
}

// Those that read slowly, or not at all, hold up nobody, and are held only what they did not read.
TEST(HttpServer, SendsSharedTextToManyAtTheirPace) {
  const auto text = std::make_shared<std::string>(size_t{32} << 20, 'x');
  const Serving serving([&](const HttpRequest&) -> HttpReply { return {.body = text}; });
  std::vector<std::unique_ptr<Connection>> lazy;
  for (int i = 0; i < 50; ++i) {
    lazy.push_back(std::make_unique<Connection>(serving.port()));
    lazy.back()->send(request_for("/"));
  }
  EXPECT_EQ(get(serving.port(), "/").body.size(), text->size());
  EXPECT_EQ(lazy.front()->until().size() - text->size(), get(serving.port(), "/").head.size() + 2);
}

TEST(HttpServer, AnswersWhileItWorks) {
  std::latch released(1);
  const Serving serving([&](const HttpRequest& request) {
    if (request.path == "/slow") released.wait();
    return echo(request);
  });
  Connection slow(serving.port());
  slow.send(request_for("/slow"));
  { Connection(serving.port()).send(request_for("/slow")); }  // and leaves
  EXPECT_EQ(get(serving.port(), "/quick").status, 200);
  released.count_down();
  EXPECT_THAT(slow.until(), testing::EndsWith("GET /slow "));
}

TEST(HttpServer, TurnsWhatIsThrownIntoAReply) {
  const Serving serving([](const HttpRequest&) -> HttpReply { throw Error("a reason"); });
  const Answer answer = get(serving.port(), "/");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, "a reason\n");
}

}  // namespace
}  // namespace glassnet::cli
