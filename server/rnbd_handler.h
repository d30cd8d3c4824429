// What the RTRS server calls: sessions come and go, requests arrive. wire.md
// §7.1.
#ifndef SERVER_RNBD_HANDLER_H_
#define SERVER_RNBD_HANDLER_H_

#include "absl/status/status.h"
#include "rtrs/server/server.h"
#include "server/rnbd_session.h"

namespace rnbd::server {

// Threads as rtrs::server::Handler says. Keeps its RnbdSession in
// Session::context.
class RnbdHandler : public rtrs::server::Handler {
 public:
  // `services.workers` may be set later, before workers run.
  explicit RnbdHandler(SessionServices services)
      : services_(std::move(services)) {}

  SessionServices& services() { return services_; }

  absl::Status OnSessionUp(rtrs::server::Session* session) override;
  void OnSessionDown(rtrs::server::Session* session) override;
  void OnRequest(rtrs::server::Request* request) override;

 private:
  SessionServices services_;
};

}  // namespace rnbd::server

#endif  // SERVER_RNBD_HANDLER_H_
