// Protection domains and memory regions over the StagTable. Any thread.
#ifndef RTRS_FABRIC_SOFTIWARP_PROTECTION_DOMAIN_H_
#define RTRS_FABRIC_SOFTIWARP_PROTECTION_DOMAIN_H_

#include <cstdint>
#include <memory>

#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/stag_table.h"

namespace rtrs::fabric::softiwarp {

class Pd : public ProtectionDomain {
 public:
  Pd(StagTable* table, uint32_t id) : table_(table), id_(id) {}

  absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterMemory(
      void* address, size_t length, uint32_t access) override;

  // Differs from that of every other domain of the fabric.
  uint32_t id() const { return id_; }

 private:
  StagTable* table_;
  uint32_t id_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_PROTECTION_DOMAIN_H_
