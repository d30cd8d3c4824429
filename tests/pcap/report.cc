#include "tests/pcap/report.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace rtrs::pcap {

ConnectionId Report::AddConnection(const Endpoints& endpoints) {
  ConnectionSummary summary;
  summary.endpoints = endpoints;
  summary.state = "requested";
  connections_.push_back(std::move(summary));
  return connections_.size() - 1;
}

void Report::AddProblem(int frame, std::optional<ConnectionId> id,
                        std::string text) {
  if (id.has_value()) ++connections_[*id].problems;
  problems_.push_back({frame, id, std::move(text)});
}

void Report::Trace(int frame, ConnectionId id, Sender sender,
                   absl::string_view text) {
  if (!keep_trace_) return;
  trace_.push_back(absl::StrCat("frame ", frame, ": ", Name(id),
                                sender == Sender::kClient ? " >> " : " << ",
                                text));
}

std::string Report::Name(ConnectionId id) const {
  const ConnectionSummary& c = connections_[id];
  std::string name = absl::StrCat(c.endpoints.client.ToString(), " > ",
                                  c.endpoints.server.ToString());
  if (c.cid.has_value()) absl::StrAppend(&name, " cid ", *c.cid);
  return name;
}

std::string Report::ProblemText(const Problem& problem) const {
  std::string text = absl::StrCat("frame ", problem.frame, ": ");
  if (problem.connection.has_value()) {
    absl::StrAppend(&text, Name(*problem.connection), ": ");
  }
  return absl::StrCat(text, problem.text);
}

std::string Report::SummaryText(ConnectionId id) const {
  const ConnectionSummary& c = connections_[id];
  std::string text = absl::StrCat(c.endpoints.fabric, " ", Name(id));
  if (!c.session_name.empty()) {
    absl::StrAppend(&text, " \"", c.session_name, "\"");
  }
  absl::StrAppend(&text, " ", c.state);
  for (const auto& [name, count] : c.requests) {
    absl::StrAppend(&text, ", ", count, " ", name);
  }
  absl::StrAppend(&text, ", ", c.responses, " responses");
  if (c.errors != 0) absl::StrAppend(&text, " (", c.errors, " errors)");
  if (c.heartbeats != 0) {
    absl::StrAppend(&text, ", ", c.heartbeats, " heartbeats");
  }
  if (c.notices != 0) absl::StrAppend(&text, ", ", c.notices, " notices");
  if (c.unanswered != 0) {
    absl::StrAppend(&text, ", ", c.unanswered, " unanswered");
  }
  return absl::StrCat(text, ", ", c.problems, " problems");
}

}  // namespace rtrs::pcap
