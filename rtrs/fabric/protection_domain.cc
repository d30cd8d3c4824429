#include "rtrs/fabric/protection_domain.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::fabric {
namespace {

class Region : public MemoryRegion {
 public:
  Region(RegionTable* table, void* address, size_t length, uint32_t stag)
      : table_(table) {
    address_ = static_cast<uint8_t*>(address);
    length_ = length;
    remote_address_ = reinterpret_cast<uint64_t>(address);
    lkey_ = rkey_ = stag;
  }
  ~Region() override { table_->Deregister(rkey_); }

 private:
  RegionTable* table_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryRegion>> Pd::RegisterMemory(
    void* address, size_t length, uint32_t access) {
  RTRS_ASSIGN_OR_RETURN(const uint32_t stag,
                        table_->Register(address, length, access, id_));
  return std::make_unique<Region>(table_, address, length, stag);
}

absl::StatusOr<std::unique_ptr<MemoryWindow>> Pd::AllocWindow() {
  return std::make_unique<Window>(table_);
}

absl::Status Window::CheckBind(const BindWr& wr, uint32_t pd) const {
  if (wr.length == 0 ||
      table_->Check(wr.region->lkey(), pd,
                    reinterpret_cast<uint64_t>(wr.address), wr.length,
                    kLocalWrite | kBindWindows) == MrCheck::kOk) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "a window of ", wr.length,
      " bytes: not in memory of this domain that windows may be bound to"));
}

absl::StatusOr<uint32_t> Window::Bind(void* address, size_t length,
                                      uint32_t pd) {
  uint32_t fresh = 0;
  if (length > 0) {
    RTRS_ASSIGN_OR_RETURN(fresh,
                          table_->Register(address, length, kRemoteWrite, pd));
  }
  Unbind();
  stag_ = fresh;
  return fresh;
}

void Window::Unbind() {
  if (stag_ != 0) table_->Deregister(std::exchange(stag_, 0));
}

}  // namespace rtrs::fabric
