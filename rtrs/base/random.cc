#include "rtrs/base/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <algorithm>

namespace rtrs {
namespace {

class SystemRandom : public Random {
 public:
  void Fill(absl::Span<uint8_t> out) override {
    thread_local Buffer buffer;
    while (!out.empty()) {
      if (buffer.left == 0) buffer.Refill();
      const size_t n = std::min(out.size(), buffer.left);
      uint8_t* from = buffer.bytes + sizeof(buffer.bytes) - buffer.left;
      memcpy(out.data(), from, n);
      memset(from, 0, n);  // what was handed out is not kept
      buffer.left -= n;
      out.remove_prefix(n);
    }
  }

 private:
  struct Buffer {
    uint8_t bytes[256];
    size_t left = 0;
    void Refill() {
      size_t have = 0;
      while (have < sizeof(bytes)) {
        const ssize_t n = getrandom(bytes + have, sizeof(bytes) - have, 0);
        if (n > 0) {
          have += static_cast<size_t>(n);
        } else if (errno != EINTR) {
          // Without randomness rkeys would be guessable: stop at once.
          perror("getrandom");
          abort();
        }
      }
      left = sizeof(bytes);
    }
  };
};

}  // namespace

uint32_t Random::Uint32() {
  uint8_t bytes[4];
  Fill(absl::MakeSpan(bytes));
  uint32_t v;
  memcpy(&v, bytes, sizeof(v));
  return v;
}

uint64_t Random::Uint64() {
  const uint64_t high = Uint32();
  return high << 32 | Uint32();
}

uint64_t Random::Below(uint64_t bound) {
  // Values under `unfair` would make small results more likely.
  const uint64_t unfair = (0 - bound) % bound;
  uint64_t v;
  do {
    v = Uint64();
  } while (v < unfair);
  return v % bound;
}

Random* Random::System() {
  static auto* random = new SystemRandom;
  return random;
}

void SeededRandom::Fill(absl::Span<uint8_t> out) {
  for (uint8_t& byte : out) {
    // splitmix64, one byte a step.
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    byte = static_cast<uint8_t>((z ^ (z >> 31)) >> 32);
  }
}

}  // namespace rtrs
