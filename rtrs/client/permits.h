// The permits of a session: which chunk numbers are in use. wire.md §4.1.
//
// A permit is a number below the queue depth; it names the chunk at the server
// and is the msg_id of the answer, on every path. Owned by the session; one
// thread.
#ifndef RTRS_CLIENT_PERMITS_H_
#define RTRS_CLIENT_PERMITS_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rtrs::client {

class Permits {
 public:
  // `count` permits, all free.
  explicit Permits(uint32_t count) : free_((count + 63) / 64, ~uint64_t{0}) {
    if (count % 64 != 0) free_.back() = (uint64_t{1} << (count % 64)) - 1;
  }

  // The lowest free permit, so that few chunks stay warm in caches.
  std::optional<uint32_t> Take() {
    for (; first_ < free_.size(); ++first_) {
      if (uint64_t& word = free_[first_]; word != 0) {
        const auto bit = static_cast<uint32_t>(std::countr_zero(word));
        word &= word - 1;
        ++taken_;
        return static_cast<uint32_t>(first_) * 64 + bit;
      }
    }
    return std::nullopt;
  }

  // `permit` was taken.
  void Return(uint32_t permit) {
    free_[permit / 64] |= uint64_t{1} << (permit % 64);
    first_ = std::min<size_t>(first_, permit / 64);
    --taken_;
  }

  size_t taken() const { return taken_; }

 private:
  std::vector<uint64_t> free_;  // a set bit is a free permit
  size_t first_ = 0;            // no word before this one has a free permit
  size_t taken_ = 0;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_PERMITS_H_
