#include "rtrs/fabric/softroce/crc32.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace rtrs::softroce {
namespace {

absl::Span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// The check value of every list of CRCs.
TEST(Crc32Test, CheckValue) {
  EXPECT_EQ(Crc32(0, BytesOf("123456789")), 0xCBF43926u);
  EXPECT_EQ(Crc32ByTables(0, BytesOf("123456789")), 0xCBF43926u);
  EXPECT_EQ(Crc32ByTables(0, {}), 0u);
}

TEST(Crc32Test, TablesGiveWhatMultiplicationGives) {
  std::vector<uint8_t> data(200);
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<uint8_t>(i * 167 + (i >> 3));
  }
  for (size_t start = 0; start < 8; ++start) {
    for (size_t size = 0; start + size <= data.size(); ++size) {
      const auto piece = absl::MakeConstSpan(data).subspan(start, size);
      const uint32_t crc = Crc32ByTables(0x12345678, piece);
      EXPECT_EQ(crc, Crc32(0x12345678, piece)) << start << " " << size;
      // In two pieces, as headers and payload are.
      EXPECT_EQ(crc,
                Crc32ByTables(Crc32ByTables(0x12345678, piece.first(size / 3)),
                              piece.subspan(size / 3)));
    }
  }
}

}  // namespace
}  // namespace rtrs::softroce
