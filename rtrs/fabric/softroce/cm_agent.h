// The connection manager of one local address: finds the connection or the
// listener that a management datagram is for, keeps connections through their
// time-wait. roce.md §10, §11, §12. Called with the Host's mutex held.
#ifndef RTRS_FABRIC_SOFTROCE_CM_AGENT_H_
#define RTRS_FABRIC_SOFTROCE_CM_AGENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/softroce/cm_messages.h"
#include "rtrs/fabric/softroce/connection.h"
#include "rtrs/fabric/softroce/transmit_batch.h"

namespace rtrs::softroce {

class CmAgent;
class Engine;
class Qp;
class RoceListener;

// A connection from its REQ to the end of its time-wait. Owned by the agent.
class CmSession : public CmOutput {
 public:
  CmSession(CmAgent* agent, const SocketAddress& peer);
  void SendCm(const CmDatagram& datagram) override;

  Connection connection;
  Qp* qp = nullptr;  // none: not accepted yet, or gone
  uint32_t qpn = 0;  // ours, reserved until the session ends
  const SocketAddress& peer() const { return flow_.to; }
  const SocketAddress& local_address() const;

 private:
  friend class CmAgent;
  CmAgent* const agent_;
  const Flow flow_;
  bool pending_ = false;  // waits for the consumer's answer
};

class CmAgent {
 public:
  // REQs that wait for an answer of the consumer, and all that is remembered.
  static constexpr size_t kMaxPending = 1024;
  static constexpr size_t kMaxSessions = 65536;

  explicit CmAgent(Engine* engine);
  ~CmAgent();

  // A new session with a comm id of its own.
  CmSession* NewSession(const SocketAddress& peer, uint32_t* comm_id);
  // nullptr if there is none.
  CmSession* Find(uint32_t comm_id);
  // Something was done to the session: its timer may have changed.
  void Changed(CmSession* session);
  // The queue pair leaves its session; what is open is ended in order.
  void Leave(CmSession* session);

  absl::Status AddListener(uint16_t port, RoceListener* listener);
  void RemoveListener(uint16_t port);
  bool HasListener(uint16_t port) const { return listeners_.count(port) > 0; }

  // A MAD from queue pair 1 of `from`; false if it makes no sense.
  bool OnDatagram(const SocketAddress& from, absl::Span<const uint8_t> mad,
                  absl::Time now);
  // No packet reaches `peer`: whoever is connecting to it hears so.
  void OnUnreachable(const SocketAddress& peer, int error);
  void OnTimer(absl::Time now);
  absl::Time NextDeadline() const { return deadline_; }

  size_t session_count() const { return sessions_.size(); }

 private:
  friend class CmSession;
  // Peers number their connections: host and their comm id.
  using PeerKey = std::pair<std::string, uint32_t>;

  void OnReq(const SocketAddress& from, const CmDatagram& datagram,
             absl::Time now);
  // For messages of nobody's connection.
  void AnswerStray(const SocketAddress& from, const CmDatagram& datagram);
  CmSession* SessionOf(const SocketAddress& from, const CmMessage& message);
  void Handle(CmSession* session, CmOutcome outcome);
  void SendTo(const Flow& flow, const CmDatagram& datagram);

  Engine* const engine_;
  // Ordered, so that a simulation repeats exactly.
  std::map<uint32_t, std::unique_ptr<CmSession>> sessions_;
  std::map<PeerKey, uint32_t> by_peer_;  // passive sessions
  absl::flat_hash_map<uint16_t, RoceListener*> listeners_;
  absl::Time deadline_ = absl::InfiniteFuture();
  uint32_t psn_ = 0;
  size_t pending_ = 0;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_CM_AGENT_H_
