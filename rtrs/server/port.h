// One fabric as one worker uses it: an event channel and its completion
// queues. Belongs to the worker and to its thread.
//
// Completion queues have a fixed size and must never overflow, so each
// connection reserves room for all its work requests in one of them; a new
// queue is made when the others are full.
#ifndef RTRS_SERVER_PORT_H_
#define RTRS_SERVER_PORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::server {

class Port {
 public:
  static absl::StatusOr<std::unique_ptr<Port>> Create(fabric::Fabric* fabric);

  struct Cq {
    std::unique_ptr<fabric::CompletionQueue> queue;
    uint32_t size = 0;
    uint32_t reserved = 0;
  };
  // Room for `entries` completions; Return gives it back.
  absl::StatusOr<Cq*> Reserve(uint32_t entries);
  void Return(Cq* cq, uint32_t entries) { cq->reserved -= entries; }

  // Note that something was posted that Flush has to send, and that `bytes` of
  // data were moved for it. Sends at once when much has been done since the
  // last flush, so that the client does not wait for the whole round.
  void NotePosted(size_t bytes);
  // The same for the answer to a write of `bytes`, of which fewer wait.
  void NoteWritten(size_t bytes);
  // Sends what was posted since the last flush.
  void Flush();

  fabric::Fabric* fabric() const { return fabric_; }
  fabric::EventChannel* channel() const { return channel_.get(); }
  const std::vector<std::unique_ptr<Cq>>& cqs() const { return cqs_; }

 private:
  Port(fabric::Fabric* fabric, std::unique_ptr<fabric::EventChannel> channel)
      : fabric_(fabric), channel_(std::move(channel)) {}

  fabric::Fabric* fabric_;
  std::unique_ptr<fabric::EventChannel> channel_;
  std::vector<std::unique_ptr<Cq>> cqs_;
  bool posted_ = false;
  size_t unflushed_bytes_ = 0;
  uint32_t unflushed_writes_ = 0;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_PORT_H_
