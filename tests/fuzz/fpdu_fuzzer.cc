// The receiving side of softiwarp: FPDUs, segments, placement. The same stream
// is received at once and in pieces; both must end alike, byte for byte.
//
// Input: options, a seed for the cuts, then the stream. In the stream the STag
// a1b2c3d4 stands for registered memory, its offsets for offsets in it, so that
// seeds reach placement; the option kSealCrcs gives every FPDU the CRC of what
// it holds.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "rtrs/base/random.h"
#include "rtrs/fabric/completion_queue.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/softiwarp/byte_order.h"
#include "rtrs/fabric/softiwarp/crc32c.h"
#include "rtrs/fabric/softiwarp/inbound.h"
#include "rtrs/fabric/softiwarp/receiver.h"
#include "rtrs/fabric/softiwarp/recv_queue.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace rtrs::fabric;             // NOLINT(build/namespaces)
using namespace rtrs::fabric::softiwarp;  // NOLINT(build/namespaces)

enum Options : uint8_t {
  kCrc = 1,
  kSealCrcs = 2,
  kPairedImmediates = 4,
};
constexpr uint32_t kAnyStag = 0xa1b2c3d4;
constexpr size_t kRegion = 32 << 10;
constexpr uint32_t kReceives = 64;
constexpr uint32_t kReceiveSize = 256;
constexpr uint32_t kPd = 7;

// Gives a stream in pieces, then its end.
class PiecesStream : public ByteStream {
 public:
  // Pieces of random length, or all at once without `random`.
  PiecesStream(absl::Span<const uint8_t> bytes, rtrs::Random* random)
      : bytes_(bytes), random_(random) {}

  ssize_t Read(absl::Span<const iovec> to) override {
    size_t piece = bytes_.size();
    if (random_ != nullptr && piece > 0) {
      // Mostly a few bytes, now and then much.
      const uint64_t most = random_->Below(4) == 0 ? 70000 : 40;
      piece = std::min<uint64_t>(piece, 1 + random_->Below(most));
    }
    size_t done = 0;
    for (const iovec& part : to) {
      const size_t n = std::min(part.iov_len, piece - done);
      if (n > 0) std::memcpy(part.iov_base, bytes_.data() + done, n);
      done += n;
    }
    bytes_.remove_prefix(done);
    return static_cast<ssize_t>(done);
  }
  ssize_t Write(absl::Span<const iovec>) override { return -EPIPE; }
  int ConnectResult() override { return 0; }
  void ShutdownWrite() override {}
  void Abort() override {}
  const rtrs::SocketAddress& local_address() const override { return address_; }
  const rtrs::SocketAddress& peer_address() const override { return address_; }
  uint32_t max_segment() const override { return 1448; }
  bool stays_on_host() const override { return true; }

 private:
  absl::Span<const uint8_t> bytes_;
  rtrs::Random* random_;
  rtrs::SocketAddress address_;
};

// What a run left behind.
struct Result {
  Receiver::Outcome outcome = Receiver::Outcome::kIdle;
  Refusal refusal;
  TerminateCode terminate;
  uint64_t fpdus = 0;
  std::vector<WorkCompletion> completions;
  std::vector<uint8_t> region;
  std::vector<uint8_t> received;
};

bool Same(const WorkCompletion& a, const WorkCompletion& b) {
  return a.wr_id == b.wr_id && a.status == b.status && a.opcode == b.opcode &&
         a.flags == b.flags && a.byte_len == b.byte_len && a.imm == b.imm &&
         a.invalidated_rkey == b.invalidated_rkey;
}

// A receiver with a region that the peer may write, a region for receives, and
// receives posted.
class Side {
 public:
  explicit Side(RegionTable* table)
      : table_(table),
        cq_(kReceives, [](Cq*) {}),
        recvs_(table, kPd, &cq_, nullptr, kReceives),
        inbound_(table, kPd, &recvs_),
        receiver_(&inbound_),
        region_(kRegion),
        received_(kReceives * size_t{kReceiveSize}) {
    stag_ = table_
                ->Register(region_.data(), region_.size(),
                           kLocalWrite | kRemoteWrite, kPd)
                .value();
    lkey_ =
        table_->Register(received_.data(), received_.size(), kLocalWrite, kPd)
            .value();
    std::vector<RecvWr> list(kReceives);
    for (uint32_t i = 0; i < kReceives; ++i) {
      list[i] = {i, received_.data() + size_t{i} * kReceiveSize, kReceiveSize,
                 lkey_};
    }
    FUZZ_CHECK(recvs_.Post(list).ok());
  }
  ~Side() {
    table_->Deregister(stag_);
    table_->Deregister(lkey_);
  }

  Result Run(std::vector<uint8_t> bytes, uint8_t options,
             rtrs::Random* pieces) {
    Bind(absl::MakeSpan(bytes), (options & kSealCrcs) != 0);
    receiver_.set_crc((options & kCrc) != 0);
    inbound_.set_paired_immediates((options & kPairedImmediates) != 0);
    PiecesStream stream(bytes, pieces);
    Result result;
    do {
      result.outcome = receiver_.Pull(&stream);
    } while (result.outcome == Receiver::Outcome::kProgress);
    if (result.outcome == Receiver::Outcome::kRefused) {
      result.refusal = receiver_.refusal();
      FUZZ_CHECK(receiver_.offender().size() <= kMaxHeaderSize);
    }
    if (result.outcome == Receiver::Outcome::kTerminated) {
      result.terminate = inbound_.terminate().code;
    }
    result.fpdus = receiver_.fpdus();
    std::array<WorkCompletion, kReceives> wcs;
    const int n = cq_.Poll(absl::MakeSpan(wcs));
    result.completions.assign(wcs.begin(), wcs.begin() + n);
    for (WorkCompletion& wc : result.completions) {
      FUZZ_CHECK(wc.opcode != WcOpcode::kRecv || wc.byte_len <= kReceiveSize);
      // Every side has its own.
      if (wc.invalidated_rkey == stag_) wc.invalidated_rkey = kAnyStag;
    }
    result.region = region_;
    result.received = received_;
    return result;
  }

 private:
  // Puts this side's STag, its addresses and perhaps CRCs into `bytes`.
  void Bind(absl::Span<uint8_t> bytes, bool seal) {
    size_t at = 0;
    Framing framing;
    while (bytes.size() - at >= kFpduPrefixSize &&
           !ParseFraming(&bytes[at], &framing).has_value() &&
           bytes.size() - at >= framing.fpdu_size) {
      uint8_t* fpdu = &bytes[at];
      constexpr size_t kStag = 4;
      constexpr size_t kOffset = 8;
      if (GetBe32(fpdu + kStag) == kAnyStag) {
        PutBe32(fpdu + kStag, stag_);
        if (framing.header_size == kLengthFieldSize + kTaggedHeaderSize) {
          PutBe64(fpdu + kOffset,
                  GetBe64(fpdu + kOffset) +
                      reinterpret_cast<uint64_t>(region_.data()));
        }
      }
      if (seal) {
        Crc32c crc;
        crc.Add(fpdu, framing.fpdu_size - kCrcSize);
        PutLe32(fpdu + framing.fpdu_size - kCrcSize, crc.value());
      }
      at += framing.fpdu_size;
    }
  }

  RegionTable* table_;
  Cq cq_;
  RecvQueue recvs_;
  Inbound inbound_;
  Receiver receiver_;
  std::vector<uint8_t> region_;
  std::vector<uint8_t> received_;
  uint32_t stag_ = 0;
  uint32_t lkey_ = 0;
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::vector<uint8_t> bytes(data + 2, data + size);
  // Made once, it is large.
  static rtrs::SeededRandom random(1);
  static RegionTable table(&random);
  rtrs::SeededRandom cuts(data[1]);
  const Result whole = Side(&table).Run(bytes, data[0], nullptr);
  const Result pieces = Side(&table).Run(bytes, data[0], &cuts);
  FUZZ_CHECK(whole.outcome == pieces.outcome);
  FUZZ_CHECK(whole.refusal == pieces.refusal);
  FUZZ_CHECK(whole.terminate == pieces.terminate);
  FUZZ_CHECK(whole.fpdus == pieces.fpdus);
  FUZZ_CHECK(whole.completions.size() == pieces.completions.size());
  for (size_t i = 0; i < whole.completions.size(); ++i) {
    FUZZ_CHECK(Same(whole.completions[i], pieces.completions[i]));
  }
  FUZZ_CHECK(whole.region == pieces.region);
  FUZZ_CHECK(whole.received == pieces.received);
  return 0;
}
