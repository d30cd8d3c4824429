// Protection domains, memory regions and windows of the in-process fabrics,
// over the RegionTable. Any thread; a window: one at a time.
#ifndef RTRS_FABRIC_PROTECTION_DOMAIN_H_
#define RTRS_FABRIC_PROTECTION_DOMAIN_H_

#include <cstdint>
#include <memory>

#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/region_table.h"

namespace rtrs::fabric {

class Pd : public ProtectionDomain {
 public:
  Pd(RegionTable* table, uint32_t id) : table_(table), id_(id) {}

  absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterMemory(
      void* address, size_t length, uint32_t access) override;
  absl::StatusOr<std::unique_ptr<MemoryWindow>> AllocWindow() override;

  // Differs from that of every other domain of the fabric.
  uint32_t id() const { return id_; }

 private:
  RegionTable* table_;
  uint32_t id_;
};

class Window : public MemoryWindow {
 public:
  explicit Window(RegionTable* table) : table_(table) {}
  ~Window() override { Unbind(); }

  // Whether the memory of `wr` is of `pd` and windows may be bound to it.
  absl::Status CheckBind(const BindWr& wr, uint32_t pd) const;
  // Gives it a fresh STag for `length` bytes, or with 0 none, and ends the old
  // one.
  absl::StatusOr<uint32_t> Bind(void* address, size_t length, uint32_t pd);

 private:
  void Unbind();

  RegionTable* table_;
  uint32_t stag_ = 0;  // 0: none, which no region has
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_PROTECTION_DOMAIN_H_
