// What a disk may contain, sector by sector, given what was acknowledged and
// what failed on the way. One thread.
//
// Every write carries a stamp of its own in each sector. A write that was
// acknowledged is the only possible content; one that failed because its path
// broke may have happened or not.
#ifndef TESTS_SIMULATION_DISK_MODEL_H_
#define TESTS_SIMULATION_DISK_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace rnbd::simulation {

class DiskModel {
 public:
  static constexpr uint32_t kSector = 512;
  // Reads as zeros.
  static constexpr uint64_t kZeros = 0;

  explicit DiskModel(uint32_t sectors) : sectors_(sectors) {}
  uint32_t sectors() const { return static_cast<uint32_t>(sectors_.size()); }

  // Operations in flight exclude each other where one of them changes data.
  bool MayRead(uint32_t first, uint32_t count) const;
  bool MayWrite(uint32_t first, uint32_t count) const;
  void BeginRead(uint32_t first, uint32_t count);
  void BeginWrite(uint32_t first, uint32_t count);

  // `stamp` kZeros: write zeroes. `certain`: acknowledged.
  void EndWrite(uint32_t first, uint32_t count, uint64_t stamp, bool certain);
  // A discard: old content or zeros.
  void EndDiscard(uint32_t first, uint32_t count);
  void EndRead(uint32_t first, uint32_t count);

  // "" if `data` is possible; it is then the only possible content. Otherwise
  // which sector holds what.
  std::string Check(uint32_t first, absl::Span<const uint8_t> data);

  // Fills `data` with `stamp` and the sector's number.
  static void Fill(uint64_t stamp, uint32_t first, absl::Span<uint8_t> data);

 private:
  struct Sector {
    std::vector<uint64_t> possible = {kZeros};
    uint32_t readers = 0;
    bool writer = false;
  };
  std::vector<Sector> sectors_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_DISK_MODEL_H_
