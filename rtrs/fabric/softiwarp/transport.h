// The door from softiwarp to the network: byte streams that never block, and
// readiness. TCP in the product (tcp_transport.h), a network in memory in
// tests (memory_transport.h), and a layer of faults over either of them
// (fault_transport.h).
//
// Ownership: the caller owns what it gets, and destroys streams and listeners
// before the Poller that watches them and everything before the Transport.
// Threads: a Transport may be used from any thread; a stream, a listener and a
// Poller by one thread at a time. A stream may move to another thread and
// Poller. Results of calls that move bytes are counts, or negative errno.
#ifndef RTRS_FABRIC_SOFTIWARP_TRANSPORT_H_
#define RTRS_FABRIC_SOFTIWARP_TRANSPORT_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"

namespace rtrs::fabric {

// What a Poller can watch.
class Pollable {
 public:
  virtual ~Pollable() = default;
  // The object that the Poller of the innermost transport knows: itself,
  // unless this is a wrapper.
  virtual Pollable* Underlying() { return this; }
};

// A connection. Destroying it closes it: as with TCP, the peer then reads what
// was written and the end of the stream, unless received bytes were left
// unread, which resets the connection.
class ByteStream : public Pollable {
 public:
  // Fills `to` in order. Bytes read (less than asked for means that there were
  // no more), 0 at the end of the stream, -EAGAIN, or another -errno.
  virtual ssize_t Read(absl::Span<const iovec> to) = 0;
  // Takes bytes of `from` in order. Bytes taken (> 0), -EAGAIN, or -errno.
  virtual ssize_t Write(absl::Span<const iovec> from) = 0;
  // Of a stream from Transport::Connect, once the Poller found it writable: 0
  // when it is connected, -EINPROGRESS while it is not, else -errno.
  virtual int ConnectResult() = 0;
  // Ends the outgoing half behind what was written.
  virtual void ShutdownWrite() = 0;
  // From now on destroying it resets the connection.
  virtual void Abort() = 0;
  // Set once connected.
  virtual const SocketAddress& local_address() const = 0;
  virtual const SocketAddress& peer_address() const = 0;
  // Payload bytes of one segment towards the peer, now (the EMSS).
  virtual uint32_t max_segment() const = 0;
  // The peer is on this host, so that no byte is ever on a wire.
  virtual bool stays_on_host() const = 0;
};

class StreamListener : public Pollable {
 public:
  // The next connection, nullptr if there is none now, or an error (out of
  // file descriptors, say), which does not end the listener.
  virtual absl::StatusOr<std::unique_ptr<ByteStream>> Accept() = 0;
  // With the real port.
  virtual const SocketAddress& local_address() const = 0;
};

enum Interest : uint32_t {
  kReadable = 1,  // also the end of the stream, errors, a connection to accept
  kWritable = 2,
};

// Watches streams and listeners, level triggered.
class Poller {
 public:
  struct Ready {
    void* tag;
    uint32_t interest;  // set of Interest; an error sets both
  };
  virtual ~Poller() = default;
  virtual absl::Status Add(Pollable* what, uint32_t interest, void* tag) = 0;
  virtual void Modify(Pollable* what, uint32_t interest, void* tag) = 0;
  virtual void Remove(Pollable* what) = 0;
  // What is ready now, without waiting; returns how many were stored.
  virtual int Poll(absl::Span<Ready> out) = 0;
  // Readable while Poll would find something, or after Wake.
  virtual int fd() const = 0;
  // Makes fd() readable until the next Poll. Any thread.
  virtual void Wake() = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Starts to connect to `destination`, from `source` if that is set. Failures
  // may show at once or by ConnectResult.
  virtual absl::StatusOr<std::unique_ptr<ByteStream>> Connect(
      const SocketAddress& source, const SocketAddress& destination) = 0;
  // Port 0 chooses a free one. An IPv6 address takes no IPv4 connections.
  virtual absl::StatusOr<std::unique_ptr<StreamListener>> Listen(
      const SocketAddress& address, int backlog) = 0;
  virtual absl::StatusOr<std::unique_ptr<Poller>> CreatePoller() = 0;
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_SOFTIWARP_TRANSPORT_H_
