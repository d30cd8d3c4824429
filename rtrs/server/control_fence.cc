// The fence of wire/immediate.h: a client that sends requests again which it
// had sent on a path that died must know that their first copies are through.
#include <errno.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/server/connection.h"
#include "rtrs/server/control.h"
#include "rtrs/wire/immediate.h"

namespace rtrs::server {

absl::Status Control::OnFence(Path* asker, uint32_t imm) {
  SessionImpl* session = asker->session();
  const wire::FenceImm wanted = wire::DecodeFenceImm(imm);
  SessionImpl::Fence fence{
      asker, wire::EncodeFenceImm(wire::ImmType::kFenceDone, wanted), {}};
  for (auto& path : session->paths) {
    if (wire::FencePath(path->uuid()) == wanted.path &&
        wire::FenceCovers(wanted, path->recon_cnt())) {
      fence.paths.push_back(path.get());
    }
  }
  RTRS_LOG(debug,
           "session \"{}\": path {} asks to fence path {:#x}: {} are here",
           session->name(), asker->name(), wanted.path, fence.paths.size());
  for (Path* path : fence.paths) {
    if (path == asker) {
      return ErrnoError(EINVAL, "a FENCE of the path that it came on");
    }
  }
  if (fence.paths.empty()) {
    asker->connections[0]->SendFenceDone(fence.answer);
    return absl::OkStatus();
  }
  if (session->fences.size() >= SessionImpl::kMaxFences) {
    return ErrnoError(
        EINVAL,
        absl::StrCat("more than ", SessionImpl::kMaxFences, " FENCEs at once"));
  }
  for (Path* path : fence.paths) AbortPath(path, "fenced");
  session->fences.push_back(std::move(fence));
  return absl::OkStatus();
}

void Control::AnswerFences(SessionImpl* session, Path* gone) {
  std::erase_if(session->fences, [gone](SessionImpl::Fence& fence) {
    if (fence.asker == gone) return true;
    std::erase(fence.paths, gone);
    if (!fence.paths.empty()) return false;
    fence.asker->connections[0]->SendFenceDone(fence.answer);
    return true;
  });
}

}  // namespace rtrs::server
