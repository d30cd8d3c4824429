#include "rtrs/client/path_errors.h"

#include <errno.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {
namespace {

std::string Name(const PathSpec& spec) {
  return absl::StrCat("path ", spec.ToString(), " port ", spec.port);
}

const char* ConnectAdvice(int error) {
  switch (error) {
    case ECONNREFUSED:
      return "nothing listens there: is the server running, on this address "
             "and port?";
    case ETIMEDOUT:
      return "no answer: check the address and firewalls on the way";
    case EHOSTUNREACH:
    case ENETUNREACH:
      return "check the address and the routes to it";
    case EADDRNOTAVAIL:
      return "the source address is not one of this machine";
    default:
      return nullptr;
  }
}

const char* RejectAdvice(int error) {
  switch (error) {
    case ENXIO:
      return "the server does not know the session of this path: do all paths "
             "lead to the same server?";
    case ECONNRESET:
      return "the session name or this path may still be in use there from "
             "before; it is free a minute after its client died at the latest";
    case EEXIST:
      return "the session has another path between the same two addresses";
    case ENOMEM:
      return "the server has no memory or limits left for another session";
    default:
      return nullptr;
  }
}

// `status` with `advice` behind its message, payload kept.
absl::Status WithAdvice(const absl::Status& status, const char* advice) {
  if (advice == nullptr) return status;
  absl::Status advised(status.code(),
                       absl::StrCat(status.message(), " (", advice, ")"));
  status.ForEachPayload(
      [&advised](absl::string_view url, const absl::Cord& payload) {
        advised.SetPayload(url, payload);
      });
  return advised;
}

}  // namespace

absl::Status ConnectError(const PathSpec& spec, const absl::Status& why) {
  const absl::Status reason =
      why.ok() ? ErrnoError(ECONNRESET, "cannot connect") : why;
  return WithAdvice(PathError(spec, reason), ConnectAdvice(ErrnoOf(reason)));
}

absl::Status RejectError(const PathSpec& spec, uint16_t cid,
                         absl::Span<const uint8_t> private_data) {
  int error = ECONNRESET;
  absl::StatusOr<wire::ConnectResponse> response =
      wire::DecodeConnectResponse(private_data);
  if (response.ok() && response->error > 0) error = response->error;
  return WithAdvice(
      ErrnoError(error, absl::StrCat(Name(spec),
                                     ": the server rejected connection ", cid)),
      RejectAdvice(error));
}

absl::Status RefusedNameError(const PathSpec& spec,
                              absl::string_view sessname) {
  return ErrnoError(
      EPERM,
      absl::StrCat(Name(spec),
                   ": the server disconnected after the session "
                   "name \"",
                   sessname,
                   "\" (it may still be in use by another "
                   "client, or by one that died less than a minute ago)"));
}

absl::Status PathError(const PathSpec& spec, const absl::Status& why) {
  return Annotate(why, Name(spec));
}

}  // namespace rtrs::client
