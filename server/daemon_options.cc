#include "server/daemon_options.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "rtrs/base/status_macros.h"
#include "server/export_path.h"
#include "server/version.h"

namespace rnbd::server {
namespace {

using Crc = rtrs::fabric::SoftiwarpOptions::Crc;

const std::map<std::string, FabricChoice>& FabricChoices() {
  static const auto* const map = new std::map<std::string, FabricChoice>{
      {"auto", FabricChoice::kAuto},
      {"verbs", FabricChoice::kVerbs},
      {"softiwarp", FabricChoice::kSoftiwarp},
      {"softroce", FabricChoice::kSoftroce}};
  return *map;
}

const std::map<std::string, bool>& YesNo() {
  static const auto* const map =
      new std::map<std::string, bool>{{"no", false}, {"yes", true}};
  return *map;
}

const std::map<std::string, Crc>& Crcs() {
  static const auto* const map = new std::map<std::string, Crc>{
      {"auto", Crc::kAuto}, {"on", Crc::kOn}, {"off", Crc::kOff}};
  return *map;
}

const std::map<std::string, IoMode>& IoModes() {
  static const auto* const map =
      new std::map<std::string, IoMode>{{"auto", IoMode::kAuto},
                                        {"direct", IoMode::kDirect},
                                        {"buffered", IoMode::kBuffered}};
  return *map;
}

const std::map<std::string, EngineChoice>& Engines() {
  static const auto* const map = new std::map<std::string, EngineChoice>{
      {"auto", EngineChoice::kAuto},
      {"io_uring", EngineChoice::kIoUring},
      {"threads", EngineChoice::kThreads}};
  return *map;
}

const std::map<std::string, spdlog::level::level_enum>& LogLevels() {
  static const auto* const map =
      new std::map<std::string, spdlog::level::level_enum>{
          {"trace", spdlog::level::trace},
          {"debug", spdlog::level::debug},
          {"info", spdlog::level::info},
          {"warning", spdlog::level::warn},
          {"error", spdlog::level::err}};
  return *map;
}

// A flag whose value is one of a few words.
template <typename T>
void AddChoice(CLI::App* app, const std::string& flag, T* value,
               const std::map<std::string, T>& words, const std::string& help) {
  std::string names;
  for (const auto& [word, unused] : words) {
    absl::StrAppend(&names, names.empty() ? "" : "|", word);
  }
  app->add_option_function<std::string>(
         flag,
         [flag, value, &words, names](const std::string& word) {
           const auto it = words.find(word);
           if (it == words.end()) {
             throw CLI::ValidationError(
                 flag, absl::StrCat("\"", word, "\" is not one of ", names));
           }
           *value = it->second;
         },
         help)
      ->type_name(names);
}

// "512", "64K", "2M", "1G".
bool ParseSize(absl::string_view text, uint64_t* bytes) {
  int shift = 0;
  if (absl::ConsumeSuffix(&text, "K")) {
    shift = 10;
  } else if (absl::ConsumeSuffix(&text, "M")) {
    shift = 20;
  } else if (absl::ConsumeSuffix(&text, "G")) {
    shift = 30;
  }
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number << shift >> shift != number) {
    return false;
  }
  *bytes = number << shift;
  return true;
}

absl::Status ParseAddresses(const std::vector<std::string>& texts,
                            uint16_t port, DaemonOptions* options) {
  options->listen_given = !texts.empty();
  const std::vector<std::string> loopback{"127.0.0.1", "::1"};
  for (const std::string& text : options->listen_given ? texts : loopback) {
    auto address = rtrs::SocketAddress::Parse(text, port);
    if (!address.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--listen=", text, ": ", address.status().message()));
    }
    options->listen.push_back(*address);
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const DaemonOptions& options) {
  RTRS_RETURN_IF_ERROR(ExportPath::Check(options.dev_search_path));
  absl::Status status = rtrs::server::CheckServerOptions(options.server);
  return status.ok() ? status
                     : absl::Status(status.code(),
                                    absl::StrCat("--", status.message()));
}

void AddOptions(CLI::App* app, DaemonOptions* options, uint16_t* port,
                std::vector<std::string>* listen) {
  rtrs::server::ServerOptions& server = options->server;
  app->add_option("--dev_search_path", options->dev_search_path,
                  "directory of the disks to serve; %SESSNAME% in it stands "
                  "for the name of the client's session")
      ->required()
      ->type_name("PATH");
  app->add_option("--port_nr", *port, "port to listen on; 0 takes a free one")
      ->type_name("NUMBER")
      ->capture_default_str();
  app->add_option("--listen", *listen,
                  "address to listen on, may be repeated; anybody who reaches "
                  "it can read and write the disks [127.0.0.1 and ::1]")
      ->type_name("ADDRESS")
      ->expected(1)
      ->take_all();
  app->add_option("--sess_queue_depth", server.sess_queue_depth,
                  "requests that a session can have in flight")
      ->type_name("NUMBER")
      ->capture_default_str();
  app->add_option("--max_chunk_size", server.max_chunk_size,
                  "memory for each of them, in bytes: a multiple of 4096; a "
                  "request carries 4096 less")
      ->type_name("BYTES")
      ->capture_default_str();
  AddChoice(app, "--always_invalidate", &server.always_invalidate, YesNo(),
            "give out a fresh key to the memory of a request with each "
            "response, as the kernel's server does by default; without, a "
            "session's keys last as long as it does [no]");
  app->add_option_function<double>(
         "--heartbeat_interval",
         [&server](double seconds) {
           if (!(seconds >= 0.1 && seconds <= 60)) {
             throw CLI::ValidationError(
                 "--heartbeat_interval",
                 absl::StrCat(seconds, " is not in 0.1 ... 60 seconds"));
           }
           server.heartbeat_interval = absl::Seconds(seconds);
         },
         "how often a client that is silent is asked whether it lives; it is "
         "given up after seven times that [5]")
      ->type_name("SECONDS");
  app->add_option("--workers", server.workers,
                  "threads that serve requests [half the processors; over an "
                  "RDMA device all; 8 at most]")
      ->type_name("NUMBER");
  AddChoice(app, "--fabric", &options->fabric, FabricChoices(),
            "what RDMA runs over [auto]");
  AddChoice(app, "--crc", &options->crc, Crcs(),
            "checksums in softiwarp; auto: for peers on other machines [auto]");
  AddChoice(app, "--io", &options->io, IoModes(),
            "direct I/O or through the page cache; auto: direct for block "
            "devices [auto]");
  AddChoice(app, "--io_engine", &options->io_engine, Engines(),
            "how storage that must be waited for is used [auto]");
  AddChoice(app, "--log_level", &options->log_level, LogLevels(),
            "what to log to standard error [info]");

  const std::string limits = "Limits";
  const auto limit = [app, &limits](const char* flag, auto* value,
                                    const char* help) {
    app->add_option(flag, *value, help)
        ->type_name("NUMBER")
        ->capture_default_str()
        ->group(limits);
  };
  limit("--max_sessions", &server.max_sessions, "sessions, in all");
  limit("--max_sessions_per_peer", &server.max_sessions_per_peer,
        "sessions of one client address");
  limit("--max_paths_per_peer", &server.max_paths_per_peer,
        "paths of one client address");
  limit("--max_connections", &server.max_connections, "connections, in all");
  limit("--max_connections_per_peer", &server.max_connections_per_peer,
        "connections of one client address");
  app->add_option_function<std::string>(
         "--max_memory",
         [&server](const std::string& text) {
           if (!ParseSize(text, &server.max_memory)) {
             throw CLI::ValidationError(
                 "--max_memory",
                 absl::StrCat("\"", text, "\" is not a number of bytes"));
           }
         },
         "memory for requests, in bytes; K, M, G for powers of 1024 [16G]")
      ->type_name("BYTES")
      ->group(limits);
}

}  // namespace

std::variant<DaemonOptions, ExitCode> ParseCommandLine(
    int argc, const char* const* argv) {
  DaemonOptions options;
  uint16_t port = DaemonOptions::kDefaultPort;
  std::vector<std::string> listen;
  CLI::App app(
      "Serves block devices and disk images over RNBD, the RDMA network block "
      "device of the Linux kernel.",
      "rnbd-server");
  app.set_version_flag("--version", std::string("rnbd-server ") + kVersion);
  AddOptions(&app, &options, &port, &listen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    app.exit(error, std::cout, std::cerr);
    return ExitCode{asked ? 0 : ExitCode::kUsage};
  }
  options.workers_given = app.count("--workers") > 0;
  absl::Status status = ParseAddresses(listen, port, &options);
  if (status.ok()) status = CheckOptions(options);
  if (!status.ok()) {
    std::cerr << "rnbd-server: " << status.message() << "\n";
    return ExitCode{ExitCode::kUsage};
  }
  return options;
}

}  // namespace rnbd::server
