#include "tests/simulation/disk_model.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace rnbd::simulation {

bool DiskModel::MayRead(uint32_t first, uint32_t count) const {
  return std::none_of(sectors_.begin() + first,
                      sectors_.begin() + first + count,
                      [](const Sector& s) { return s.writer; });
}

bool DiskModel::MayWrite(uint32_t first, uint32_t count) const {
  return std::none_of(
      sectors_.begin() + first, sectors_.begin() + first + count,
      [](const Sector& s) { return s.writer || s.readers > 0; });
}

void DiskModel::BeginRead(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; ++i) ++sectors_[i].readers;
}

void DiskModel::BeginWrite(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; ++i) sectors_[i].writer = true;
}

void DiskModel::EndWrite(uint32_t first, uint32_t count, uint64_t stamp,
                         bool certain) {
  for (uint32_t i = first; i < first + count; ++i) {
    sectors_[i].writer = false;
    if (certain) sectors_[i].possible.clear();
    sectors_[i].possible.push_back(stamp);
  }
}

void DiskModel::EndDiscard(uint32_t first, uint32_t count) {
  EndWrite(first, count, kZeros, /*certain=*/false);
}

void DiskModel::EndRead(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; ++i) --sectors_[i].readers;
}

std::string DiskModel::Check(uint32_t first, absl::Span<const uint8_t> data) {
  std::vector<uint8_t> expected(kSector);
  for (uint32_t i = 0; i < data.size() / kSector; ++i) {
    const uint8_t* got = data.data() + i * kSector;
    std::vector<uint64_t>& possible = sectors_[first + i].possible;
    auto found =
        std::find_if(possible.begin(), possible.end(), [&](uint64_t stamp) {
          Fill(stamp, first + i, absl::MakeSpan(expected));
          return std::memcmp(expected.data(), got, kSector) == 0;
        });
    if (found == possible.end()) {
      uint64_t stamp;
      std::memcpy(&stamp, got, sizeof(stamp));
      return absl::StrCat("sector ", first + i, " begins with ", stamp,
                          ", possible are ", absl::StrJoin(possible, ", "));
    }
    possible = {*found};
  }
  return "";
}

void DiskModel::Fill(uint64_t stamp, uint32_t first, absl::Span<uint8_t> data) {
  std::memset(data.data(), 0, data.size());
  if (stamp == kZeros) return;
  for (size_t at = 0; at + kSector <= data.size(); at += kSector) {
    const uint64_t words[2] = {stamp, first + at / kSector};
    for (size_t i = 0; i < kSector; i += sizeof(words)) {
      std::memcpy(data.data() + at + i, words, sizeof(words));
    }
  }
}

}  // namespace rnbd::simulation
