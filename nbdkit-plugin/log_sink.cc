#include "nbdkit-plugin/log_sink.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"
#include "nbdkit-plugin/startup_report.h"

namespace rnbd::plugin {
namespace {

class NbdkitSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& msg) override {
    const std::string text(msg.payload.data(), msg.payload.size());
    if (msg.level >= spdlog::level::warn) {
      nbdkit_error("%s", text.c_str());
      startup_report::Say(text);
    } else {
      nbdkit_debug("%s", text.c_str());
    }
  }
  void flush_() override {}
};

}  // namespace

void InstallLogSink() {
  // Never destroyed: requests that do not end, and with them the threads of the
  // session, may outlive nbdkit's main and still have something to say.
  static auto* const logger = new std::shared_ptr<spdlog::logger>(
      std::make_shared<spdlog::logger>("rnbd", std::make_shared<NbdkitSink>()));
  spdlog::set_default_logger(*logger);
}

void SetLogVerbosity(int verbosity) {
  spdlog::set_level(verbosity <= 0   ? spdlog::level::info
                    : verbosity == 1 ? spdlog::level::debug
                                     : spdlog::level::trace);
}

}  // namespace rnbd::plugin
