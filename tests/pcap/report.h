// What was found in a capture: problems, a summary of each connection, and on
// demand every message in words.
#ifndef TESTS_PCAP_REPORT_H_
#define TESTS_PCAP_REPORT_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/pcap/message.h"

namespace rtrs::pcap {

struct Problem {
  int frame = 0;
  std::optional<ConnectionId> connection;
  std::string text;
};

struct ConnectionSummary {
  Endpoints endpoints;
  std::string session_name;             // once it is known
  std::optional<uint16_t> cid;          // of a request that could be decoded
  std::string state;                    // "open", "closed", "rejected", ...
  std::map<std::string, int> requests;  // by operation, "read", "OPEN", ...
  int responses = 0;
  int errors = 0;  // responses with an errno
  int heartbeats = 0;
  int notices = 0;
  int unanswered = 0;  // requests when it ended
  int problems = 0;
};

class Report {
 public:
  explicit Report(bool keep_trace = false) : keep_trace_(keep_trace) {}

  ConnectionId AddConnection(const Endpoints& endpoints);
  ConnectionSummary& connection(ConnectionId id) { return connections_[id]; }
  const std::vector<ConnectionSummary>& connections() const {
    return connections_;
  }

  void AddProblem(int frame, std::optional<ConnectionId> id, std::string text);
  const std::vector<Problem>& problems() const { return problems_; }

  // A message in words. Kept only on demand.
  void Trace(int frame, ConnectionId id, Sender sender, absl::string_view text);
  const std::vector<std::string>& trace() const { return trace_; }

  // "frame 12: 192.0.2.1:4000 > 192.0.2.2:1234 cid 0: text".
  std::string ProblemText(const Problem& problem) const;
  // One line.
  std::string SummaryText(ConnectionId id) const;

 private:
  std::string Name(ConnectionId id) const;

  bool keep_trace_;
  std::vector<ConnectionSummary> connections_;
  std::vector<Problem> problems_;
  std::vector<std::string> trace_;
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_REPORT_H_
