// The notice of wire/immediate.h: word for the layer above a client.
#include "rtrs/server/connection.h"
#include "rtrs/server/control.h"
#include "rtrs/wire/capabilities.h"

namespace rtrs::server {

void Control::SendNotice(const Uuid& uuid, uint32_t payload) {
  const auto it = sessions_.find(uuid);  // it may be gone meanwhile
  if (it == sessions_.end() || !Has(*it->second, wire::Capabilities::kNotice)) {
    return;
  }
  // On all of them: one that died without a word is noticed late.
  for (auto& path : it->second->paths) {
    if (path->state() == PathState::kConnected) {
      path->connections[0]->SendNotice(payload);
    }
  }
}

}  // namespace rtrs::server
