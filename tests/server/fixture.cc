#include "tests/server/fixture.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace rnbd::server {

using rtrs::server::Direction;

std::string DiskDirectory() {
  struct statfs fs;
  const bool in_memory = statfs("/tmp", &fs) == 0 && fs.f_type == TMPFS_MAGIC;
  return in_memory ? "/var/tmp" : "/tmp";
}

TempDir::TempDir(const std::string& parent) {
  std::string name = absl::StrCat(parent, "/rnbd-server-test-XXXXXX");
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  // Locations are compared as the kernel says them.
  path_ = std::filesystem::canonical(name).string();
}

TempDir::~TempDir() { std::filesystem::remove_all(path_); }

std::string TempDir::File(absl::string_view name) const {
  return absl::StrCat(path_, "/", name);
}

std::string TempDir::MakeFile(absl::string_view name, size_t size, char fill) {
  const std::string path = File(name);
  std::filesystem::create_directories(
      std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << std::string(size, fill);
  return path;
}

std::string TempDir::Read(absl::string_view name) const {
  std::ifstream file(File(name), std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::vector<uint8_t> IoMessage(const wire::Io& io) {
  std::vector<uint8_t> bytes(wire::Io::kSize);
  wire::EncodeIo(io, bytes.data());
  return bytes;
}

ServerFixture::ServerFixture(const Options& options)
    : dir_(options.parent),
      paths_(std::make_unique<StickyIsBlockDevice>(
          absl::StrCat(dir_.path(), options.suffix))),
      opener_(paths_.get(), &registry_, options.io, options.sysfs),
      pool_(std::make_unique<BlockingPool>("test", 2)) {
  pool_engine_ = *PoolEngine::Create(pool_.get());
  engine_ = pool_engine_.get();
  worker_.AddHook(pool_engine_.get());
  if (options.engine == EngineKind::kUring) {
    auto uring = UringEngine::Create(0, pool_engine_.get());
    EXPECT_TRUE(uring.ok()) << uring.status();
    uring_engine_ = *std::move(uring);
    engine_ = uring_engine_.get();
    worker_.AddHook(engine_);
  }
  if (options.own_engine != nullptr) {
    engine_ = options.own_engine;
    worker_.AddHook(engine_);
  }
  SessionServices services;
  services.opener = &opener_;
  services.control = [](const std::function<void()>& task) { task(); };
  services.workers = {{&worker_, engine_}};
  handler_ = std::make_unique<RnbdHandler>(std::move(services));
}

ServerFixture::~ServerFixture() {
  while (!sessions_.empty()) Disconnect(sessions_.back().get());
  while (worker_.Progress()) {
  }
  pool_.reset();
}

FakeSession* ServerFixture::Connect(const std::string& name,
                                    rtrs::wire::Capabilities capabilities) {
  sessions_.push_back(std::make_unique<FakeSession>(name, kChunks, kChunkSize));
  FakeSession* session = sessions_.back().get();
  session->capabilities = capabilities;
  EXPECT_TRUE(handler_->OnSessionUp(session).ok());
  return session;
}

void ServerFixture::Disconnect(FakeSession* session) {
  handler_->OnSessionDown(session);
  sessions_.erase(std::find_if(
      sessions_.begin(), sessions_.end(),
      [session](const auto& owned) { return owned.get() == session; }));
}

std::unique_ptr<FakeRequest> ServerFixture::Start(
    FakeSession* session, Direction direction,
    absl::Span<const uint8_t> message, size_t data_length,
    absl::string_view data) {
  const uint32_t chunk = next_chunk_++ % kChunks;
  std::memcpy(session->chunk(chunk).data(), data.data(), data.size());
  auto request = std::make_unique<FakeRequest>(
      session, &worker_, chunk, direction, data_length,
      std::vector<uint8_t>(message.begin(), message.end()));
  handler_->OnRequest(request.get());
  return request;
}

int ServerFixture::Finish(FakeRequest* request) {
  worker_.RunUntil([request] { return request->completed(); });
  return request->error();
}

int ServerFixture::Open(FakeSession* session, const std::string& name,
                        wire::AccessMode mode, wire::OpenRsp* rsp) {
  wire::Open open;
  open.access_mode = mode;
  open.device_name = name;
  auto request = Start(session, Direction::kRead, wire::Encode(open),
                       wire::OpenRsp::kSize);
  const int error = Finish(request.get());
  if (error == 0 && rsp != nullptr) {
    auto decoded = wire::DecodeOpenRsp(request->data);
    EXPECT_TRUE(decoded.ok()) << decoded.status();
    *rsp = *decoded;
  }
  return error;
}

uint32_t ServerFixture::MustOpen(FakeSession* session, const std::string& name,
                                 wire::AccessMode mode) {
  wire::OpenRsp rsp;
  EXPECT_EQ(Open(session, name, mode, &rsp), 0);
  return rsp.device_id;
}

int ServerFixture::Close(FakeSession* session, uint32_t id) {
  wire::Close close;
  close.device_id = id;
  auto request = Start(session, Direction::kWrite, wire::Encode(close), 0);
  return Finish(request.get());
}

std::unique_ptr<FakeRequest> ServerFixture::StartIo(FakeSession* session,
                                                    const wire::Io& io,
                                                    Direction direction,
                                                    size_t data_length,
                                                    absl::string_view data) {
  return Start(session, direction, IoMessage(io), data_length, data);
}

int ServerFixture::Write(FakeSession* session, uint32_t id, uint64_t sector,
                         absl::string_view data, uint32_t flags) {
  wire::Io io;
  io.device_id = id;
  io.sector = sector;
  io.op = wire::Op::kWrite;
  io.flags = flags;
  io.length = static_cast<uint32_t>(data.size());
  auto request = StartIo(session, io, Direction::kWrite, data.size(), data);
  return Finish(request.get());
}

int ServerFixture::Read(FakeSession* session, uint32_t id, uint64_t sector,
                        uint32_t length, std::string* data) {
  wire::Io io;
  io.device_id = id;
  io.sector = sector;
  io.length = length;
  auto request = StartIo(session, io, Direction::kRead, length);
  const int error = Finish(request.get());
  if (error == 0) data->assign(request->data.begin(), request->data.end());
  return error;
}

int ServerFixture::Do(FakeSession* session, const wire::Io& io,
                      Direction direction) {
  auto request = StartIo(session, io, direction, 0);
  return Finish(request.get());
}

}  // namespace rnbd::server
