// A session: everything that shares one paths_uuid. It owns the chunks and
// the paths; its name is known from the first INFO_REQ on. wire.md §2, §6.
//
// Made and destroyed on the control worker, which alone changes it, except the
// owner words of the chunks. Workers reach it through their paths.
#ifndef RTRS_SERVER_SESSION_IMPL_H_
#define RTRS_SERVER_SESSION_IMPL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/base/uuid.h"
#include "rtrs/server/chunk_memory.h"
#include "rtrs/server/chunk_owners.h"
#include "rtrs/server/path.h"
#include "rtrs/server/server.h"
#include "rtrs/wire/capabilities.h"

namespace rtrs::server {

class SessionImpl final : public Session {
 public:
  SessionImpl(const Uuid& paths_uuid, const SocketAddress& peer,
              wire::Capabilities capabilities,
              std::unique_ptr<ChunkMemory> memory, uint32_t queue_depth,
              uint32_t chunk_size, std::function<void()> disconnect,
              std::function<void(uint32_t)> send_notice)
      : uuid_(paths_uuid),
        peer_(peer),
        capabilities_(capabilities),
        memory_(std::move(memory)),
        chunk_size_(chunk_size),
        owners_(queue_depth),
        disconnect_(std::move(disconnect)),
        send_notice_(std::move(send_notice)) {}
  // Paths go before the memory they are registered in.
  ~SessionImpl() { paths.clear(); }

  // Session:
  const std::string& name() const override { return name_; }
  absl::Span<uint8_t> chunk_memory() const override { return memory_->bytes(); }
  uint32_t chunk_size() const override { return chunk_size_; }
  wire::Capabilities client_capabilities() const override {
    return capabilities_;
  }
  const SocketAddress& peer_address() const override { return peer_; }
  void Disconnect() override { disconnect_(); }
  void SendNotice(uint32_t payload) override { send_notice_(payload); }

  const Uuid& uuid() const { return uuid_; }
  // `buf_id` is below the queue depth.
  absl::Span<uint8_t> chunk(uint32_t buf_id) const {
    return memory_->bytes().subspan(size_t{buf_id} * chunk_size_, chunk_size_);
  }
  ChunkMemory& memory() { return *memory_; }
  ChunkOwners& owners() { return owners_; }
  void set_name(std::string name) { name_ = std::move(name); }

  // For the control worker.
  std::vector<std::unique_ptr<Path>> paths;
  // Paths that were connected and are not gone yet; the layer above knows the
  // session while there are any.
  int up_paths = 0;
  // FENCEs that are not answered yet, kMaxFences at most.
  static constexpr size_t kMaxFences = 512;
  struct Fence {
    Path* asker;               // where it came on
    uint32_t answer;           // the immediate
    std::vector<Path*> paths;  // that are not gone yet
  };
  std::vector<Fence> fences;

 private:
  const Uuid uuid_;
  const SocketAddress peer_;
  const wire::Capabilities capabilities_;
  std::string name_;
  std::unique_ptr<ChunkMemory> memory_;
  const uint32_t chunk_size_;
  ChunkOwners owners_;
  std::function<void()> disconnect_;
  std::function<void(uint32_t)> send_notice_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_SESSION_IMPL_H_
