#include "server/rnbd_handler.h"

#include <errno.h>

#include <memory>

#include "absl/strings/escaping.h"
#include "rtrs/base/log.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::server {

absl::Status RnbdHandler::OnSessionUp(rtrs::server::Session* session) {
  session->context = new RnbdSession(session, &services_);
  RTRS_LOG(info, "session {} from {}: up", absl::CHexEscape(session->name()),
           session->peer_address().ToString());
  return absl::OkStatus();
}

void RnbdHandler::OnSessionDown(rtrs::server::Session* session) {
  std::unique_ptr<RnbdSession> down(
      static_cast<RnbdSession*>(session->context));
  session->context = nullptr;
  if (down == nullptr) return;
  RTRS_LOG(info, "session {} from {}: down", absl::CHexEscape(session->name()),
           session->peer_address().ToString());
}

void RnbdHandler::OnRequest(rtrs::server::Request* request) {
  auto* session = static_cast<RnbdSession*>(request->session->context);
  if (session == nullptr) return request->Complete(ENODEV);
  const absl::StatusOr<wire::RnbdType> type =
      wire::DecodeType(request->user_message);
  if (type.ok() && *type == wire::RnbdType::kIo) return session->OnIo(request);
  session->OnControl(request);
}

}  // namespace rnbd::server
