// Capture files, frames and streams: what is wrong with them is said, and
// damage to a capture that fits is found.
#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/pcap/capture_file.h"
#include "tests/pcap/checker.h"
#include "tests/pcap/ip_packet.h"
#include "tests/pcap/tcp_stream.h"

namespace rtrs::pcap {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<Frame> Capture(const std::string& name) {
  return ReadCapture(TEST_DATA_DIR "/pcap/" + name).value();
}

std::string ProblemsOf(const std::vector<Frame>& frames) {
  Report report;
  CheckCapture(frames, &report);
  std::string text;
  for (const Problem& problem : report.problems()) {
    text += report.ProblemText(problem) + "\n";
  }
  return text;
}

TEST(CaptureFileTest, ReadsAllFrames) {
  const std::vector<Frame> frames = Capture("rnbd.pcap");
  ASSERT_EQ(frames.size(), 132u);
  EXPECT_EQ(frames.front().number, 1);
  EXPECT_EQ(frames.back().number, 132);
  EXPECT_FALSE(frames.back().truncated);
}

TEST(CaptureFileTest, MissingFileIsNamed) {
  EXPECT_THAT(std::string(ReadCapture("/nonexistent.pcap").status().message()),
              HasSubstr("/nonexistent.pcap"));
}

TEST(CaptureFileTest, BigEndianFile) {
  std::vector<uint8_t> file = {0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4, 0, 0, 0, 0,
                               0,    0,    0,    0,    0, 0, 1, 0, 0, 0, 0, 1};
  for (const uint8_t b : {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3}) {
    file.push_back(b);
  }
  file.push_back(0xaa);
  file.push_back(0xbb);
  const auto frames = ParseCapture(file);
  ASSERT_TRUE(frames.ok()) << frames.status();
  ASSERT_EQ(frames->size(), 1u);
  EXPECT_THAT((*frames)[0].bytes, ElementsAre(0xaa, 0xbb));
  EXPECT_TRUE((*frames)[0].truncated);
  file.pop_back();
  EXPECT_THAT(std::string(ParseCapture(file).status().message()),
              HasSubstr("cut in frame 1"));
}

TEST(CaptureFileTest, OtherFormatsAreNamed) {
  std::vector<uint8_t> file(24);
  EXPECT_FALSE(ParseCapture(file).ok());
  file[0] = file[3] = 0x0a;
  file[1] = file[2] = 0x0d;
  EXPECT_THAT(std::string(ParseCapture(file).status().message()),
              HasSubstr("editcap"));
}

TEST(CaptureDamageTest, FlippedBitIsFound) {
  std::vector<Frame> frames = Capture("rnbd.pcap");
  frames[22].bytes[100] ^= 1;  // in INFO_REQ
  EXPECT_THAT(ProblemsOf(frames), HasSubstr("frame 23: RoCEv2 packet with bad "
                                            "ICRC"));
}

TEST(CaptureDamageTest, LostPacketIsFound) {
  std::vector<Frame> frames = Capture("rnbd.pcap");
  frames.erase(frames.begin() + 52);  // first packet of a read's data
  EXPECT_THAT(ProblemsOf(frames), HasSubstr("is missing"));
}

TEST(CaptureDamageTest, RepeatedPacketsDoNotMatter) {
  std::vector<Frame> frames = Capture("rnbd.pcap");
  std::vector<Frame> twice;
  for (const Frame& frame : frames) {
    twice.push_back(frame);
    twice.push_back(frame);
  }
  EXPECT_EQ(ProblemsOf(twice), "");
}

TEST(CaptureDamageTest, SnapshotLengthIsFound) {
  std::vector<Frame> frames = Capture("rnbd.pcap");
  frames[22].bytes.resize(96);
  frames[22].truncated = true;
  EXPECT_THAT(ProblemsOf(frames), HasSubstr("the capture cut this"));
}

TEST(CaptureDamageTest, FramesCutAnywhereDoNoHarm) {
  for (const Frame& frame : Capture("rnbd.pcap")) {
    Frame cut = frame;
    while (!cut.bytes.empty()) {
      cut.bytes.pop_back();
      const auto packet = ParseFrame(cut);
      if (packet.has_value()) {
        EXPECT_TRUE(packet->truncated);
      }
    }
  }
}

std::string Text(const TcpStream& stream) {
  return {stream.bytes().begin(), stream.bytes().end()};
}

void Add(TcpStream* stream, uint32_t sequence, const std::string& text) {
  stream->Add(sequence,
              absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()),
                                  text.size()));
}

TEST(TcpStreamTest, OrdersRepeatsAndOverlaps) {
  TcpStream stream;
  stream.Start(99);
  Add(&stream, 103, "def");
  EXPECT_EQ(Text(stream), "");
  EXPECT_TRUE(stream.has_gap());
  Add(&stream, 100, "abc");
  EXPECT_EQ(Text(stream), "abcdef");
  Add(&stream, 101, "bcdefgh");
  Add(&stream, 100, "ab");
  EXPECT_EQ(Text(stream), "abcdefgh");
  EXPECT_FALSE(stream.has_gap());
}

TEST(TcpStreamTest, SequenceNumbersWrap) {
  TcpStream stream;
  stream.Start(0xfffffffd);
  Add(&stream, 0xfffffffe, "abcd");
  Add(&stream, 2, "ef");
  EXPECT_EQ(Text(stream), "abcdef");
  stream.Consume(4);
  EXPECT_EQ(Text(stream), "ef");
}

TEST(TcpStreamTest, IgnoresBytesBeforeTheStart) {
  TcpStream stream;
  stream.Start(99);
  Add(&stream, 99, "x");  // a keep-alive probe
  EXPECT_EQ(Text(stream), "");
  Add(&stream, 100, "a");
  EXPECT_EQ(Text(stream), "a");
}

}  // namespace
}  // namespace rtrs::pcap
