#include "rtrs/server/port.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::server {
namespace {

constexpr uint32_t kCqEntries = 4096;
// Data moved after which responses are sent without waiting for the end of the
// round: about the time that a wake-up of the client takes.
constexpr size_t kPromptBytes = 256 * 1024;
// The same for answers to writes: they are small and cost little to send, and
// the client goes on the sooner. Reads lose by it.
constexpr uint32_t kPromptWrites = 8;

}  // namespace

absl::StatusOr<std::unique_ptr<Port>> Port::Create(fabric::Fabric* fabric) {
  RTRS_ASSIGN_OR_RETURN(auto channel, fabric->CreateEventChannel());
  return absl::WrapUnique(new Port(fabric, std::move(channel)));
}

absl::StatusOr<Port::Cq*> Port::Reserve(uint32_t entries) {
  for (auto& cq : cqs_) {
    if (cq->size - cq->reserved >= entries) {
      cq->reserved += entries;
      return cq.get();
    }
  }
  auto cq = std::make_unique<Cq>();
  cq->size = std::max(entries, std::min(kCqEntries, fabric_->device().max_cqe));
  RTRS_ASSIGN_OR_RETURN(cq->queue, channel_->CreateCq(cq->size));
  cq->reserved = entries;
  cqs_.push_back(std::move(cq));
  return cqs_.back().get();
}

void Port::NotePosted(size_t bytes) {
  posted_ = true;
  unflushed_bytes_ += bytes;
  if (unflushed_bytes_ >= kPromptBytes || unflushed_writes_ >= kPromptWrites) {
    Flush();
  }
}

void Port::NoteWritten(size_t bytes) {
  ++unflushed_writes_;
  NotePosted(bytes);
}

void Port::Flush() {
  if (!posted_) return;
  posted_ = false;
  unflushed_bytes_ = 0;
  unflushed_writes_ = 0;
  channel_->Flush();
}

}  // namespace rtrs::server
