#include "tests/simulation/disk_model.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

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

void DiskModel::EndRead(uint32_t first, uint32_t count) {
  for (uint32_t i = first; i < first + count; ++i) --sectors_[i].readers;
}

void DiskModel::BeginWrite(uint32_t first, uint32_t count) {
  ++now_;
  for (uint32_t i = first; i < first + count; ++i) {
    sectors_[i].writer = true;
    sectors_[i].writer_begun = now_;
    sectors_[i].clean = false;
  }
}

void DiskModel::DropBefore(Sector* sector, size_t index) {
  sector->versions.erase(
      sector->versions.begin(),
      sector->versions.begin() + static_cast<std::ptrdiff_t>(index));
  sector->current -= std::min(sector->current, index);
}

void DiskModel::EndWrite(uint32_t first, uint32_t count, uint64_t stamp,
                         Outcome outcome) {
  ++now_;
  for (uint32_t i = first; i < first + count; ++i) {
    Sector& sector = sectors_[i];
    sector.writer = false;
    const bool certain = outcome.certain && !outcome.either;
    sector.versions.push_back(
        {stamp, sector.writer_begun, certain ? now_ : kNever});
    if (!certain) continue;
    sector.current = sector.versions.size() - 1;
    if (outcome.durable) DropBefore(&sector, sector.current);
  }
}

void DiskModel::EndFlush(Moment begun) {
  ++now_;
  for (Sector& sector : sectors_) {
    for (size_t i = sector.versions.size(); i-- > 1;) {
      const Version& version = sector.versions[i];
      if (version.known >= begun || version.begun <= lost_at_) continue;
      DropBefore(&sector, i);
      break;
    }
  }
}

void DiskModel::LoseCache(bool clean) {
  lost_at_ = ++now_;
  for (Sector& sector : sectors_) {
    sector.current = 0;
    sector.clean = clean && !sector.writer;
  }
}

std::string DiskModel::Check(uint32_t first, absl::Span<const uint8_t> data) {
  ++now_;
  std::vector<uint8_t> expected(kSector);
  for (uint32_t i = 0; i < data.size() / kSector; ++i) {
    const uint8_t* got = data.data() + i * kSector;
    Sector& sector = sectors_[first + i];
    std::vector<Version>& versions = sector.versions;
    size_t found = versions.size();
    while (found-- > sector.current) {
      Fill(versions[found].stamp, first + i, absl::MakeSpan(expected));
      if (std::memcmp(expected.data(), got, kSector) == 0) break;
    }
    if (found + 1 == sector.current) {
      uint64_t stamp;
      std::memcpy(&stamp, got, sizeof(stamp));
      std::string wrong = absl::StrCat("sector ", first + i, " begins with ",
                                       stamp, ", possible are");
      for (size_t k = sector.current; k < versions.size(); ++k) {
        absl::StrAppend(&wrong, " ", versions[k].stamp);
      }
      return wrong;
    }
    // Later versions did not happen.
    versions.resize(found + 1);
    sector.current = found;
    versions[found].known = std::min(versions[found].known, now_);
    if (sector.clean) DropBefore(&sector, found);
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
