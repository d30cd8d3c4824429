// Logging for every room: spdlog underneath, one process-wide logger.
//
//   RTRS_LOG(info, "path {}: connected, queue depth {}", name, depth);
//   RTRS_LOG_EVERY(warn, absl::Seconds(5), "retrying {}: {}", name, status);
//
// Any thread may log. The program chooses sink and level once at start
// (spdlog::set_default_logger); libraries only ever use these macros.
#ifndef RTRS_BASE_LOG_H_
#define RTRS_BASE_LOG_H_

#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

template <>
struct fmt::formatter<absl::string_view> : fmt::formatter<fmt::string_view> {
  template <typename Context>
  auto format(absl::string_view s, Context& context) const {
    return fmt::formatter<fmt::string_view>::format(
        fmt::string_view(s.data(), s.size()), context);
  }
};

template <>
struct fmt::formatter<absl::Status> : fmt::formatter<fmt::string_view> {
  template <typename Context>
  auto format(const absl::Status& s, Context& context) const {
    const absl::string_view text = s.ok() ? "OK" : s.message();
    return fmt::formatter<fmt::string_view>::format(
        fmt::string_view(text.data(), text.size()), context);
  }
};

template <>
struct fmt::formatter<absl::Duration> : fmt::formatter<std::string> {
  template <typename Context>
  auto format(absl::Duration d, Context& context) const {
    return fmt::formatter<std::string>::format(absl::FormatDuration(d),
                                               context);
  }
};

namespace rtrs {

// True at most once per `interval` over all callers that share `last`.
inline bool LogDue(std::atomic<int64_t>& last, absl::Duration interval) {
  const int64_t now = absl::GetCurrentTimeNanos();
  int64_t seen = last.load(std::memory_order_relaxed);
  return (seen == 0 || now - seen >= absl::ToInt64Nanoseconds(interval)) &&
         last.compare_exchange_strong(seen, now, std::memory_order_relaxed);
}

}  // namespace rtrs

// severity: trace, debug, info, warn, err, critical.
#define RTRS_LOG(severity, ...)                              \
  do {                                                       \
    if (::spdlog::should_log(::spdlog::level::severity)) {   \
      ::spdlog::log(::spdlog::level::severity, __VA_ARGS__); \
    }                                                        \
  } while (false)

// As RTRS_LOG, at most once per `interval` from this place.
#define RTRS_LOG_EVERY(severity, interval, ...)              \
  do {                                                       \
    static ::std::atomic<int64_t> rtrs_log_last_{0};         \
    if (::spdlog::should_log(::spdlog::level::severity) &&   \
        ::rtrs::LogDue(rtrs_log_last_, interval)) {          \
      ::spdlog::log(::spdlog::level::severity, __VA_ARGS__); \
    }                                                        \
  } while (false)

#endif  // RTRS_BASE_LOG_H_
