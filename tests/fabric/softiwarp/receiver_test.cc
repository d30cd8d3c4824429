// The Receiver finds the same FPDUs however the bytes are split.
#include "rtrs/fabric/softiwarp/receiver.h"

#include <gtest/gtest.h>

#include <deque>

#include "tests/fabric/softiwarp/golden.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {
namespace {

// Gives out the chunks it was fed, one per Read at most.
class ScriptedStream : public ByteStream {
 public:
  void Feed(Bytes chunk) {
    if (!chunk.empty()) chunks_.push_back(std::move(chunk));
  }
  ssize_t Read(absl::Span<const iovec> to) override {
    if (chunks_.empty()) return -EAGAIN;
    Bytes& chunk = chunks_.front();
    size_t done = 0;
    for (const iovec& part : to) {
      const size_t n = std::min(part.iov_len, chunk.size() - done);
      memcpy(part.iov_base, chunk.data() + done, n);
      done += n;
    }
    if (to.size() > 1 && done > 0) ++direct_reads;
    const size_t in_place = to.size() > 1 ? to[0].iov_len : 0;
    buffered += done - std::min(done, in_place);
    chunk.erase(chunk.begin(), chunk.begin() + static_cast<ssize_t>(done));
    if (chunk.empty()) chunks_.pop_front();
    return static_cast<ssize_t>(done);
  }
  bool empty() const { return chunks_.empty(); }
  ssize_t Write(absl::Span<const iovec> /*from*/) override { return -EPIPE; }
  int ConnectResult() override { return 0; }
  void ShutdownWrite() override {}
  void Abort() override {}
  const SocketAddress& local_address() const override { return address_; }
  const SocketAddress& peer_address() const override { return address_; }
  uint32_t max_segment() const override { return 1448; }
  bool stays_on_host() const override { return true; }

  int direct_reads = 0;
  size_t buffered = 0;  // bytes that went elsewhere

 private:
  SocketAddress address_;
  std::deque<Bytes> chunks_;
};

constexpr uint32_t kPd = 1;
constexpr size_t kRecvSize = 64;

// A receiver with 8 receives and a region for Writes.
struct Sink {
  explicit Sink(bool crc) : memory(256 << 10) {
    stag = *table.Register(memory.data(), memory.size(),
                           kLocalWrite | kRemoteWrite, kPd);
    inbound.set_paired_immediates(true);
    receiver.set_crc(crc);
    for (uint64_t i = 0; i < 8; ++i) {
      const RecvWr recv = {i, &memory[i * kRecvSize], kRecvSize, stag};
      EXPECT_TRUE(recvs.Post({&recv, 1}).ok());
    }
  }
  ~Sink() { table.Deregister(stag); }

  // Until the stream is dry; the last outcome that was no progress.
  Receiver::Outcome Drain() {
    for (;;) {
      const Receiver::Outcome outcome = receiver.Pull(&stream);
      if (outcome == Receiver::Outcome::kIdle && !stream.empty()) continue;
      if (outcome != Receiver::Outcome::kProgress) return outcome;
    }
  }
  std::vector<WorkCompletion> Completions() {
    std::vector<WorkCompletion> wcs(16);
    wcs.resize(static_cast<size_t>(cq.Poll(absl::MakeSpan(wcs))));
    return wcs;
  }
  FpduHeader Write(size_t at, bool last = true) const {
    FpduHeader header;
    header.tagged = true;
    header.last = last;
    header.opcode = Opcode::kWrite;
    header.stag = stag;
    header.offset = reinterpret_cast<uint64_t>(memory.data()) + at;
    return header;
  }

  Bytes memory;
  SeededRandom random{3};
  RegionTable table{&random};
  uint32_t stag;
  Cq cq{64, [](Cq*) {}};
  RecvQueue recvs{&table, kPd, &cq, nullptr, 8};
  Inbound inbound{&table, kPd, &recvs};
  Receiver receiver{&inbound};
  ScriptedStream stream;
};

// E4, E6, E13 with MSNs that follow each other, an E7 that invalidates, an E8
// and an E14 that write: one stream with each kind of message.
Bytes EveryKind(const Sink& sink, bool crc) {
  FpduHeader send;
  send.msn = 1;
  FpduHeader immediate;
  immediate.opcode = Opcode::kImmediate;
  immediate.msn = 2;
  FpduHeader paired = immediate;
  paired.msn = 3;
  FpduHeader paired_send;
  paired_send.msn = 4;
  FpduHeader hello;
  hello.msn = 5;
  FpduHeader invalidate;
  invalidate.opcode = Opcode::kSendInvalidate;
  invalidate.msn = 6;
  invalidate.invalidate_stag = sink.stag;
  FpduHeader rtr;
  rtr.tagged = true;
  rtr.opcode = Opcode::kWrite;
  return Fpdu(rtr, {}, crc) + Fpdu(send, Hex("1122334455667788"), crc) +
         Fpdu(sink.Write(4096, false), Bytes(8), crc) +
         Fpdu(sink.Write(4104), {1, 2, 3}, crc) +
         Fpdu(immediate, Hex("2000000500000000"), crc) +
         Fpdu(paired, Hex("2000000600000001"), crc) +
         Fpdu(paired_send, Hex("0400050078563412"), crc) +
         Fpdu(hello, Hex("68656c6c6f"), crc) + Fpdu(invalidate, {}, crc);
}

void ExpectEveryKind(Sink* sink) {
  const std::vector<WorkCompletion> wcs = sink->Completions();
  ASSERT_EQ(wcs.size(), 5U);
  EXPECT_EQ(wcs[0].byte_len, 8U);
  EXPECT_EQ(wcs[1].imm, 0x20000005U);
  EXPECT_EQ(wcs[1].byte_len, 11U);
  EXPECT_EQ(wcs[2].imm, 0x20000006U);
  EXPECT_EQ(wcs[2].opcode, WcOpcode::kRecv);
  EXPECT_EQ(wcs[3].byte_len, 5U);
  EXPECT_EQ(wcs[4].invalidated_rkey, sink->stag);
  const auto at = [&](size_t from, size_t length) {
    const auto begin = sink->memory.begin() + static_cast<ssize_t>(from);
    return Bytes(begin, begin + static_cast<ssize_t>(length));
  };
  EXPECT_EQ(at(0, 8), Hex("1122334455667788"));
  EXPECT_EQ(at(2 * kRecvSize, 8), Hex("0400050078563412"));
  EXPECT_EQ(at(3 * kRecvSize, 5), Hex("68656c6c6f"));
  EXPECT_EQ(at(4096, 11), Hex("0000000000000000010203"));
  EXPECT_TRUE(sink->receiver.at_boundary());
}

class ReceiverTest : public ::testing::TestWithParam<bool> {
 protected:
  bool crc() const { return GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Crc, ReceiverTest, ::testing::Bool());

TEST_P(ReceiverTest, EverySplitInTwo) {
  const size_t size = EveryKind(Sink(crc()), crc()).size();
  for (size_t split = 0; split <= size; ++split) {
    Sink sink(crc());
    const Bytes bytes = EveryKind(sink, crc());
    sink.stream.Feed(
        Bytes(bytes.begin(), bytes.begin() + static_cast<ssize_t>(split)));
    sink.stream.Feed(
        Bytes(bytes.begin() + static_cast<ssize_t>(split), bytes.end()));
    ASSERT_EQ(sink.Drain(), Receiver::Outcome::kIdle) << split;
    ExpectEveryKind(&sink);
    if (HasFailure()) FAIL() << "split at " << split;
  }
}

TEST_P(ReceiverTest, OneByteAtATime) {
  Sink sink(crc());
  for (uint8_t byte : EveryKind(sink, crc())) sink.stream.Feed({byte});
  ASSERT_EQ(sink.Drain(), Receiver::Outcome::kIdle);
  ExpectEveryKind(&sink);
}

TEST_P(ReceiverTest, RandomSplits) {
  SeededRandom random(42);
  for (int round = 0; round < 300; ++round) {
    Sink sink(crc());
    Bytes bytes = EveryKind(sink, crc());
    while (!bytes.empty()) {
      const auto n =
          static_cast<ssize_t>(1 + random.Below(std::min<size_t>(
                                       bytes.size(), 1 + random.Below(60))));
      sink.stream.Feed(Bytes(bytes.begin(), bytes.begin() + n));
      bytes.erase(bytes.begin(), bytes.begin() + n);
    }
    ASSERT_EQ(sink.Drain(), Receiver::Outcome::kIdle);
    ExpectEveryKind(&sink);
    if (HasFailure()) FAIL() << "round " << round;
  }
}

// Payloads around the direct threshold and the size of the buffer.
TEST_P(ReceiverTest, LargePayloadsInPiecesOfEverySize) {
  for (size_t piece : {1000U, 4096U, 8192U, 20000U, 65536U, 200000U}) {
    Sink sink(crc());
    const Bytes data = Counting(64752, 1);
    Bytes bytes;
    for (size_t i = 0; i < 3; ++i) {
      bytes = bytes + Fpdu(sink.Write(4096 + i * 64752, i == 2), data, crc());
    }
    FpduHeader immediate;
    immediate.opcode = Opcode::kImmediate;
    immediate.msn = 1;
    bytes = bytes + Fpdu(immediate, Hex("0000000700000000"), crc());
    for (size_t at = 0; at < bytes.size(); at += piece) {
      const size_t end = std::min(bytes.size(), at + piece);
      sink.stream.Feed(Bytes(bytes.begin() + static_cast<ssize_t>(at),
                             bytes.begin() + static_cast<ssize_t>(end)));
    }
    ASSERT_EQ(sink.Drain(), Receiver::Outcome::kIdle);
    const std::vector<WorkCompletion> wcs = sink.Completions();
    ASSERT_EQ(wcs.size(), 1U);
    EXPECT_EQ(wcs[0].byte_len, 3 * 64752U);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(std::equal(
          data.begin(), data.end(),
          sink.memory.begin() + static_cast<ssize_t>(4096 + i * 64752)));
    }
    if (crc()) {
      EXPECT_EQ(sink.stream.direct_reads, 0) << "placed before it was verified";
    } else {
      EXPECT_GT(sink.stream.direct_reads, 0);
    }
  }
}

// Messages of 128 KiB end with a segment of less than 2 KiB.
TEST_P(ReceiverTest, ShortEndOfALargeMessageDoesNotMakeTheNextOneBuffered) {
  if (crc()) return;
  constexpr size_t kMessages = 8;
  constexpr size_t kFull = 64752;
  constexpr size_t kEnd = (128 << 10) - 2 * kFull;
  Sink sink(false);
  Bytes bytes;
  for (size_t i = 0; i < kMessages; ++i) {
    bytes = bytes + Fpdu(sink.Write(4096, false), Counting(kFull), false) +
            Fpdu(sink.Write(4096 + kFull, false), Counting(kFull), false) +
            Fpdu(sink.Write(4096 + 2 * kFull), Counting(kEnd), false);
  }
  sink.stream.Feed(bytes);
  ASSERT_EQ(sink.Drain(), Receiver::Outcome::kIdle);
  EXPECT_EQ(sink.receiver.fpdus(), 3 * kMessages);
  // The first comes unexpected.
  EXPECT_LT(sink.stream.buffered, (128 << 10) + kMessages * (kEnd + 1024));
}

TEST_P(ReceiverTest, CorruptionAnywhereIsCaught) {
  if (!crc()) return;
  Sink good(true);
  FpduHeader header = good.Write(4096);
  const size_t size = Fpdu(header, Counting(32, 1), true).size();
  for (size_t bit = 0; bit < size * 8; ++bit) {
    Sink sink(true);
    Bytes bytes = Fpdu(sink.Write(4096), Counting(32, 1), true);
    bytes[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    sink.stream.Feed(bytes);
    const Receiver::Outcome outcome = sink.Drain();
    // A longer length waits for the rest; all else is refused at once.
    EXPECT_TRUE(outcome == Receiver::Outcome::kRefused ||
                (outcome == Receiver::Outcome::kIdle && bit < 16))
        << bit;
    EXPECT_EQ(sink.memory, Bytes(sink.memory.size()));
  }
}

TEST_P(ReceiverTest, GarbageNeverGetsThrough) {
  SeededRandom random(9);
  for (int round = 0; round < 2000; ++round) {
    Sink sink(crc());
    Bytes bytes = EveryKind(sink, crc());
    // Garbage, or a stream with some bytes changed.
    if (round % 2 == 0) {
      random.Fill(absl::MakeSpan(bytes));
    } else {
      for (uint64_t i = 1 + random.Below(3); i > 0; --i) {
        bytes[random.Below(bytes.size())] ^=
            static_cast<uint8_t>(1 + random.Below(255));
      }
    }
    sink.stream.Feed(bytes);
    const Receiver::Outcome outcome = sink.Drain();
    // After a refusal nothing more is taken.
    if (outcome == Receiver::Outcome::kRefused) {
      const uint64_t before = sink.receiver.fpdus();
      sink.stream.Feed(EveryKind(sink, crc()));
      sink.Drain();
      EXPECT_EQ(sink.receiver.fpdus(), before);
    }
  }
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
