// Early returns on absl::Status, which this Abseil does not have yet.
//
//   RTRS_RETURN_IF_ERROR(Connect());
//   RTRS_ASSIGN_OR_RETURN(auto region, pd->RegisterMemory(p, n, access));
#ifndef RTRS_BASE_STATUS_MACROS_H_
#define RTRS_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RTRS_RETURN_IF_ERROR(expr)                                  \
  do {                                                              \
    if (::absl::Status rtrs_status_ = (expr); !rtrs_status_.ok()) { \
      return rtrs_status_;                                          \
    }                                                               \
  } while (false)

#define RTRS_CONCAT_INNER_(a, b) a##b
#define RTRS_CONCAT_(a, b) RTRS_CONCAT_INNER_(a, b)
#define RTRS_ASSIGN_OR_RETURN(lhs, expr) \
  RTRS_ASSIGN_OR_RETURN_IMPL_(RTRS_CONCAT_(rtrs_statusor_, __LINE__), lhs, expr)
#define RTRS_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr)   \
  auto statusor = (expr);                                  \
  if (!statusor.ok()) return std::move(statusor).status(); \
  lhs = std::move(statusor).value()

#endif  // RTRS_BASE_STATUS_MACROS_H_
