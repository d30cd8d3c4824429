// The command line of rnbd-server.
#ifndef SERVER_DAEMON_OPTIONS_H_
#define SERVER_DAEMON_OPTIONS_H_

#include <spdlog/common.h>

#include <string>
#include <variant>
#include <vector>

#include "rtrs/base/socket_address.h"
#include "rtrs/server/server.h"
#include "server/export_opener.h"
#include "server/fabric_choice.h"

namespace rnbd::server {

// --io_engine
enum class EngineChoice {
  kAuto,     // io_uring if the kernel has it, else threads
  kIoUring,  // or fail
  kThreads,
};

struct DaemonOptions {
  static constexpr uint16_t kDefaultPort = 1234;

  std::string dev_search_path;
  std::vector<rtrs::SocketAddress> listen;  // with ports; never empty
  bool listen_given = false;  // else loopback, what there is of it
  rtrs::server::ServerOptions server;
  bool workers_given = false;  // else DefaultWorkers
  FabricChoice fabric = FabricChoice::kAuto;
  rtrs::fabric::SoftiwarpOptions::Crc crc =
      rtrs::fabric::SoftiwarpOptions::Crc::kAuto;
  IoMode io = IoMode::kAuto;
  EngineChoice io_engine = EngineChoice::kAuto;
  spdlog::level::level_enum log_level = spdlog::level::info;
};

// The exit code of a program that has nothing more to do.
struct ExitCode {
  static constexpr int kUsage = 2;
  int value = 0;
};

// Parses and checks everything that can be checked without listening. Prints
// help and version to standard output, errors to standard error; these name
// flag and value.
std::variant<DaemonOptions, ExitCode> ParseCommandLine(int argc,
                                                       const char* const* argv);

}  // namespace rnbd::server

#endif  // SERVER_DAEMON_OPTIONS_H_
