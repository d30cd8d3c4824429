// One client session: its devices, and the messages that manage them
// (SESS_INFO, OPEN, CLOSE). wire.md §7.2, §7.3, §7.6.
//
// Control messages may block (opening a disk), so they run in an Executor, one
// at a time per session and in the order of their arrival: a client may send
// the next before it has the answer to the last. A CLOSE that waits for
// requests in flight holds up the control messages behind it, nothing else.
#ifndef SERVER_RNBD_SESSION_H_
#define SERVER_RNBD_SESSION_H_

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "rtrs/base/mutex.h"
#include "rtrs/server/server.h"
#include "server/device_table.h"
#include "server/export_opener.h"
#include "server/storage_engine.h"

namespace rnbd::server {

// Runs a task soon, in another thread or in here. Any thread.
using Executor = std::function<void(std::function<void()>)>;

// The workers with their storage engines, by index.
struct WorkerEngine {
  rtrs::server::Worker* worker = nullptr;
  StorageEngine* engine = nullptr;
};

// What all sessions share. Borrowed.
struct SessionServices {
  const ExportOpener* opener = nullptr;
  Executor control;
  std::vector<WorkerEngine> workers;
  bool realtime_priority = false;
};

// From OnSessionUp to OnSessionDown; owned by the handler.
class RnbdSession {
 public:
  RnbdSession(rtrs::server::Session* session, const SessionServices* services);
  // When no request is left. Closes what is open, in the executor.
  ~RnbdSession();

  // The data path; on the worker of the request.
  void OnIo(rtrs::server::Request* request);
  // On the worker of the request; answered later.
  void OnControl(rtrs::server::Request* request);

 private:
  // The way to the client for its devices, which end later than the session.
  // Any thread.
  class Notifier {
   public:
    explicit Notifier(rtrs::server::Session* session) : session_(session) {}
    void Send(uint32_t device_id);
    void Close();  // the session ends

   private:
    rtrs::Mutex mutex_;
    rtrs::server::Session* session_ ABSL_GUARDED_BY(mutex_);
  };

  void RunNextControl();
  void HandleSessInfo(rtrs::server::Request* request);
  void HandleOpen(rtrs::server::Request* request);
  void HandleClose(rtrs::server::Request* request);
  // Answers the oldest control message and starts the next. The session may
  // be gone when this returns.
  void FinishControl(rtrs::server::Request* request, int error);

  absl::StatusOr<DeviceSlot*> OpenDeviceFor(const wire::Open& open);
  // How the client learns that the size of its device `id` has changed.
  SizeWatch::Tell TellOfSize(uint32_t id) const;
  void FillOpenRsp(DeviceSlot* slot, rtrs::server::Request* request) const;
  // The client learns of lost writes by the verifier in OPEN_RSP.
  bool HasVerifiers() const {
    return session_->client_capabilities().Has(
        rtrs::wire::Capabilities::kWriteVerifier);
  }
  // Lets the workers drop what they keep for the file.
  void ForgetInWorkers(const Backing& backing);

  rtrs::server::Session* const session_;
  const SessionServices* const services_;
  const std::string shown_name_;  // for logs
  std::atomic<uint8_t> version_;
  // SESS_INFOs: with each the client begins anew, and opens its devices again.
  // Of the control messages.
  uint32_t lives_ = 0;
  const std::shared_ptr<Notifier> notifier_;
  DeviceTable devices_;
  std::vector<int16_t> memory_slots_;
  SessionMemory memory_;

  rtrs::Mutex mutex_;
  // The first is being handled.
  std::deque<rtrs::server::Request*> control_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rnbd::server

#endif  // SERVER_RNBD_SESSION_H_
