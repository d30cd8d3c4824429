// The operations over softroce: IPv4 with a path MTU of 1024 bytes, IPv6 with
// one of 4096.
#include "tests/fabric/softroce/harness.h"

namespace rtrs::fabric {
namespace {

class OperationsBase : public softroce::SoftroceTest {
 protected:
  explicit OperationsBase(bool large)
      : SoftroceTest({.mtu = large ? 9000U : 1500U},
                     large ? "2001:db8::1" : "192.0.2.1") {}
};

}  // namespace
}  // namespace rtrs::fabric

#include "tests/fabric/operations_suite.h"
