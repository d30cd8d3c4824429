// iWARP over TCP over IPv6, built by hand: what fits is read to the end, and
// what does not is said.
#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/fabric/softiwarp/crc32c.h"
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/mpa.h"
#include "rtrs/fabric/softiwarp/terminate.h"
#include "rtrs/wire/coding.h"
#include "rtrs/wire/immediate.h"
#include "rtrs/wire/rnbd_messages.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/pcap/checker.h"

namespace rtrs::pcap {
namespace {

namespace iwarp = ::rtrs::fabric::softiwarp;
using ::testing::HasSubstr;
using ::testing::StrEq;
using Bytes = std::vector<uint8_t>;

constexpr uint32_t kChunkSize = 8192;
constexpr uint64_t kChunks = 0x10000;
constexpr uint32_t kRkey = 0x77;

// TCP connections of one client to one server, as frames.
class TcpCapture {
 public:
  explicit TcpCapture(size_t segment = 1400) : segment_(segment) {}

  // A connection of client port `port`.
  void Connect(uint16_t port) {
    Add(port, Sender::kClient, kSyn, {});
    Add(port, Sender::kServer, kSyn | kAck, {});
    next_[0] = next_[1] = 1;
  }
  void Stream(uint16_t port, Sender sender, const Bytes& bytes) {
    for (size_t at = 0; at < bytes.size(); at += segment_) {
      const size_t n = std::min(segment_, bytes.size() - at);
      const auto begin = bytes.begin() + static_cast<ptrdiff_t>(at);
      Add(port, sender, kAck, {begin, begin + static_cast<ptrdiff_t>(n)});
    }
  }
  void Finish(uint16_t port) { Add(port, Sender::kClient, kFin | kAck, {}); }

  std::vector<Frame> frames;

 private:
  static constexpr uint8_t kFin = 1;
  static constexpr uint8_t kSyn = 2;
  static constexpr uint8_t kAck = 16;

  void Add(uint16_t port, Sender sender, uint8_t flags, const Bytes& payload) {
    constexpr size_t kIp = 40;
    constexpr size_t kTcp = 20;
    constexpr uint32_t kRaw = 101;
    constexpr uint16_t kServerPort = 1234;
    const bool client = sender == Sender::kClient;
    uint32_t& next = next_[static_cast<int>(sender)];
    if ((flags & kSyn) != 0) next = 0;
    Frame frame;
    frame.number = static_cast<int>(frames.size()) + 1;
    frame.link_type = kRaw;
    frame.bytes.resize(kIp + kTcp);
    uint8_t* ip = frame.bytes.data();
    ip[0] = 0x60;
    wire::PutBe<uint16_t>(ip + 4, static_cast<uint16_t>(kTcp + payload.size()));
    ip[6] = 6;
    ip[23] = client ? 1 : 2;
    ip[39] = client ? 2 : 1;
    uint8_t* tcp = ip + kIp;
    wire::PutBe<uint16_t>(tcp, client ? port : kServerPort);
    wire::PutBe<uint16_t>(tcp + 2, client ? kServerPort : port);
    wire::PutBe<uint32_t>(tcp + 4, next);
    tcp[12] = 0x50;
    tcp[13] = flags;
    frame.bytes.insert(frame.bytes.end(), payload.begin(), payload.end());
    next += static_cast<uint32_t>(payload.size());
    frames.push_back(std::move(frame));
  }

  size_t segment_;
  uint32_t next_[2] = {0, 0};  // one connection talks at a time
};

Bytes Fpdu(const iwarp::FpduHeader& header, absl::Span<const uint8_t> payload) {
  iwarp::FpduHeader v = header;
  v.payload = static_cast<uint32_t>(payload.size());
  Bytes out(v.size());
  iwarp::EncodeFpduHeader(v, out.data());
  out.insert(out.end(), payload.begin(), payload.end());
  out.resize(out.size() + v.pad());
  iwarp::Crc32c crc;
  crc.Add(out.data(), out.size());
  out.resize(out.size() + iwarp::kCrcSize);
  wire::PutLe<uint32_t>(&out[out.size() - iwarp::kCrcSize], crc.value());
  return out;
}

// One iWARP connection of the capture.
class Connection {
 public:
  Connection(TcpCapture* tcp, uint16_t port) : tcp_(tcp), port_(port) {}

  void SetUp(uint16_t cid) {
    tcp_->Connect(port_);
    wire::ConnectRequest request;
    request.cid = cid;
    request.cid_num = 1;
    request.recon_cnt = 1;
    request.first_conn = true;
    Mpa(Sender::kClient, Encode(request));
    wire::ConnectResponse response;
    response.queue_depth = 4;
    response.max_io_size = 4096;
    response.max_hdr_size = kChunkSize - 4096;
    response.flags = wire::ConnectResponse::kFlagNewRkey;
    Mpa(Sender::kServer, Encode(response));
    // The ready-to-receive message.
    Write(Sender::kClient, 0, 0, {});
  }

  void Mpa(Sender sender, absl::Span<const uint8_t> data) {
    iwarp::MpaFrame frame;
    frame.reply = sender == Sender::kServer;
    frame.crc = true;
    frame.enhanced.emplace().peer_to_peer = true;
    frame.capabilities.emplace();
    frame.user_data.assign(data.begin(), data.end());
    tcp_->Stream(port_, sender, EncodeMpaFrame(frame));
  }

  void Write(Sender sender, uint64_t address, uint32_t rkey,
             absl::Span<const uint8_t> bytes) {
    iwarp::FpduHeader header;
    header.tagged = true;
    header.opcode = iwarp::Opcode::kWrite;
    header.stag = rkey;
    // In segments of 1000 bytes.
    for (size_t at = 0;;) {
      const absl::Span<const uint8_t> part = bytes.subspan(at, 1000);
      header.offset = address + at;
      at += part.size();
      header.last = at == bytes.size();
      tcp_->Stream(port_, sender, Fpdu(header, part));
      if (header.last) break;
    }
  }

  void Untagged(Sender sender, iwarp::Opcode opcode,
                absl::Span<const uint8_t> bytes, uint32_t invalidate = 0) {
    iwarp::FpduHeader header;
    header.opcode = opcode;
    header.msn = ++msn_[static_cast<int>(sender)];
    header.invalidate_stag = invalidate;
    tcp_->Stream(port_, sender, Fpdu(header, bytes));
  }

  void Immediate(Sender sender, uint32_t imm, bool paired = false) {
    uint8_t payload[8] = {};
    wire::PutBe<uint32_t>(payload, imm);
    payload[7] = paired ? 1 : 0;
    Untagged(sender, iwarp::Opcode::kImmediate, payload);
  }

  void Respond(uint16_t buf_id, uint32_t rkey) {
    Immediate(Sender::kServer, wire::EncodeIoResponseImm({buf_id, 0, false}),
              true);
    Untagged(Sender::kServer, iwarp::Opcode::kSend,
             Encode(wire::RkeyResponse{buf_id, rkey}));
  }

  // SESS_INFO through chunk 0, the only thing that one connection may do.
  void SessInfo(uint32_t chunk_rkey) {
    Bytes request;
    const auto user = rnbd::wire::EncodeSessInfo({2});
    request.assign(user.begin(), user.end());
    request.resize(user.size() + wire::IoHeader::kMaxSize);
    wire::EncodeIoHeader(
        {wire::RtrsType::kRead, 36, false, true, {0x5000, 9, 36}},
        &request[user.size()]);
    Write(Sender::kClient, kChunks + 36, chunk_rkey, request);
    Immediate(Sender::kClient, 72);
    Write(Sender::kServer, 0x5000, 9, rnbd::wire::EncodeSessInfoRsp({2}));
  }

  TcpCapture* tcp_;
  uint16_t port_;
  uint32_t msn_[2] = {0, 0};
};

std::string ProblemsOf(const TcpCapture& tcp, Report* report) {
  CheckCapture(tcp.frames, report);
  std::string text;
  for (const Problem& problem : report->problems()) {
    text += problem.text + "\n";
  }
  return text;
}

std::string ProblemsOf(const TcpCapture& tcp) {
  Report report;
  return ProblemsOf(tcp, &report);
}

Connection Connected(TcpCapture* tcp) {
  Connection c(tcp, 4000);
  c.SetUp(0);
  c.Untagged(Sender::kClient, iwarp::Opcode::kSend,
             Encode(wire::InfoRequest{"clt"}));
  c.Untagged(Sender::kServer, iwarp::Opcode::kSend,
             Encode(wire::InfoResponse{{{kChunks, kRkey, 4 * kChunkSize}}}));
  return c;
}

TEST(IwarpDecoderTest, ConversationFits) {
  for (const size_t segment : {1, 7, 64, 1400, 65000}) {
    TcpCapture tcp(segment);
    Connection c = Connected(&tcp);
    c.SessInfo(kRkey);
    c.Respond(0, 0x88);
    c.SessInfo(0x88);
    c.Respond(0, 0x99);
    c.Immediate(Sender::kServer, wire::kHeartbeatImm);
    c.Immediate(Sender::kClient, wire::kHeartbeatAckImm);
    tcp.Finish(4000);
    Report report;
    EXPECT_THAT(ProblemsOf(tcp, &report), StrEq(""));
    ASSERT_EQ(report.connections().size(), 1u);
    const ConnectionSummary& summary = report.connections()[0];
    EXPECT_STREQ(summary.endpoints.fabric, "iWARP");
    EXPECT_EQ(summary.endpoints.client.ToString(), "[::1]:4000");
    EXPECT_EQ(summary.session_name, "clt");
    EXPECT_EQ(summary.state, "closed");
    EXPECT_EQ(summary.requests.at("SESS_INFO"), 2);
    EXPECT_EQ(summary.responses, 2);
  }
}

TEST(IwarpDecoderTest, OtherProtocolsAreLeftAlone) {
  TcpCapture tcp;
  tcp.Connect(5000);
  tcp.Stream(5000, Sender::kClient, {'G', 'E', 'T', ' ', '/'});
  Report report;
  EXPECT_THAT(ProblemsOf(tcp, &report), StrEq(""));
  EXPECT_TRUE(report.connections().empty());
}

TEST(IwarpDecoderTest, Rejection) {
  TcpCapture tcp;
  Connection c(&tcp, 4000);
  tcp.Connect(4000);
  wire::ConnectRequest request;
  request.cid_num = 1;
  request.recon_cnt = 1;
  c.Mpa(Sender::kClient, Encode(request));
  iwarp::MpaFrame reply;
  reply.reply = true;
  reply.rejected = true;
  wire::ConnectResponse response;
  response.error = 6;
  const auto data = Encode(response);
  reply.user_data.assign(data.begin(), data.end());
  tcp.Stream(4000, Sender::kServer, EncodeMpaFrame(reply));
  Report report;
  EXPECT_THAT(ProblemsOf(tcp, &report), StrEq(""));
  EXPECT_EQ(report.connections()[0].state, "rejected with errno 6");
}

TEST(IwarpDecoderTest, BadCrc) {
  TcpCapture tcp;
  Connected(&tcp);
  tcp.frames.back().bytes.back() ^= 1;
  EXPECT_THAT(ProblemsOf(tcp), HasSubstr("bad CRC"));
}

TEST(IwarpDecoderTest, MessageNumberThatSkips) {
  TcpCapture tcp;
  Connection c = Connected(&tcp);
  ++c.msn_[static_cast<int>(Sender::kClient)];
  c.Immediate(Sender::kClient, wire::kHeartbeatImm);
  EXPECT_THAT(ProblemsOf(tcp), HasSubstr("message 3 where 2 was expected"));
}

TEST(IwarpDecoderTest, LostSegment) {
  TcpCapture tcp;
  Connection c = Connected(&tcp);
  c.SessInfo(kRkey);
  c.Respond(0, 0x88);
  tcp.frames.erase(tcp.frames.end() - 2);
  EXPECT_THAT(ProblemsOf(tcp), HasSubstr("lacks bytes"));
}

TEST(IwarpDecoderTest, Terminate) {
  TcpCapture tcp;
  Connected(&tcp);
  iwarp::FpduHeader header;
  header.opcode = iwarp::Opcode::kTerminate;
  header.queue_number = iwarp::kTerminateQueueNumber;
  header.msn = 1;
  tcp.Stream(4000, Sender::kServer,
             Fpdu(header, iwarp::EncodeTerminate(iwarp::kTaggedBounds, {})));
  EXPECT_THAT(ProblemsOf(tcp), HasSubstr("Terminate 1/1/01"));
}

TEST(IwarpDecoderTest, StaleRkeyIsFound) {
  TcpCapture tcp;
  Connection c = Connected(&tcp);
  c.SessInfo(kRkey);
  c.Respond(0, 0x88);
  c.SessInfo(kRkey);
  EXPECT_THAT(ProblemsOf(tcp), HasSubstr("with rkey 0x77, it has 0x88"));
}

}  // namespace
}  // namespace rtrs::pcap
