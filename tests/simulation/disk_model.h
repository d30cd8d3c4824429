// What a disk may contain, sector by sector, given what was acknowledged, what
// failed on the way, what was flushed, and what may have been lost. One thread.
//
// Every write carries a stamp of its own in each sector. Each sector has a list
// of versions in the order of their writes. Its tail, from the newest version
// that is certain, is what a read may find. Its head, from the newest version
// that is durable, is what a loss may bring back: a write cache loses any
// subset of what was not flushed, so that any version since may be found.
//
// Acknowledged is certain. A write that failed may have happened or not; until
// its session is gone it may even happen later, which the caller excludes by
// not writing there meanwhile. Durable is what was known to be in the cache
// when a flush that succeeded began, and what a FUA write wrote.
#ifndef TESTS_SIMULATION_DISK_MODEL_H_
#define TESTS_SIMULATION_DISK_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace rnbd::simulation {

class DiskModel {
 public:
  static constexpr uint32_t kSector = 512;
  // Reads as zeros.
  static constexpr uint64_t kZeros = 0;
  // A moment: a number that grows with every event.
  using Moment = uint64_t;

  explicit DiskModel(uint32_t sectors) : sectors_(sectors) {}
  uint32_t sectors() const { return static_cast<uint32_t>(sectors_.size()); }

  // Operations in flight exclude each other where one of them changes data.
  bool MayRead(uint32_t first, uint32_t count) const;
  bool MayWrite(uint32_t first, uint32_t count) const;
  void BeginRead(uint32_t first, uint32_t count);
  void EndRead(uint32_t first, uint32_t count);
  void BeginWrite(uint32_t first, uint32_t count);

  struct Outcome {
    bool certain = false;  // acknowledged
    bool durable = false;  // and with FUA
    // Either the old content or the new one, even if it succeeded: a discard.
    bool either = false;
  };
  // `stamp` kZeros: zeroes.
  void EndWrite(uint32_t first, uint32_t count, uint64_t stamp,
                Outcome outcome);

  // A flush that began at `begun` has succeeded.
  Moment BeginFlush() { return ++now_; }
  void EndFlush(Moment begun);
  // A flush has failed: what was written before may never become durable.
  void FailFlush() { lost_at_ = ++now_; }
  // The server may have lost all that was not durable. `clean`: what it holds
  // now is durable.
  void LoseCache(bool clean);

  // "" if `data` is possible; it is then the only possible content. Otherwise
  // which sector holds what.
  std::string Check(uint32_t first, absl::Span<const uint8_t> data);

  // Fills `data` with `stamp` and the sector's number.
  static void Fill(uint64_t stamp, uint32_t first, absl::Span<uint8_t> data);

 private:
  static constexpr Moment kNever = std::numeric_limits<Moment>::max();
  struct Version {
    uint64_t stamp = kZeros;
    Moment begun = 0;  // of the write
    Moment known = 0;  // it was in the cache then, or kNever
  };
  struct Sector {
    // From the newest durable one.
    std::vector<Version> versions = {Version{}};
    size_t current = 0;  // the newest that is certain
    // Nothing was written since a clean loss: what is read then is durable.
    bool clean = true;
    uint32_t readers = 0;
    bool writer = false;
    Moment writer_begun = 0;
  };
  // Makes `index` the durable one.
  static void DropBefore(Sector* sector, size_t index);

  std::vector<Sector> sectors_;
  Moment now_ = 0;
  Moment lost_at_ = 0;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_DISK_MODEL_H_
