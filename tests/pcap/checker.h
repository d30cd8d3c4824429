// Holds connections against wire.md §1 and sorts their messages to paths and
// sessions.
#ifndef TESTS_PCAP_CHECKER_H_
#define TESTS_PCAP_CHECKER_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rtrs/base/uuid.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/pcap/capture_file.h"
#include "tests/pcap/message.h"
#include "tests/pcap/path_checker.h"
#include "tests/pcap/report.h"

namespace rtrs::pcap {

class Checker : public ConnectionSink {
 public:
  // `report` outlives it.
  explicit Checker(Report* report) : report_(report) {}

  ConnectionId OnRequest(int frame, const Endpoints& endpoints,
                         absl::Span<const uint8_t> private_data) override;
  void OnAccept(int frame, ConnectionId id,
                absl::Span<const uint8_t> private_data) override;
  void OnReject(int frame, ConnectionId id, bool by_consumer,
                const std::string& reason,
                absl::Span<const uint8_t> private_data) override;
  void OnMessage(int frame, ConnectionId id, const Message& message) override;
  void OnDisconnect(int frame, ConnectionId id) override;
  void OnFabricProblem(int frame, std::optional<ConnectionId> id,
                       const std::string& text) override;

  // The capture is over: counts what has no answer.
  void Finish();

 private:
  struct Session {
    RnbdChecker rnbd;
    int paths_up = 0;
    std::string name;
  };
  struct Connection {
    PathChecker* path = nullptr;  // nullptr: not RTRS, or malformed
    wire::ConnectRequest request;
  };

  PathChecker* PathOf(int frame, ConnectionId id,
                      const wire::ConnectRequest& request);
  void ClosePath(PathChecker* path);

  Report* report_;
  std::vector<Connection> connections_;  // by ConnectionId
  std::map<Uuid, Session> sessions_;     // by paths_uuid
  std::vector<std::unique_ptr<PathChecker>> paths_;
  std::map<Uuid, PathChecker*> newest_path_;  // by sess_uuid
};

// Decodes every frame and checks it.
void CheckCapture(const std::vector<Frame>& frames, Report* report);

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_CHECKER_H_
