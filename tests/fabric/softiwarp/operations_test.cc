// The operations over softiwarp, with and without CRCs.
#include "tests/fabric/softiwarp/harness.h"

namespace rtrs::fabric {
namespace {

class OperationsBase : public SoftiwarpTest {
 protected:
  explicit OperationsBase(bool crc)
      : SoftiwarpTest(crc ? SoftiwarpOptions::Crc::kOn
                          : SoftiwarpOptions::Crc::kOff) {}
};

}  // namespace
}  // namespace rtrs::fabric

#include "tests/fabric/operations_suite.h"
