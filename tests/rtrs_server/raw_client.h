// A client that speaks RTRS byte by byte, for tests of the server: it sends
// what it is told, well formed or not, and reports what comes back.
//
// One RawClient is one path. Everything blocks until it happened, by calling
// the `pump` that it is given (which steps the server, or waits).
#ifndef TESTS_RTRS_SERVER_RAW_CLIENT_H_
#define TESTS_RTRS_SERVER_RAW_CLIENT_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/base/uuid.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/wire/immediate.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {

class RawClient {
 public:
  // `pump` gets the client's channel; false gives up waiting.
  using Pump = std::function<bool(fabric::EventChannel* channel)>;

  RawClient(fabric::Fabric* fabric, const SocketAddress& server, Pump pump);
  ~RawClient();

  // What connects carry and where they come from; change before connecting.
  wire::ConnectRequest request;
  std::string source = "127.0.0.1";
  size_t receives = 512;           // kept posted on each connection
  bool answer_heartbeats = false;  // instead of handing them out

  struct Reply {
    bool accepted = false;
    bool rejected = false;
    int error = 0;  // positive errno of the rejection
    wire::ConnectResponse response;
  };
  // Connects `cid` with the fields of `request`.
  Reply Connect(uint16_t cid);
  // Connects with these bytes as private data; the connection gets number
  // `cid` here.
  Reply ConnectRaw(uint16_t cid, absl::Span<const uint8_t> private_data);
  // All connections of the path; true if all were accepted.
  bool ConnectAll(uint16_t cid_num);

  // SENDs `bytes` on `cid`.
  void Send(uint16_t cid, absl::Span<const uint8_t> bytes);
  // INFO_REQ on cid 0; true if the INFO_RSP came, whose regions are kept: one,
  // or with NEW_RKEY one for each chunk.
  bool Info(const std::string& sessname);
  // ConnectAll and Info.
  bool Establish(uint16_t cid_num, const std::string& sessname);

  // Writes `bytes` at `offset` of chunk `buf_id`, with immediate `imm`.
  void WriteChunk(uint16_t cid, uint32_t buf_id, uint32_t offset,
                  absl::Span<const uint8_t> bytes, uint32_t imm);
  // A well-formed WRITE with `data` and a user message.
  void SendWrite(uint16_t cid, uint32_t buf_id, absl::Span<const uint8_t> data,
                 absl::Span<const uint8_t> user);
  struct ReadOptions {
    uint32_t data_len = 0;    // where the message lies in the chunk
    uint32_t descriptor = 0;  // length of the client's buffer; 0: none
    bool need_inval = false;
  };
  // A well-formed READ into read_buffer().
  void SendRead(uint16_t cid, uint32_t buf_id, absl::Span<const uint8_t> user,
                const ReadOptions& options);
  // A message header of any contents behind `before` bytes of chunk 0.
  void SendHeader(uint16_t cid, uint32_t buf_id, uint32_t off,
                  absl::Span<const uint8_t> header);
  void SendImm(uint16_t cid, uint32_t imm);

  // Responses with an RKEY_RSP, whose rkeys are kept.
  bool new_rkey() const {
    return (flags_ & wire::ConnectResponse::kFlagNewRkey) != 0;
  }
  // Chunk `buf_id` under this rkey from now on.
  void set_chunk_rkey(uint32_t buf_id, uint32_t rkey) {
    regions_[buf_id].rkey = rkey;
  }
  uint32_t chunk_rkey(uint32_t buf_id) const { return Region(buf_id).rkey; }

  // The oldest message that was received, waiting for it; none if the
  // connection broke or nothing came.
  struct Message {
    uint16_t cid = 0;
    fabric::WorkCompletion wc;
  };
  std::optional<Message> Receive();
  // Receive, decoded; -1 if there is none, else the errno of the response.
  int ReceiveError(uint32_t* buf_id = nullptr);
  // Waits until `cid` is disconnected.
  bool WaitDisconnected(uint16_t cid = 0);
  bool disconnected(uint16_t cid) const { return cons_[cid].disconnected; }
  const std::string& disconnect_reason(uint16_t cid) const {
    return cons_[cid].reason;
  }
  // Leaves all connections and waits until they are left.
  void Disconnect();
  // Waits for `done`.
  bool Wait(const std::function<bool()>& done);
  // Takes what has come without waiting.
  void Drain();

  wire::Descriptor& chunks() { return regions_[0]; }  // of the INFO_RSP
  uint32_t rkey() const { return buffer_region_->rkey(); }
  uint8_t* read_buffer() { return buffer_.data(); }
  uint32_t queue_depth() const { return queue_depth_; }
  uint32_t chunk_size() const { return chunk_size_; }
  fabric::QueuePair* qp(uint16_t cid) { return cons_[cid].qp.get(); }
  size_t received() const { return messages_.size(); }

 private:
  struct Con {
    std::unique_ptr<fabric::QueuePair> qp;
    bool established = false;
    bool rejected = false;
    bool disconnected = false;
    std::string reason;
    std::vector<uint8_t> private_data;
  };
  // wr_id: the connection's number, and above it the receive's.
  void PostReceive(uint64_t wr_id);
  uint8_t* Landing(uint64_t wr_id);
  const wire::Descriptor& Region(uint32_t buf_id) const {
    return regions_[regions_.size() == 1 ? 0 : buf_id];
  }
  void TakeRkey(const fabric::WorkCompletion& wc);
  void Post(uint16_t cid, fabric::SendWr wr, absl::Span<const uint8_t> bytes);

  static constexpr size_t kBufferSize = 1 << 20;
  static constexpr size_t kMaxCons = 16;

  SocketAddress server_;
  Pump pump_;
  std::unique_ptr<fabric::ProtectionDomain> pd_;
  std::vector<uint8_t> buffer_;   // where reads land
  std::vector<uint8_t> staging_;  // a ring of what is being sent
  size_t staged_ = 0;
  std::unique_ptr<fabric::MemoryRegion> buffer_region_;
  std::unique_ptr<fabric::MemoryRegion> staging_region_;
  std::vector<uint8_t> landing_;  // of RKEY_RSPs
  std::unique_ptr<fabric::MemoryRegion> landing_region_;
  std::unique_ptr<fabric::EventChannel> channel_;
  std::unique_ptr<fabric::CompletionQueue> cq_;
  std::vector<Con> cons_;
  std::deque<Message> messages_;
  uint32_t queue_depth_ = 0;
  uint32_t chunk_size_ = 0;
  uint32_t flags_ = 0;
  std::vector<wire::Descriptor> regions_ = {{}};
};

}  // namespace rtrs::server

#endif  // TESTS_RTRS_SERVER_RAW_CLIENT_H_
