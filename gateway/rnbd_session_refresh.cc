// The part of RnbdSession that follows the size of devices: the server says
// that one has changed, and is asked by another OPEN.
// rtrs/wire/rnbd_messages.h.
//
// Whatever the server says, and however often, there is one such OPEN on its
// way per device. What is said meanwhile is forgotten: the server repeats what
// was not asked about.
#include <string>
#include <utility>
#include <vector>

#include "gateway/rnbd_session.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"

namespace rnbd::gateway {

void RnbdSession::OnNotice(uint32_t device_id) {
  rtrs::MutexLock lock(&mu_);
  for (auto& [name, mapping] : mappings_) {
    if (mapping->state != MappingState::kOpen || mapping->stale ||
        mapping->rsp.device_id != device_id || mapping->device.expired()) {
      continue;
    }
    mapping->stale = true;
    stale_ = true;
    changed_.SignalAll();
  }
}

void RnbdSession::Refresh() {
  std::vector<MappingPtr> stale;
  {
    rtrs::MutexLock lock(&mu_);
    for (auto& [name, mapping] : mappings_) {
      // One that was lost meanwhile is opened again, and tells its size so.
      if (!std::exchange(mapping->stale, false) ||
          mapping->state != MappingState::kOpen || mapping->device.expired()) {
        continue;
      }
      Move(*mapping, MappingState::kRefreshing);
      stale.push_back(mapping);
    }
  }
  for (const MappingPtr& mapping : stale) SendOpen(mapping);
}

RnbdSession::CloseId RnbdSession::TakeRefreshAnswer(Mapping& mapping,
                                                    const OpenAnswer& answer) {
  const bool wanted = !mapping.device.expired();
  if (answer.lost) {  // and perhaps back already
    Move(mapping, wanted ? MappingState::kLost : MappingState::kGone);
    lost_ = true;
    return std::nullopt;
  }
  if (!wanted) {
    Move(mapping, MappingState::kClosing);
    return answer.rsp.ok() ? answer.rsp->device_id : mapping.rsp.device_id;
  }
  if (!answer.rsp.ok()) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5),
                   "{}: has changed its size, but cannot be asked for it: {}",
                   Where(mapping), answer.rsp.status());
    Move(mapping, MappingState::kOpen);  // as it was
    return std::nullopt;
  }
  if (std::string difference = Difference(mapping, *answer.rsp, true);
      !difference.empty()) {
    GiveUp(mapping, *answer.rsp, std::move(difference));
    return std::nullopt;
  }
  wire::OpenRsp rsp = *answer.rsp;
  // What the verifier tells of is not forgiven by this OPEN, and so is still to
  // be told by the one after the session was lost.
  rsp.write_verifier = mapping.rsp.write_verifier;
  SetOpen(mapping, rsp, answer.generation);
  return std::nullopt;
}

}  // namespace rnbd::gateway
