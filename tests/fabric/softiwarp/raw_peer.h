// A peer that speaks bytes: for golden frames and hostile input.
#ifndef TESTS_FABRIC_SOFTIWARP_RAW_PEER_H_
#define TESTS_FABRIC_SOFTIWARP_RAW_PEER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "rtrs/fabric/softiwarp/byte_order.h"
#include "rtrs/fabric/softiwarp/crc32c.h"
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/mpa.h"
#include "rtrs/fabric/softiwarp/terminate.h"
#include "tests/fabric/softiwarp/harness.h"

namespace rtrs::fabric::softiwarp {

// "00 1a 41" and line breaks between bytes.
inline Bytes Hex(absl::string_view text) {
  const std::string raw = absl::HexStringToBytes(
      absl::StrReplaceAll(text, {{" ", ""}, {"\n", ""}}));
  return Bytes(raw.begin(), raw.end());
}

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A whole FPDU; `header.payload` is set from `payload`.
inline Bytes Fpdu(FpduHeader header, const Bytes& payload, bool with_crc) {
  header.payload = static_cast<uint32_t>(payload.size());
  Bytes out(kMaxHeaderSize);
  out.resize(EncodeFpduHeader(header, out.data()));
  out = out + payload;
  out.resize(out.size() + header.pad());
  Crc32c crc;
  crc.Add(out.data(), out.size());
  out.resize(out.size() + kCrcSize);
  if (with_crc) PutLe32(&out[out.size() - kCrcSize], crc.value());
  return out;
}

// Repairs the CRC after a change to the bytes.
inline Bytes WithCrc(Bytes fpdu) {
  Crc32c crc;
  crc.Add(fpdu.data(), fpdu.size() - kCrcSize);
  PutLe32(&fpdu[fpdu.size() - kCrcSize], crc.value());
  return fpdu;
}

inline MpaFrame RequestFrame(bool crc, Bytes user_data = {}) {
  MpaFrame frame;
  frame.crc = crc;
  frame.enhanced.emplace().peer_to_peer = true;
  frame.enhanced->rtr_write = true;
  frame.capabilities.emplace();
  frame.user_data = std::move(user_data);
  return frame;
}

class RawPeer {
 public:
  explicit RawPeer(std::unique_ptr<ByteStream> stream)
      : stream_(std::move(stream)) {}

  void Write(const Bytes& bytes) {
    const iovec part = {const_cast<uint8_t*>(bytes.data()), bytes.size()};
    ASSERT_EQ(stream_->Write({&part, 1}), static_cast<ssize_t>(bytes.size()));
  }
  // All that came since the last Read.
  Bytes Read() {
    Bytes all;
    for (;;) {
      uint8_t chunk[4096];
      const iovec part = {chunk, sizeof(chunk)};
      last_ = stream_->Read({&part, 1});
      if (last_ <= 0) return all;
      all.insert(all.end(), chunk, chunk + last_);
    }
  }
  // The last Read met the end of the stream.
  bool at_end() const { return last_ == 0; }
  bool was_reset() const { return last_ == -ECONNRESET; }
  void End() { stream_->ShutdownWrite(); }
  void Close() { stream_.reset(); }
  void Reset() {
    stream_->Abort();
    stream_.reset();
  }

 private:
  std::unique_ptr<ByteStream> stream_;
  ssize_t last_ = -EAGAIN;
};

// A raw initiator against server_, or a raw responder against client_.
class RawPeerTest : public SoftiwarpTest {
 protected:
  explicit RawPeerTest(SoftiwarpOptions::Crc crc = SoftiwarpOptions::Crc::kOff)
      : SoftiwarpTest(crc) {}

  std::unique_ptr<RawPeer> Dial() {
    return std::make_unique<RawPeer>(*memory_.Connect({}, address_));
  }
  // A connection to server_qp_ that is through with set-up.
  void EstablishRaw(bool crc = false) {
    raw_ = Dial();
    raw_->Write(EncodeMpaFrame(RequestFrame(crc)));
    Run();
    ASSERT_EQ(server_->Count(CmEvent::Type::kConnectRequest), 1);
    server_qp_ = server_->NewQp();
    ASSERT_TRUE(server_qp_->Accept(TakeRequest(), {}).ok());
    Run();
    MpaFrame reply;
    const Bytes bytes = raw_->Read();
    ASSERT_EQ(ParseMpaFrame(bytes, true, &reply).result,
              MpaParse::Result::kDone);
    ASSERT_FALSE(reply.rejected);
    FpduHeader rtr;
    rtr.tagged = true;
    rtr.opcode = Opcode::kWrite;
    raw_->Write(Fpdu(rtr, {}, crc));
    Run();
    ASSERT_EQ(server_->Count(CmEvent::Type::kEstablished), 1);
    server_->events.clear();
  }

  std::unique_ptr<RawPeer> raw_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // TESTS_FABRIC_SOFTIWARP_RAW_PEER_H_
