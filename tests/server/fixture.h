// A directory of exports and the whole RNBD layer over it, driven in one
// thread. Control messages run in the caller, storage as the test says.
#ifndef TESTS_SERVER_FIXTURE_H_
#define TESTS_SERVER_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "rtrs/wire/rnbd_messages.h"
#include "server/blocking_pool.h"
#include "server/export_opener.h"
#include "server/pool_engine.h"
#include "server/rnbd_handler.h"
#include "server/uring_engine.h"
#include "tests/server/fake_rtrs.h"

namespace rnbd::server {

// A directory for temporary files that is not in memory: on many machines /tmp
// is, where nothing has to be synced.
std::string DiskDirectory();

// A directory that goes with its content when the test ends.
class TempDir {
 public:
  // Below `parent`, the file system the test wants.
  explicit TempDir(const std::string& parent = DiskDirectory());
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(absl::string_view name) const;
  // Makes a file of `size` bytes of `fill`; returns its path.
  std::string MakeFile(absl::string_view name, size_t size, char fill = 0);
  std::string Read(absl::string_view name) const;

 private:
  std::string path_;
};

// Takes files with the sticky bit for block devices: root need not be asked
// for a real one.
class StickyIsBlockDevice : public ExportPath {
 public:
  using ExportPath::ExportPath;

 protected:
  bool IsBlockDevice(const struct stat& st) const override {
    return (st.st_mode & S_ISVTX) != 0;
  }
};

inline constexpr size_t kDiskSize = 1 << 20;  // of most tests' disk

enum class EngineKind { kThreads, kUring };

class ServerFixture {
 public:
  struct Options {
    std::string parent = DiskDirectory();
    std::string suffix;  // of the search path: "/%SESSNAME%"
    IoMode io = IoMode::kAuto;
    EngineKind engine = EngineKind::kThreads;
    StorageEngine* own_engine = nullptr;  // instead; borrowed
    std::string sysfs = "/sys";
  };
  static constexpr uint32_t kChunks = 64;
  static constexpr uint32_t kChunkSize = 131072;

  explicit ServerFixture(const Options& options);
  ~ServerFixture();

  TempDir& dir() { return dir_; }
  FakeWorker& worker() { return worker_; }
  const ExportOpener& opener() { return opener_; }
  DeviceRegistry& registry() { return registry_; }
  StorageEngine* engine() { return engine_; }

  // Sessions go down with the fixture, if not before.
  FakeSession* Connect(const std::string& name,
                       rtrs::wire::Capabilities capabilities = {});
  void Disconnect(FakeSession* session);

  // Starts a request in a chunk of its own; `data` is copied into it.
  std::unique_ptr<FakeRequest> Start(FakeSession* session,
                                     rtrs::server::Direction direction,
                                     absl::Span<const uint8_t> message,
                                     size_t data_length,
                                     absl::string_view data = "");
  // Waits for its answer and returns the errno.
  int Finish(FakeRequest* request);

  // OPEN; the errno, and what came back.
  int Open(FakeSession* session, const std::string& name, wire::AccessMode mode,
           wire::OpenRsp* rsp = nullptr);
  // OPEN that must succeed; the device id.
  uint32_t MustOpen(FakeSession* session, const std::string& name,
                    wire::AccessMode mode = wire::AccessMode::kRw);
  int Close(FakeSession* session, uint32_t id);

  int Write(FakeSession* session, uint32_t id, uint64_t sector,
            absl::string_view data, uint32_t flags = 0);
  int Read(FakeSession* session, uint32_t id, uint64_t sector, uint32_t length,
           std::string* data);
  // An operation without data.
  int Do(FakeSession* session, const wire::Io& io,
         rtrs::server::Direction direction = rtrs::server::Direction::kWrite);
  std::unique_ptr<FakeRequest> StartIo(FakeSession* session, const wire::Io& io,
                                       rtrs::server::Direction direction,
                                       size_t data_length,
                                       absl::string_view data = "");

 private:
  TempDir dir_;
  std::unique_ptr<ExportPath> paths_;
  LossRecord losses_{""};
  DeviceRegistry registry_{42, &losses_};
  ExportOpener opener_;
  FakeWorker worker_;
  std::unique_ptr<PoolEngine> pool_engine_;
  std::unique_ptr<UringEngine> uring_engine_;
  std::unique_ptr<BlockingPool> pool_;
  StorageEngine* engine_ = nullptr;
  std::unique_ptr<RnbdHandler> handler_;
  std::vector<std::unique_ptr<FakeSession>> sessions_;
  uint32_t next_chunk_ = 0;
};

std::vector<uint8_t> IoMessage(const wire::Io& io);

}  // namespace rnbd::server

#endif  // TESTS_SERVER_FIXTURE_H_
