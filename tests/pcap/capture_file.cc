#include "tests/pcap/capture_file.h"

#include <errno.h>

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/coding.h"

namespace rtrs::pcap {
namespace {

constexpr size_t kFileHeader = 24;
constexpr size_t kRecordHeader = 16;
constexpr uint32_t kMicroseconds = 0xa1b2c3d4;
constexpr uint32_t kNanoseconds = 0xa1b23c4d;
constexpr uint32_t kPcapng = 0x0a0d0d0a;

}  // namespace

absl::StatusOr<std::vector<Frame>> ParseCapture(
    absl::Span<const uint8_t> file) {
  if (file.size() < kFileHeader) {
    return absl::InvalidArgumentError("too short for a pcap file");
  }
  const uint32_t magic = wire::GetLe<uint32_t>(file.data());
  const uint32_t swapped = wire::SwapBytes(magic);
  const bool little = magic == kMicroseconds || magic == kNanoseconds;
  if (!little && swapped != kMicroseconds && swapped != kNanoseconds) {
    return absl::InvalidArgumentError(
        magic == kPcapng
            ? "a pcapng file; convert it with editcap -F pcap"
            : absl::StrFormat("not a pcap file, it begins with 0x%08x", magic));
  }
  const auto get = [&](size_t offset) {
    return little ? wire::GetLe<uint32_t>(file.data() + offset)
                  : wire::GetBe<uint32_t>(file.data() + offset);
  };
  const uint32_t link_type = get(20) & 0xffff;
  std::vector<Frame> frames;
  size_t at = kFileHeader;
  while (at != file.size()) {
    const int number = static_cast<int>(frames.size()) + 1;
    if (file.size() - at < kRecordHeader) {
      return absl::InvalidArgumentError(
          absl::StrCat("cut in the header of frame ", number));
    }
    const uint32_t captured = get(at + 8);
    const uint32_t original = get(at + 12);
    at += kRecordHeader;
    if (file.size() - at < captured) {
      return absl::InvalidArgumentError(absl::StrCat("cut in frame ", number));
    }
    const absl::Span<const uint8_t> bytes = file.subspan(at, captured);
    frames.push_back({number, link_type, captured < original,
                      std::vector<uint8_t>(bytes.begin(), bytes.end())});
    at += captured;
  }
  return frames;
}

absl::StatusOr<std::vector<Frame>> ReadCapture(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ErrnoError(errno, absl::StrCat("cannot open ", path));
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>()};
  return ParseCapture(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

}  // namespace rtrs::pcap
