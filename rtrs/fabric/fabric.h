// The fabric: one interface shaped like verbs, several implementations
// (softiwarp, rdma-core, softroce). RTRS is written once over it.
//
// Objects and owners. A Fabric makes ProtectionDomains, which make
// MemoryRegions; and EventChannels, which make CompletionQueues, Listeners and
// QueuePairs. The creator owns what it gets and destroys it before the thing it
// came from: MemoryRegion before ProtectionDomain, QueuePair before its
// CompletionQueue, all of a channel before the channel, the Fabric last.
//
// Threads. Fabric, ProtectionDomain and MemoryRegion: any thread. An
// EventChannel with all its completion queues, listeners and queue pairs is
// single-threaded: one thread at a time, the caller excludes the others. A
// queue pair of one channel may use a protection domain that other channels
// use too.
//
// Nothing here blocks, and nothing is delivered behind the caller's back: all
// progress (receiving, sending what did not fit, timers) happens inside
// EventChannel::Progress, and posting. The loop of a thread is
//
//   while (running) {
//     bool busy = channel->Progress();
//     while (channel->NextEvent(&event)) Handle(event);
//     int n = cq->Poll(completions);
//     ... handle n completions, post with Doorbell::kDeferred ...
//     channel->Flush();
//     if (!busy && n == 0 && channel->Arm()) {
//       WaitReadable(channel->fd(), channel->NextDeadline());
//     }
//   }
#ifndef RTRS_FABRIC_FABRIC_H_
#define RTRS_FABRIC_FABRIC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::fabric {

class QueuePair;

// What the device can do. Read once; limits are per object.
struct DeviceAttr {
  std::string name;               // "softiwarp", "rxe0", ...
  uint32_t max_qp_wr = 0;         // work requests in one queue
  uint32_t max_send_sge = 0;      // scatter/gather entries of a send
  uint32_t max_cqe = 0;           // entries of a completion queue
  uint32_t max_inline = 0;        // bytes that kInline can carry
  uint64_t max_message_size = 0;  // bytes of one message
  // Registering memory for a single request costs next to nothing, so that a
  // caller's buffer is used in place instead of a bounce buffer.
  bool cheap_registration = false;
  bool send_with_invalidate = false;
  bool memory_windows = false;  // type 1: see MemoryWindow
  bool rdma_device = false;     // else it is in this process
};

// Access rights of a memory region; local read is always allowed.
enum Access : uint32_t {
  kLocalWrite = 1,   // receives and local results may land here
  kRemoteWrite = 2,  // the peer may RDMA-write here
  kBindWindows = 4,  // memory windows may be bound to it; with kLocalWrite
};

// Registered memory. Destroying it deregisters: when the destructor returns,
// no thread places another byte in it and no send reads from it that was not
// posted; the keys are dead. The memory itself belongs to the registrant.
class MemoryRegion {
 public:
  virtual ~MemoryRegion() = default;
  uint8_t* address() const { return address_; }
  size_t length() const { return length_; }
  // The remote address that goes with rkey; equals address() unless the
  // fabric chooses its own.
  uint64_t remote_address() const { return remote_address_; }
  uint32_t lkey() const { return lkey_; }
  uint32_t rkey() const { return rkey_; }

 protected:
  uint8_t* address_ = nullptr;
  size_t length_ = 0;
  uint64_t remote_address_ = 0;
  uint32_t lkey_ = 0;
  uint32_t rkey_ = 0;
};

// A type 1 memory window: an rkey for some bytes of a region that can be
// changed without registering anew (QueuePair::BindWindow), valid for every
// queue pair of the domain. Destroying it kills the rkey; that comes before
// its region is destroyed. One thread at a time.
class MemoryWindow {
 public:
  virtual ~MemoryWindow() = default;
};

// Keys are valid only for queue pairs of the same domain: one per session.
class ProtectionDomain {
 public:
  virtual ~ProtectionDomain() = default;
  // Registers [address, address + length). `access` is a set of Access bits.
  // The rkey is unpredictable where the fabric can choose it. Any thread.
  virtual absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterMemory(
      void* address, size_t length, uint32_t access) = 0;
  // A window that is not bound yet. Any thread. EOPNOTSUPP where the device
  // has no memory_windows.
  virtual absl::StatusOr<std::unique_ptr<MemoryWindow>> AllocWindow();
};

class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  // Moves up to out.size() completions to `out`, oldest first, and returns how
  // many. Makes no system call on the in-process fabrics.
  virtual int Poll(absl::Span<WorkCompletion> out) = 0;
};

// A connection request that arrived at a listener. Destroying it without an
// answer rejects it without private data.
class ConnectRequest {
 public:
  virtual ~ConnectRequest() = default;
  virtual const SocketAddress& local_address() const = 0;
  virtual const SocketAddress& peer_address() const = 0;
  // What the peer's Connect carried; at least what it sent, perhaps padded
  // with zeros (wire.md §1.2). Hostile until checked.
  virtual absl::Span<const uint8_t> private_data() const = 0;
  // Answers with a rejection that carries `private_data` (at most 148 bytes).
  virtual void Reject(absl::Span<const uint8_t> private_data) = 0;
};

// Connection events, in the order in which they happened.
struct CmEvent {
  enum class Type {
    kConnectRequest,  // `request` is set; `listener` says where
    kEstablished,     // active: `private_data` of the accept
    kRejected,        // active: `private_data` of the rejection, `status`
    kConnectError,    // active: nobody there, no route, timeout; `status`
    kDisconnected,    // the peer left, or the link is lost; `status` says why.
                      // The queue pair is in error, its work requests flush
                      // to the completion queue. Call Disconnect() at once.
    kDeviceRemoved,   // the device is going away; destroy everything on it
  };
  Type type = Type::kDisconnected;
  QueuePair* qp = nullptr;  // for all but kConnectRequest
  std::unique_ptr<ConnectRequest> request;
  std::vector<uint8_t> private_data;
  absl::Status status;
};

const char* CmEventName(CmEvent::Type type);

// Whether a post starts sending at once or waits for EventChannel::Flush.
enum class Doorbell { kNow, kDeferred };

// What BindWindow binds to what. With length 0 the window gives no access any
// more; `region` and `address` are needed all the same.
struct BindWr {
  uint64_t wr_id = 0;
  uint8_t flags = 0;  // kSignaled or nothing
  MemoryWindow* window = nullptr;
  const MemoryRegion* region = nullptr;  // with kBindWindows, of this domain
  uint8_t* address = nullptr;
  uint32_t length = 0;
};

// Sizes and owners of a new queue pair. All pointers outlive it.
struct QueuePairInit {
  ProtectionDomain* pd = nullptr;
  CompletionQueue* cq = nullptr;  // for sends and receives
  uint32_t max_send_wr = 0;       // outstanding sends, signalled or not
  uint32_t max_recv_wr = 0;
  uint32_t max_send_sge = 1;
  uint32_t max_inline = 0;
  // One of the ends changes keys for each request, by local work requests
  // (memory windows, fast registration). Some devices want to be spared then.
  bool rekeyed = false;
  void* context = nullptr;  // the caller's; see QueuePair::context
};

// A reliable connected queue pair with its connection.
//
// Receives may be posted from the moment it exists, sends when it is
// established. A slot of the send queue is free again when a *signalled*
// completion at or after it was polled (as on hardware): signal at least once
// per max_send_wr. An error completion is always delivered. After an error all
// outstanding work requests complete with kFlushed.
class QueuePair {
 public:
  enum class State { kIdle, kConnecting, kEstablished, kError, kClosed };

  // Destroys it at once: no completion of it is delivered afterwards and no
  // byte is placed or read through it any more.
  virtual ~QueuePair() = default;

  // Active side: connects to `path.destination` from `path.source`. Ends in
  // one of kEstablished, kRejected, kConnectError, the latter after `timeout`
  // at the latest. `private_data`: at most 56 bytes.
  virtual absl::Status Connect(const PathSpec& path,
                               absl::Span<const uint8_t> private_data,
                               absl::Duration timeout) = 0;
  // Passive side: answers `request`, which this consumes. Ends in kEstablished
  // or kDisconnected. Messages may arrive before kEstablished.
  virtual absl::Status Accept(std::unique_ptr<ConnectRequest> request,
                              absl::Span<const uint8_t> private_data) = 0;
  // Leaves the connection. Sends posted before are still delivered if that
  // takes no more than a few seconds; the rest is flushed. kDisconnected
  // follows when both sides are through (also when already in error).
  virtual void Disconnect() = 0;

  // Posts a list. All or none: ResourceExhausted when the list does not fit,
  // InvalidArgument when a request is malformed (bad lkey, too many entries),
  // FailedPrecondition before kEstablished. In state kError the requests are
  // taken and flushed.
  virtual absl::Status PostSend(absl::Span<const SendWr> list,
                                Doorbell doorbell) = 0;
  virtual absl::Status PostRecv(absl::Span<const RecvWr> list) = 0;
  // Gives a window a fresh rkey for remote writes and returns it. A request of
  // the send queue like any other, with a slot, an order and a completion:
  // what is posted later finds the new rkey valid, and when it has completed
  // the old one is dead. May wait for EventChannel::Flush. EOPNOTSUPP where
  // the device has no memory_windows, else as PostSend.
  virtual absl::StatusOr<uint32_t> BindWindow(const BindWr& wr);

  virtual State state() const = 0;
  virtual const SocketAddress& local_address() const = 0;
  virtual const SocketAddress& peer_address() const = 0;
  void* context() const { return context_; }

 protected:
  void* context_ = nullptr;
};

class Listener {
 public:
  virtual ~Listener() = default;  // stops listening
  // The address in use; the port is the real one when 0 was asked for.
  virtual const SocketAddress& local_address() const = 0;
};

// Pumps connections, completions and timers of one thread.
class EventChannel {
 public:
  virtual ~EventChannel() = default;

  virtual absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCq(
      uint32_t entries) = 0;
  virtual absl::StatusOr<std::unique_ptr<QueuePair>> CreateQp(
      const QueuePairInit& init) = 0;
  // Requests arrive as kConnectRequest on this channel; they may be accepted
  // by a queue pair of another channel of the same fabric (rdma_migrate_id).
  virtual absl::StatusOr<std::unique_ptr<Listener>> Listen(
      const SocketAddress& address, int backlog) = 0;

  // Does what can be done without blocking; true if anything happened.
  virtual bool Progress() = 0;
  // Sends what was posted with Doorbell::kDeferred on any queue pair.
  virtual void Flush() = 0;
  // Takes the oldest connection event; false if there is none.
  virtual bool NextEvent(CmEvent* event) = 0;

  // Readable when Progress would do something, provided Arm returned true
  // since the last Progress. Belongs to the channel.
  virtual int fd() const = 0;
  // Prepares to sleep on fd(); false if there is work now, so do not sleep.
  virtual bool Arm() = 0;
  // When Progress must be called at the latest; InfiniteFuture if no timer
  // runs.
  virtual absl::Time NextDeadline() const = 0;
};

class Fabric {
 public:
  virtual ~Fabric() = default;
  virtual const DeviceAttr& device() const = 0;
  virtual absl::StatusOr<std::unique_ptr<ProtectionDomain>> AllocPd() = 0;
  virtual absl::StatusOr<std::unique_ptr<EventChannel>>
  CreateEventChannel() = 0;
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_FABRIC_H_
