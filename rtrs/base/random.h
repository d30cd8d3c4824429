// The source of random bytes that engines are given: rkeys, UUIDs, jitter.
#ifndef RTRS_BASE_RANDOM_H_
#define RTRS_BASE_RANDOM_H_

#include <cstdint>

#include "absl/types/span.h"

namespace rtrs {

class Random {
 public:
  virtual ~Random() = default;
  virtual void Fill(absl::Span<uint8_t> out) = 0;
  uint32_t Uint32();
  uint64_t Uint64();
  // Uniform in [0, bound). bound must not be 0.
  uint64_t Below(uint64_t bound);

  // Cryptographic, from getrandom(2), buffered per thread. Never destroyed;
  // any thread.
  static Random* System();
};

// Repeats exactly by seed; for tests only, it is not cryptographic. One thread.
class SeededRandom : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  void Fill(absl::Span<uint8_t> out) override;

 private:
  uint64_t state_;
};

}  // namespace rtrs

#endif  // RTRS_BASE_RANDOM_H_
