#include "nbdkit-plugin/open_handles.h"

#include <gtest/gtest.h>

#include <memory>

namespace rnbd::plugin {
namespace {

TEST(OpenHandlesTest, AdmitsRequestsUntilTheEnd) {
  OpenHandles handles;
  Handle* const handle = handles.Add(std::make_unique<Handle>());
  EXPECT_TRUE(OpenHandles::Request(handles, handle).admitted());
  EXPECT_EQ(handles.End(), 0);
  EXPECT_FALSE(OpenHandles::Request(handles, handle).admitted());
}

TEST(OpenHandlesTest, CountsTheConnectionsThatHaveRequestsUnderWay) {
  OpenHandles handles;
  Handle* const busy = handles.Add(std::make_unique<Handle>());
  Handle* const idle = handles.Add(std::make_unique<Handle>());
  const OpenHandles::Request first(handles, busy);
  const OpenHandles::Request second(handles, busy);
  EXPECT_TRUE(OpenHandles::Request(handles, idle).admitted());
  EXPECT_EQ(handles.End(), 1);
}

TEST(OpenHandlesTest, ClosedConnectionDoesNotCount) {
  OpenHandles handles;
  Handle* const closed = handles.Add(std::make_unique<Handle>());
  Handle* const other = handles.Add(std::make_unique<Handle>());
  const OpenHandles::Request request(handles, other);
  handles.Close(closed);
  EXPECT_EQ(handles.End(), 1);
}

}  // namespace
}  // namespace rnbd::plugin
