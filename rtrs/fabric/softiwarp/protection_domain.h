// Protection domains, memory regions and windows over the StagTable. Any
// thread; a window: one at a time.
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
  absl::StatusOr<std::unique_ptr<MemoryWindow>> AllocWindow() override;

  // Differs from that of every other domain of the fabric.
  uint32_t id() const { return id_; }

 private:
  StagTable* table_;
  uint32_t id_;
};

class Window : public MemoryWindow {
 public:
  explicit Window(StagTable* table) : table_(table) {}
  ~Window() override { Unbind(); }

  // Gives it a fresh STag for `length` bytes, or with 0 none, and ends the old
  // one.
  absl::StatusOr<uint32_t> Bind(void* address, size_t length, uint32_t pd);

 private:
  void Unbind();

  StagTable* table_;
  uint32_t stag_ = 0;  // 0: none, which no region has
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_PROTECTION_DOMAIN_H_
