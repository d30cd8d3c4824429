#include "tests/pcap/checker.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/wire/immediate.h"
#include "tests/pcap/iwarp_decoder.h"
#include "tests/pcap/roce_decoder.h"

namespace rtrs::pcap {
namespace {

constexpr size_t kReqFirstConn = 44;
constexpr size_t kReqReserved = 45;
constexpr size_t kRspReserved = 20;

// Reserved bytes that may begin with capabilities.
bool ReservedIsClean(absl::Span<const uint8_t> reserved,
                     const wire::Capabilities& capabilities) {
  return AllZero(
      reserved.subspan(capabilities.bits == 0 ? 0 : wire::Capabilities::kSize));
}

}  // namespace

ConnectionId Checker::OnRequest(int frame, const Endpoints& endpoints,
                                absl::Span<const uint8_t> private_data) {
  const ConnectionId id = report_->AddConnection(endpoints);
  connections_.emplace_back();
  const auto request = wire::DecodeConnectRequest(private_data);
  if (!request.ok()) {
    report_->AddProblem(frame, id, absl::StrCat(request.status().message()));
    return id;
  }
  report_->connection(id).cid = request->cid;
  const auto bytes = private_data.subspan(0, wire::ConnectRequest::kSize);
  if (bytes[0] != 0 || bytes[1] != 0 || bytes[kReqFirstConn] > 1 ||
      !ReservedIsClean(bytes.subspan(kReqReserved), request->capabilities)) {
    report_->AddProblem(
        frame, id, "connect request with reserved bytes that are not zero");
  }
  connections_[id].request = *request;
  connections_[id].path = PathOf(frame, id, *request);
  report_->Trace(
      frame, id, Sender::kClient,
      absl::StrFormat("connect request %d of %d, attempt %d, path %s, session "
                      "%s, first_conn %d, capabilities 0x%x",
                      request->cid, request->cid_num, request->recon_cnt,
                      UuidString(request->sess_uuid),
                      UuidString(request->paths_uuid), request->first_conn,
                      request->capabilities.bits));
  return id;
}

PathChecker* Checker::PathOf(int frame, ConnectionId id,
                             const wire::ConnectRequest& request) {
  PathChecker*& newest = newest_path_[request.sess_uuid];
  if (request.cid == 0) {
    if (newest != nullptr) {
      const auto later =
          static_cast<int16_t>(request.recon_cnt - newest->first().recon_cnt);
      if (later <= 0) {
        report_->AddProblem(
            frame, id,
            absl::StrFormat("connected again with recon_cnt %d behind %d",
                            request.recon_cnt, newest->first().recon_cnt));
      }
      if (request.paths_uuid != newest->first().paths_uuid) {
        report_->AddProblem(frame, id, "path that changed its session");
      }
      ClosePath(newest);
    }
    const auto [session, is_new] = sessions_.try_emplace(request.paths_uuid);
    if (is_new) session->second.rnbd.Reset(false);
    paths_.push_back(
        std::make_unique<PathChecker>(request, report_, &session->second.rnbd));
    newest = paths_.back().get();
    if (session->second.paths_up == 0 && request.first_conn) {
      // Nothing of this session is up, so the capture has all of it.
      session->second.rnbd.Reset(true);
    }
  } else if (newest == nullptr ||
             newest->state() == PathChecker::State::kClosed) {
    report_->AddProblem(frame, id,
                        absl::StrCat("cid ", request.cid, " before cid 0"));
    return nullptr;
  }
  const wire::ConnectRequest& first = newest->first();
  if (request.cid_num != first.cid_num ||
      request.paths_uuid != first.paths_uuid ||
      request.recon_cnt != first.recon_cnt ||
      !(request.capabilities == first.capabilities)) {
    report_->AddProblem(frame, id,
                        "connect request that differs from that of cid 0");
  }
  if (newest->HasConnection(request.cid)) {
    report_->AddProblem(frame, id,
                        absl::StrCat("cid ", request.cid, " connected twice"));
    return nullptr;
  }
  if (request.cid != 0 && !newest->IsAccepted(0)) {
    report_->AddProblem(frame, id,
                        absl::StrCat("cid ", request.cid,
                                     " requested before cid 0 was accepted"));
  }
  newest->AddConnection(request.cid, id);
  return newest;
}

void Checker::OnAccept(int frame, ConnectionId id,
                       absl::Span<const uint8_t> private_data) {
  report_->connection(id).state = "open";
  Connection& connection = connections_[id];
  const auto response = wire::DecodeConnectResponse(private_data);
  if (!response.ok()) {
    report_->AddProblem(frame, id, absl::StrCat(response.status().message()));
    connection.path = nullptr;
    return;
  }
  const auto problem = [&](const std::string& text) {
    report_->AddProblem(frame, id, text);
  };
  if (response->error != 0) {
    problem(absl::StrCat("accepted with errno ", response->error));
  }
  if ((response->flags & ~wire::ConnectResponse::kFlagNewRkey) != 0) {
    problem(
        absl::StrFormat("accepted with unknown flags 0x%x", response->flags));
  }
  if (!ReservedIsClean(
          private_data.subspan(kRspReserved,
                               wire::ConnectResponse::kSize - kRspReserved),
          response->capabilities)) {
    problem("accept with reserved bytes that are not zero");
  }
  if (connection.path == nullptr) return;
  if (response->capabilities.bits != 0 &&
      connection.request.capabilities.bits == 0) {
    problem("capabilities announced to a client that has none");
  }
  const uint64_t chunk_size =
      uint64_t{response->max_io_size} + response->max_hdr_size;
  if (response->queue_depth == 0 || response->max_io_size == 0 ||
      response->max_hdr_size == 0 ||
      std::bit_width(uint32_t{response->queue_depth} - 1u) +
              std::bit_width(chunk_size - 1) >
          wire::kImmPayloadBits) {
    problem(
        absl::StrFormat("accepted with queue depth %d and chunks of %d "
                        "bytes, which an immediate cannot carry",
                        response->queue_depth, chunk_size));
    connection.path = nullptr;
    return;
  }
  constexpr uint32_t kVerifier = wire::Capabilities::kWriteVerifier;
  if (response->capabilities.Has(kVerifier) &&
      connection.request.capabilities.Has(kVerifier)) {
    sessions_[connection.request.paths_uuid].rnbd.AllowWriteVerifier();
  }
  const PathChecker::State before = connection.path->state();
  connection.path->OnAccept(frame, connection.request.cid, *response);
  if (before == PathChecker::State::kConnecting &&
      connection.path->state() == PathChecker::State::kAccepted) {
    ++sessions_[connection.request.paths_uuid].paths_up;
  }
  report_->Trace(frame, id, Sender::kServer,
                 absl::StrFormat("accept, queue depth %d, max_io_size %d, "
                                 "max_hdr_size %d, flags 0x%x, capabilities "
                                 "0x%x",
                                 response->queue_depth, response->max_io_size,
                                 response->max_hdr_size, response->flags,
                                 response->capabilities.bits));
}

void Checker::OnReject(int frame, ConnectionId id, bool by_consumer,
                       const std::string& reason,
                       absl::Span<const uint8_t> private_data) {
  report_->connection(id).state = absl::StrCat("rejected, ", reason);
  if (!by_consumer) return;
  const auto response = wire::DecodeConnectResponse(private_data);
  if (!response.ok()) {
    report_->AddProblem(frame, id, absl::StrCat(response.status().message()));
    return;
  }
  report_->connection(id).state =
      absl::StrCat("rejected with errno ", response->error);
  report_->Trace(frame, id, Sender::kServer,
                 absl::StrCat("reject, errno ", response->error));
  if (response->error == 0) {
    report_->AddProblem(frame, id, "rejected with errno 0");
  }
  constexpr size_t kBehindErrno = 6;
  if (!AllZero(private_data.subspan(
          kBehindErrno, wire::ConnectResponse::kSize - kBehindErrno))) {
    report_->AddProblem(frame, id,
                        "reject with values where only an errno belongs");
  }
}

void Checker::OnMessage(int frame, ConnectionId id, const Message& message) {
  Connection& connection = connections_[id];
  if (connection.path == nullptr) return;
  const bool named = !connection.path->session_name().empty();
  connection.path->OnMessage(frame, connection.request.cid, message);
  if (named || connection.path->session_name().empty()) return;
  Session& session = sessions_[connection.request.paths_uuid];
  if (!session.name.empty() &&
      session.name != connection.path->session_name()) {
    report_->AddProblem(frame, id,
                        absl::StrCat("another path of this session calls it \"",
                                     session.name, "\""));
  }
  session.name = connection.path->session_name();
}

void Checker::OnDisconnect(int frame, ConnectionId id) {
  ConnectionSummary& summary = report_->connection(id);
  if (summary.state == "open") summary.state = "closed";
  report_->Trace(frame, id, Sender::kClient, "disconnect");
  // A path lives and dies as a whole.
  if (connections_[id].path != nullptr) ClosePath(connections_[id].path);
}

void Checker::ClosePath(PathChecker* path) {
  const PathChecker::State state = path->state();
  path->Close();
  if (state != PathChecker::State::kConnecting &&
      state != PathChecker::State::kClosed) {
    --sessions_[path->first().paths_uuid].paths_up;
  }
}

void Checker::OnFabricProblem(int frame, std::optional<ConnectionId> id,
                              const std::string& text) {
  report_->AddProblem(frame, id, text);
}

void Checker::Finish() {
  for (const auto& path : paths_) path->Close();
}

void CheckCapture(const std::vector<Frame>& frames, Report* report) {
  Checker checker(report);
  RoceDecoder roce(&checker);
  IwarpDecoder iwarp(&checker);
  for (const Frame& frame : frames) {
    const auto packet = ParseFrame(frame);
    if (!packet.has_value()) continue;
    if (packet->tcp) {
      iwarp.Add(frame.number, *packet);
    } else if (packet->destination.port() == softroce::kUdpPort) {
      roce.Add(frame.number, *packet);
    }
  }
  const int last = frames.empty() ? 0 : frames.back().number;
  roce.Finish(last);
  iwarp.Finish(last);
  checker.Finish();
}

}  // namespace rtrs::pcap
