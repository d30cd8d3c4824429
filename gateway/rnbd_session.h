// The RNBD client of one session: SESS_INFO, the table of mapped devices, and
// opening them again after the session was lost. wire.md §7.2-§7.7.
//
// Any thread. Answers to control messages arrive on threads of the session
// below and are handled there without blocking.
#ifndef GATEWAY_RNBD_SESSION_H_
#define GATEWAY_RNBD_SESSION_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateway/control_call.h"
#include "gateway/gateway.h"
#include "gateway/mapping.h"
#include "rtrs/base/mutex.h"
#include "rtrs/client/blocking_session.h"
#include "rtrs/fabric/fabric.h"

namespace rnbd::gateway {

// Makes the connected session below; called again when the name is in use.
using SessionFactory = std::function<
    absl::StatusOr<std::unique_ptr<rtrs::client::BlockingSession>>()>;

class RnbdSession : public Gateway,
                    public std::enable_shared_from_this<RnbdSession> {
 public:
  // Connects by `factory` and exchanges SESS_INFO. A refusal with EPERM (the
  // name is in use on the server) is tried again as `options` say. `fabric`
  // may be null; it is destroyed after the session.
  static absl::StatusOr<std::shared_ptr<RnbdSession>> Open(
      GatewayOptions options, std::unique_ptr<rtrs::fabric::Fabric> fabric,
      const SessionFactory& factory);
  ~RnbdSession() override;

  absl::StatusOr<std::shared_ptr<BlockDevice>> Map(
      absl::string_view device_path, wire::AccessMode mode) override;
  absl::Status ChangePath(rtrs::client::PathChange change,
                          const rtrs::PathSpec& path) override {
    return session_->ChangePath(change, path);
  }
  std::vector<rtrs::client::PathInfo> paths() const override {
    return session_->paths();
  }

 private:
  RnbdSession(GatewayOptions options,
              std::unique_ptr<rtrs::fabric::Fabric> fabric,
              std::unique_ptr<rtrs::client::BlockingSession> session);
  using MappingPtr = std::shared_ptr<Mapping>;

  // Sends SESS_INFO and waits for its answer.
  absl::Status ExchangeSessInfo();

  // Finds or makes the mapping; `counted` says that it waits for an OPEN,
  // `fresh` that this caller must send it.
  struct Found {
    MappingPtr mapping;
    bool counted = false;
    bool fresh = false;
  };
  absl::StatusOr<Found> FindOrMake(const std::string& name,
                                   wire::AccessMode mode)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Waits for what happens to the mapping. Null without error: it went away,
  // look again.
  absl::StatusOr<std::shared_ptr<BlockDevice>> Join(const Found& found,
                                                    wire::AccessMode mode,
                                                    absl::Time deadline)
      ABSL_LOCKS_EXCLUDED(mu_);

  // The one place that moves a mapping.
  void Move(Mapping& mapping, MappingState to)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SendOpen(const MappingPtr& mapping) ABSL_LOCKS_EXCLUDED(mu_);
  // An answer to OPEN, and the life of the session in which it was sent.
  struct OpenAnswer {
    absl::StatusOr<wire::OpenRsp> rsp;
    bool unsent = false;  // no path was there, or it was lost meanwhile
    uint32_t generation = 0;
    bool lost = false;  // the session, since then
  };
  void OnOpenAnswer(const MappingPtr& mapping, OpenAnswer answer)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Take the answer into `mapping`; the id for which a CLOSE must follow.
  using CloseId = std::optional<uint32_t>;
  CloseId TakeOpenAnswer(Mapping& mapping, const OpenAnswer& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  CloseId TakeReopenAnswer(Mapping& mapping, const OpenAnswer& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  CloseId TakeRefreshAnswer(Mapping& mapping, const OpenAnswer& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Why the device that `rsp` tells of is not the one that was mapped, or
  // cannot do what its users were told; "" if it is. `same`: it is known to be
  // that one, so that it may also have shrunk.
  std::string Difference(const Mapping& mapping, const wire::OpenRsp& rsp,
                         bool same) const;
  // The device that the server has open is another one: for good.
  void GiveUp(Mapping& mapping, const wire::OpenRsp& rsp, std::string why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The device is open as `rsp` says.
  void SetOpen(Mapping& mapping, const wire::OpenRsp& rsp, uint32_t generation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<DeviceInfo> InfoOf(const Mapping& mapping,
                                    const wire::OpenRsp& rsp) const;
  // The mapping is kClosing already.
  void SendClose(const MappingPtr& mapping, uint32_t device_id)
      ABSL_LOCKS_EXCLUDED(mu_);
  // The last owner of a device let go.
  void Unmap(const MappingPtr& mapping) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::shared_ptr<BlockDevice>> CreateDevice(
      const MappingPtr& mapping) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits until `mapping` leaves `from`; false: not before `deadline`.
  bool WaitWhile(const Mapping& mapping, MappingState from, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status InOtherMode(const Mapping& mapping, wire::AccessMode mode) const;

  // The session below changed, or the server says that the device with an id
  // did: notes it for the recovery thread.
  void OnSessionState(rtrs::client::SessionState state,
                      const absl::Status& why);
  void OnNotice(uint32_t device_id) ABSL_LOCKS_EXCLUDED(mu_);
  void RecoveryThread();
  // What it has to do.
  struct Work {
    bool lost = false;     // the session was lost and is back
    bool refused = false;  // refused devices are due
    bool stale = false;    // sizes are to be asked for
    absl::Time refused_at = absl::InfiniteFuture();  // when they will be due
  };
  // False: stopping.
  bool WaitForWork(Work* work) ABSL_LOCKS_EXCLUDED(mu_);
  bool AnyRefused() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Reopen(bool lost) ABSL_LOCKS_EXCLUDED(mu_);
  void Refresh() ABSL_LOCKS_EXCLUDED(mu_);

  absl::Time ControlDeadline() const;
  std::string Where(const Mapping& mapping) const;

  const GatewayOptions options_;
  rtrs::Mutex mu_;
  rtrs::CondVar changed_;  // a mapping moved, or the recovery has work
  absl::flat_hash_map<std::string, MappingPtr> mappings_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool lost_ ABSL_GUARDED_BY(mu_) = false;   // since the last Reopen
  bool stale_ ABSL_GUARDED_BY(mu_) = false;  // any mapping is
  bool connected_ ABSL_GUARDED_BY(mu_) = true;
  // Destroyed first, from the bottom: answers come until the session is gone.
  std::unique_ptr<rtrs::fabric::Fabric> fabric_;
  std::unique_ptr<rtrs::client::BlockingSession> session_;
  std::thread recovery_;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_RNBD_SESSION_H_
