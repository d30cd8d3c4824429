#include "rtrs/base/errno_status.h"

#include <errno.h>

#include <string>

#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/status_macros.h"

namespace rtrs {
namespace {

using ::testing::StartsWith;

TEST(ErrnoStatusTest, EveryErrnoComesBack) {
  for (int error = 1; error < 134; ++error) {
    const absl::Status status = ErrnoError(error, "x");
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(ErrnoOf(status), error);
  }
}

TEST(ErrnoStatusTest, UnknownErrnoComesBack) {
  EXPECT_EQ(ErrnoOf(ErrnoError(511, "x")), 511);
}

TEST(ErrnoStatusTest, MessageSaysWhatAndWhy) {
  EXPECT_EQ(ErrnoError(ENOENT, "device \"a\"").message(),
            "device \"a\": No such file or directory");
}

TEST(ErrnoStatusTest, CodeFollowsErrno) {
  EXPECT_EQ(ErrnoError(EINVAL, "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrnoError(ETIMEDOUT, "x").code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ErrnoError(ECONNRESET, "x").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoError(EIO, "x").code(), absl::StatusCode::kInternal);
}

TEST(ErrnoStatusTest, OkIsZero) { EXPECT_EQ(ErrnoOf(absl::OkStatus()), 0); }

TEST(ErrnoStatusTest, WithoutPayloadTheCodeDecides) {
  EXPECT_EQ(ErrnoOf(absl::InvalidArgumentError("x")), EINVAL);
  EXPECT_EQ(ErrnoOf(absl::NotFoundError("x")), ENOENT);
  EXPECT_EQ(ErrnoOf(absl::DeadlineExceededError("x")), ETIMEDOUT);
  EXPECT_EQ(ErrnoOf(absl::UnimplementedError("x")), EOPNOTSUPP);
  EXPECT_EQ(ErrnoOf(absl::InternalError("x")), EIO);
}

TEST(ErrnoStatusTest, AnnotateKeepsErrnoAndCode) {
  const absl::Status status =
      Annotate(ErrnoError(EROFS, "write"), "device \"a\"");
  EXPECT_EQ(ErrnoOf(status), EROFS);
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(status.message()), StartsWith("device \"a\": write"));
}

TEST(ErrnoStatusTest, AnnotateLeavesOkAlone) {
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

absl::StatusOr<int> Half(int v) {
  if (v % 2 != 0) return ErrnoError(EDOM, "odd");
  return v / 2;
}

absl::Status Quarter(int v, int* out) {
  RTRS_ASSIGN_OR_RETURN(const int half, Half(v));
  RTRS_ASSIGN_OR_RETURN(*out, Half(half));
  RTRS_RETURN_IF_ERROR(absl::OkStatus());
  return absl::OkStatus();
}

TEST(StatusMacrosTest, ValueOrEarlyReturn) {
  int out = 0;
  EXPECT_TRUE(Quarter(12, &out).ok());
  EXPECT_EQ(out, 3);
  EXPECT_EQ(ErrnoOf(Quarter(6, &out)), EDOM);
  EXPECT_EQ(ErrnoOf(Quarter(5, &out)), EDOM);
  EXPECT_EQ(out, 3);
}

}  // namespace
}  // namespace rtrs
