// A scripted RTRS server at the level of the wire, for tests of the client
// engine: it does what it is told, right or wrong.
//
// One thread; driven by Step(). It lives on a fabric of its own choosing with
// its own channel and keeps one chunk memory for all paths.
#ifndef TESTS_CLIENT_FAKE_SERVER_H_
#define TESTS_CLIENT_FAKE_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rtrs/fabric/fabric.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {

class FakeServer {
 public:
  struct Config {
    uint16_t queue_depth = 8;
    uint32_t max_io_size = 12288;
    uint32_t max_hdr_size = 4096;
    bool new_rkey = false;      // flag 2, and answers that go with it
    uint32_t info_regions = 1;  // sg_cnt of INFO_RSP without new_rkey
    bool auto_respond = true;   // answers every request with success
    bool post_receives = true;  // on IO connections, when INFO_REQ comes
    uint32_t capabilities = 0;
  };

  // A request as it lay in its chunk.
  struct Received {
    size_t path = 0;
    uint16_t cid = 0;
    uint32_t buf_id = 0;
    uint32_t offset = 0;
    wire::IoHeader header;
    std::vector<uint8_t> user_message;
    std::vector<uint8_t> data;  // of a write
  };

  FakeServer(fabric::Fabric* fabric, const std::string& address, Config config);
  ~FakeServer();

  uint16_t port() const { return listener_->local_address().port(); }
  // Does what there is to do; true if there was anything.
  bool Step();

  // Answers the request in `buf_id` of `path`; a read gets `data` first.
  void Respond(const Received& request, int error,
               const std::vector<uint8_t>& data = {});
  // An empty RDMA_WRITE_WITH_IMM.
  void SendImm(size_t path, uint16_t cid, uint32_t imm);
  // A SEND, with immediate if it is not null.
  void SendBytes(size_t path, uint16_t cid, const std::vector<uint8_t>& bytes,
                 const uint32_t* imm = nullptr);
  // FENCE_DONE for the FENCE `imm`.
  void ConfirmFence(size_t path, uint32_t imm);
  // Dies, and is there again with other numbers and no memory of clients.
  void Restart(Config config);
  void SendInvalidate(size_t path, uint16_t cid, uint32_t rkey);
  void PostReceive(size_t path, uint16_t cid);
  // Leaves one connection.
  void Disconnect(size_t path, uint16_t cid);
  // The key of a chunk on a path, as told to the client last.
  uint32_t rkey(size_t path, uint32_t buf_id) const;
  fabric::QueuePair* qp(size_t path, uint16_t cid);
  size_t disconnects() const { return disconnects_; }

  // Scripts. The default of each is the right thing.
  // Sees every connect request; returns 0 to accept, else the errno of a
  // rejection; -1: rejects without private data.
  std::function<int(const wire::ConnectRequest&)> on_connect;
  // Changes the 56 bytes of an accept.
  std::function<void(uint16_t cid, std::vector<uint8_t>&)> edit_accept;
  // Takes over the answer to INFO_REQ; returns false for the usual one.
  std::function<bool(size_t path)> on_info;
  // Changes the bytes of INFO_RSP.
  std::function<void(std::vector<uint8_t>&)> edit_info;

  // What happened.
  std::vector<wire::ConnectRequest> connects;
  std::vector<std::string> names;  // of INFO_REQs
  std::vector<Received> requests;
  int heartbeats = 0;
  int heartbeat_acks = 0;
  std::vector<uint32_t> fences;       // immediates
  std::vector<uint32_t> notice_acks;  // payloads
  Config config;

 private:
  struct Con {
    std::unique_ptr<fabric::QueuePair> qp;
    size_t path = 0;
    uint16_t cid = 0;
  };
  struct PathSide {
    Uuid uuid{};
    std::vector<std::unique_ptr<fabric::MemoryRegion>> regions;
    std::vector<uint8_t> info;
    std::unique_ptr<fabric::MemoryRegion> info_region;
    std::map<uint16_t, std::unique_ptr<Con>> cons;
    bool connected = false;
  };

  uint32_t chunk_size() const {
    return config.max_io_size + config.max_hdr_size;
  }
  void OnConnect(fabric::CmEvent event);
  void OnInfo(size_t path);
  void OnRequest(Con* con, uint32_t imm);
  void PostEmptyReceive(Con* con);
  // Sends bytes that are kept until the end.
  fabric::Sge Keep(const std::vector<uint8_t>& bytes);
  void Post(Con* con, fabric::SendWr wr);

  std::unique_ptr<fabric::EventChannel> channel_;
  std::unique_ptr<fabric::ProtectionDomain> pd_;
  std::unique_ptr<fabric::CompletionQueue> cq_;
  std::vector<uint8_t> chunks_;
  std::vector<std::unique_ptr<std::vector<uint8_t>>> kept_;
  std::vector<std::unique_ptr<fabric::MemoryRegion>> kept_regions_;
  std::vector<PathSide> paths_;
  std::unique_ptr<fabric::Listener> listener_;
  size_t disconnects_ = 0;
};

}  // namespace rtrs::client

#endif  // TESTS_CLIENT_FAKE_SERVER_H_
