// A client of the simulation: an RTRS client session of one or more paths with
// one RNBD device in it, and a random workload that is checked against a
// DiskModel. When all paths of the session are lost it waits until one is back,
// opens the device again, looks whether the write verifier tells of a loss, and
// sends again what was not answered: no operation may fail. After a crash it
// begins anew under the same name. One thread.
#ifndef TESTS_SIMULATION_SIM_CLIENT_H_
#define TESTS_SIMULATION_SIM_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/client/session.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/wire/rnbd_messages.h"
#include "tests/simulation/disk_model.h"
#include "tests/simulation/sim_disk.h"

namespace rnbd::simulation {

class SimClient : public rtrs::client::SessionObserver {
 public:
  struct Stats {
    uint64_t sessions = 0;   // that came up
    uint64_t completed = 0;  // operations with success
    uint64_t resumed = 0;    // operations sent again after all paths were lost
    uint64_t aborted = 0;    // operations lost with their client
    uint64_t failed = 0;     // operations that the disk failed
    uint64_t losses = 0;     // that the server told of
  };

  // Borrows everything. `trace` collects what happened, for comparison of two
  // runs; `disk` is the one at the server, which has `disks`.
  struct World {
    rtrs::fabric::Fabric* fabric = nullptr;
    rtrs::Clock* clock = nullptr;
    rtrs::Random* random = nullptr;
    std::string* trace = nullptr;
    const SimDisks* disks = nullptr;
    const SimDisk* disk = nullptr;
  };
  // `sources`: the client's address of each path.
  SimClient(std::string name, const World& world, rtrs::SocketAddress server,
            std::vector<rtrs::SocketAddress> sources, uint32_t sectors);
  ~SimClient() override;

  // One round: starts what can be started, lets the session run.
  bool Step();
  absl::Time NextDeadline() const;
  // No new operations from now on; true once none is left in flight.
  void Quiesce() { quiesced_ = true; }
  bool idle() const { return operations_in_flight_ == 0; }
  // Drops the session without a word, as a crash would.
  void Crash();
  // Operations that were answered with an error nobody should see.
  const std::vector<std::string>& violations() const { return violations_; }
  const Stats& stats() const { return stats_; }
  bool open() const { return phase_ == Phase::kOpen; }
  const std::string& name() const { return name_; }
  // "" if the whole disk may look like this.
  std::string CheckDisk(absl::Span<const uint8_t> bytes) {
    return model_.Check(0, bytes);
  }

  void OnSessionState(rtrs::client::SessionState state,
                      const absl::Status& why) override;
  void OnNotice(uint32_t payload) override;

 private:
  enum class Phase {
    kDown,        // no session; a new one begins at retry_at_
    kConnecting,  // the session has no path
    kConnected,   // it has one: SESS_INFO is next
    kSessInfo,    // SESS_INFO is out
    kOpening,     // OPEN is out
    kOpen,        // operations run
  };
  struct Operation {
    SimClient* client = nullptr;
    rtrs::client::Request request;
    std::vector<uint8_t> message;
    std::vector<uint8_t> data;
    wire::Io io;
    uint32_t first = 0;
    uint32_t count = 0;
    uint64_t stamp = 0;
    DiskModel::Moment begun = 0;  // as a flush
    uint32_t generation = 0;      // of the session when it was sent
    bool busy = false;
    bool parked = false;  // to be sent again
  };

  void Begin();
  void End();
  void SendControl(std::vector<uint8_t> message, uint32_t reply_length);
  void OnControlDone();
  void StartOperation();
  void ChooseOperation(Operation* op);
  void Send(Operation* op);
  // True if `op` was lost with all paths, and waits for one to come back.
  bool Park(Operation* op);
  void Finish(Operation* operation);
  void OnOpenRsp(const wire::OpenRsp& rsp);
  // The server answered with an errno.
  void OnError(const Operation& op);
  void Violation(const std::string& what);
  void Trace(const std::string& what);

  const std::string name_;
  const World world_;
  rtrs::Random* const random_;
  const rtrs::SocketAddress server_;
  const std::vector<rtrs::SocketAddress> sources_;
  DiskModel model_;
  Phase phase_ = Phase::kDown;
  absl::Time retry_at_ = absl::InfinitePast();
  bool quiesced_ = false;
  bool ending_ = false;  // the session is being destroyed
  bool ended_ = false;   // the session is closed and can be taken down
  int operations_in_flight_ = 0;
  uint64_t next_stamp_ = 1;
  uint32_t device_id_ = 0;
  uint64_t verifier_ = 0;  // of the last OPEN_RSP
  // Of the disk when the last OPEN was sent, and the one answered last.
  uint64_t losses_at_request_ = 0;
  uint64_t losses_at_open_ = 0;
  Operation control_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<std::string> violations_;
  Stats stats_;
  std::unique_ptr<rtrs::fabric::EventChannel> channel_;
  std::unique_ptr<rtrs::client::Session> session_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIM_CLIENT_H_
