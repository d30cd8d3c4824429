// nbdkit's callbacks, in the order of their life: parameters, session, export,
// requests. nbdkit-plugin(3).
//
// With device_path= the device is mapped from after_fork to cleanup; without,
// the NBD export name is the device path and DevicePool keeps what is in use.

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#include <errno.h>
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gateway/gateway.h"
#include "nbdkit-plugin/call_stats.h"
#include "nbdkit-plugin/config.h"
#include "nbdkit-plugin/device_pool.h"
#include "nbdkit-plugin/log_sink.h"
#include "nbdkit-plugin/open_handles.h"
#include "nbdkit-plugin/startup_report.h"
#include "nbdkit-plugin/thread_placement.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"

// nbdkit -D rnbd.log=N and -D rnbd.stats=1; set by nbdkit after loading.
extern "C" {
NBDKIT_DLL_PUBLIC int rnbd_debug_log = 0;
NBDKIT_DLL_PUBLIC int rnbd_debug_stats = 0;
}

namespace rnbd::plugin {
namespace {

using gateway::BlockDevice;
using gateway::DeviceInfo;

// How long a device that came with an export name stays mapped after its last
// client.
constexpr absl::Duration kLinger = absl::Seconds(3);
// What nbdkit itself accepts at the most.
constexpr uint32_t kMaxRequest = 64u << 20;

struct Plugin {
  Config config;
  std::shared_ptr<gateway::Gateway> session;
  std::unique_ptr<DevicePool> pool;
  std::unique_ptr<DevicePool::Lease> mapped;  // with device_path=
  std::atomic<uint32_t> connections{0};
  OpenHandles handles;
  CallStats stats;
  absl::Status start_error;  // with --run: what clients are told
};
// Never destroyed: connections that do not end may outlive nbdkit's main.
Plugin& ThePlugin() {
  static auto* plugin = new Plugin;
  return *plugin;
}

BlockDevice& DeviceOf(void* handle) {
  return *static_cast<Handle*>(handle)->device;
}
DeviceInfo InfoOf(void* handle) { return DeviceOf(handle).info(); }

// The errnos that NBD has a number for; nbdkit would turn others into EINVAL.
int NbdErrno(int error) {
  switch (error) {
    case EPERM:
    case EROFS:
    case ENOMEM:
    case EINVAL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EOVERFLOW:
    case EOPNOTSUPP:
    case ESHUTDOWN:
      return error;
    default:
      return EIO;
  }
}

// Reports a failed start or open: -1.
int Refuse(const absl::Status& status) {
  const std::string text(status.message());
  nbdkit_error("%s", text.c_str());
  errno = NbdErrno(rtrs::ErrnoOf(status));
  return -1;
}

// Ends a request: 0, or -1 with errno. A lost server fails thousands of
// requests in the same way: one line a second says it.
int Finish(const absl::Status& status) {
  if (status.ok()) return 0;
  const int error = NbdErrno(rtrs::ErrnoOf(status));
  if (error != EOPNOTSUPP) {
    RTRS_LOG_EVERY(err, absl::Seconds(1), "{}", status);
  }
  nbdkit_set_error(error);
  errno = error;
  return -1;
}

// Runs one request of a connection, unless nbdkit is ending; measures it when
// statistics were asked for.
template <typename Function>
int Timed(CallStats::Call call, uint64_t bytes, Handle* handle,
          Function function) {
  const OpenHandles::Request request(ThePlugin().handles, handle);
  if (!request.admitted()) {
    return Finish(rtrs::ErrnoError(ESHUTDOWN, "nbdkit is ending"));
  }
  if (rnbd_debug_stats == 0) return Finish(function());
  const absl::Time start = rtrs::Clock::System()->Now();
  const int result = Finish(function());
  ThePlugin().stats.Add(call, bytes, rtrs::Clock::System()->Now() - start);
  return result;
}

// Parameters.

void Load() { InstallLogSink(); }

int SetParameter(const char* key, const char* value) {
  const absl::Status status = ThePlugin().config.Set(key, value);
  return status.ok() ? 0 : Refuse(status);
}

int ConfigComplete() {
  const absl::Status status = ThePlugin().config.Complete();
  return status.ok() ? 0 : Refuse(status);
}

void DumpPlugin() {
  printf("rnbd_version=%s\n", RNBD_VERSION);
  printf("rnbd_protocol=%d\n", wire::kProtocolMajor);
  printf("rnbd_fabrics=verbs,softiwarp,softroce\n");
}

// Session.

int GetReady() {
  SetLogVerbosity(rnbd_debug_log);
  startup_report::Prepare();
  return 0;
}

absl::Status Start(Plugin& plugin) {
  gateway::GatewayOptions options = plugin.config.options();
  options.pause = [](absl::Duration duration) {
    const int64_t ns = absl::ToInt64Nanoseconds(duration);
    // Wakes up early when nbdkit is told to quit.
    return nbdkit_nanosleep(static_cast<unsigned>(ns / 1000000000),
                            static_cast<unsigned>(ns % 1000000000)) == 0;
  };
  // The server may be away for long, and nbdkit be told to quit meanwhile.
  options.give_up = [] { return nbdkit_nanosleep(0, 1) != 0; };
  RTRS_ASSIGN_OR_RETURN(plugin.session,
                        gateway::Gateway::Open(std::move(options)));
  plugin.pool = std::make_unique<DevicePool>(plugin.session, kLinger);
  const std::string& device_path = plugin.config.device_path();
  if (!device_path.empty()) {
    RTRS_ASSIGN_OR_RETURN(
        plugin.mapped,
        plugin.pool->Acquire(device_path, plugin.config.access_mode(false)));
  }
  return absl::OkStatus();
}

int AfterFork() {
  Plugin& plugin = ThePlugin();
  const absl::Status status = Start(plugin);
  if (!status.ok()) {
    startup_report::Say(
        std::string(status.message()));  // to who typed the command
    plugin.pool.reset();
    plugin.session.reset();
  }
  const bool refuse_clients = !status.ok() && startup_report::ServesCommand();
  startup_report::Finish(status.ok());
  if (status.ok()) return 0;
  Refuse(status);
  if (!refuse_clients) return -1;
  plugin.start_error = status;
  return 0;
}

void Cleanup() {
  Plugin& plugin = ThePlugin();
  if (rnbd_debug_stats != 0) {
    for (absl::string_view line : absl::StrSplit(plugin.stats.Report(), '\n')) {
      nbdkit_debug("%s", std::string(line).c_str());
    }
  }
  if (const int busy = plugin.handles.End(); busy != 0) {
    // nbdkit waits some seconds for its connections and then goes on without
    // them. Their requests still use the session: the end of the process
    // closes it.
    RTRS_LOG(warn,
             "the requests of {} NBD connections did not end, the session is "
             "not closed in order",
             busy);
    return;
  }
  plugin.mapped.reset();
  plugin.pool.reset();
  plugin.session.reset();
}

// Exports.

int ListExports(int, int, struct nbdkit_exports* exports) {
  const std::string& name = ThePlugin().config.device_path();
  // Without device_path= nobody here knows what the server has.
  return name.empty() ? 0 : nbdkit_add_export(exports, name.c_str(), nullptr);
}

const char* DefaultExport(int, int) {
  return ThePlugin().config.device_path().c_str();
}

absl::StatusOr<std::unique_ptr<Handle>> OpenExport(Plugin& plugin,
                                                   const std::string& name,
                                                   bool readonly) {
  RTRS_RETURN_IF_ERROR(plugin.start_error);
  auto handle = std::make_unique<Handle>();
  const std::string& device_path = plugin.config.device_path();
  if (device_path.empty()) {
    if (name.empty()) {
      return rtrs::ErrnoError(
          EINVAL,
          "no export name: it names the device on the server when nbdkit runs "
          "without device_path=; ask for one, as in nbd://host/DEVICE or "
          "nbd-client -N DEVICE");
    }
    RTRS_ASSIGN_OR_RETURN(
        handle->lease,
        plugin.pool->Acquire(name, plugin.config.access_mode(readonly)));
    handle->device = &handle->lease->device();
  } else {
    if (!name.empty() && name != device_path) {
      return rtrs::ErrnoError(
          ENOENT, absl::StrCat("export ", name, ": this nbdkit serves ",
                               device_path, " only (device_path=)"));
    }
    handle->device = &plugin.mapped->device();
  }
  handle->affinity = plugin.connections.fetch_add(1, std::memory_order_relaxed);
  const DeviceInfo info = handle->device->info();
  handle->description = absl::StrCat(
      "RNBD device ", info.device_path, " (",
      wire::AccessModeName(info.access_mode), ") of session ", info.sessname,
      " at ", plugin.config.options().paths[0].ToString());
  return handle;
}

void* Open(int readonly) {
  Plugin& plugin = ThePlugin();
  const char* name = nbdkit_export_name();
  if (name == nullptr) return nullptr;
  auto handle = OpenExport(plugin, name, readonly != 0);
  if (!handle.ok()) {
    Refuse(handle.status());
    return nullptr;
  }
  return plugin.handles.Add(*std::move(handle));
}

void Close(void* handle) {
  ThePlugin().handles.Close(static_cast<Handle*>(handle));
}

const char* ExportDescription(void* handle) {
  return static_cast<Handle*>(handle)->description.c_str();
}

// Asked once per NBD connection, which keeps it.
int64_t GetSize(void* handle) {
  return static_cast<int64_t>(InfoOf(handle).size);
}

int BlockSize(void* handle, uint32_t* minimum, uint32_t* preferred,
              uint32_t* maximum) {
  *minimum = 1;  // edges are read, changed and written back
  *preferred = std::max(4096u, InfoOf(handle).physical_block_size);
  *maximum = kMaxRequest;
  return 0;
}

int CanWrite(void* handle) {
  return InfoOf(handle).access_mode != wire::AccessMode::kRo;
}
int CanFlush(void*) { return 1; }
int CanFua(void*) { return NBDKIT_FUA_NATIVE; }
int CanZero(void*) { return 1; }
int CanFastZero(void*) { return 1; }  // answers EOPNOTSUPP where it is not
int CanTrim(void* handle) { return InfoOf(handle).max_discard != 0; }
// A flush on one connection is a flush of the device.
int CanMultiConn(void*) { return 1; }
int IsRotational(void* handle) { return InfoOf(handle).rotational; }

// Requests.

int Pread(void* h, void* buffer, uint32_t count, uint64_t offset, uint32_t) {
  auto* const handle = static_cast<Handle*>(h);
  PlaceThread(handle->affinity);
  return Timed(CallStats::kPread, count, handle, [&] {
    return handle->device->Read(buffer, count, offset, handle->affinity);
  });
}

int Pwrite(void* h, const void* buffer, uint32_t count, uint64_t offset,
           uint32_t flags) {
  auto* const handle = static_cast<Handle*>(h);
  PlaceThread(handle->affinity);
  return Timed(CallStats::kPwrite, count, handle, [&] {
    return handle->device->Write(buffer, count, offset,
                                 (flags & NBDKIT_FLAG_FUA) != 0,
                                 handle->affinity);
  });
}

int Flush(void* h, uint32_t) {
  auto* const handle = static_cast<Handle*>(h);
  return Timed(CallStats::kFlush, 0, handle,
               [&] { return handle->device->Flush(handle->affinity); });
}

int Trim(void* h, uint32_t count, uint64_t offset, uint32_t flags) {
  auto* const handle = static_cast<Handle*>(h);
  return Timed(CallStats::kTrim, count, handle, [&] {
    return handle->device->Trim(count, offset, (flags & NBDKIT_FLAG_FUA) != 0,
                                handle->affinity);
  });
}

int Zero(void* h, uint32_t count, uint64_t offset, uint32_t flags) {
  auto* const handle = static_cast<Handle*>(h);
  BlockDevice::ZeroFlags zero;
  zero.may_trim = (flags & NBDKIT_FLAG_MAY_TRIM) != 0;
  zero.fua = (flags & NBDKIT_FLAG_FUA) != 0;
  zero.fast = (flags & NBDKIT_FLAG_FAST_ZERO) != 0;
  return Timed(CallStats::kZero, count, handle, [&] {
    return handle->device->Zero(count, offset, zero, handle->affinity);
  });
}

struct nbdkit_plugin CreatePlugin() {
  struct nbdkit_plugin p = {};
  p.name = "rnbd";
  p.longname = "RNBD over RTRS (RDMA) client";
  p.version = RNBD_VERSION;
  p.description = "Serves block devices of an RNBD server as NBD exports";
  p.load = Load;
  p.config = SetParameter;
  p.config_complete = ConfigComplete;
  p.config_help = kConfigHelp;
  p.dump_plugin = DumpPlugin;
  p.get_ready = GetReady;
  p.after_fork = AfterFork;
  p.cleanup = Cleanup;
  p.list_exports = ListExports;
  p.default_export = DefaultExport;
  p.open = Open;
  p.close = Close;
  p.export_description = ExportDescription;
  p.get_size = GetSize;
  p.block_size = BlockSize;
  p.can_write = CanWrite;
  p.can_flush = CanFlush;
  p.can_fua = CanFua;
  p.can_zero = CanZero;
  p.can_fast_zero = CanFastZero;
  p.can_trim = CanTrim;
  p.can_multi_conn = CanMultiConn;
  p.is_rotational = IsRotational;
  p.pread = Pread;
  p.pwrite = Pwrite;
  p.flush = Flush;
  p.trim = Trim;
  p.zero = Zero;
  p.errno_is_preserved = 1;
  return p;
}

struct nbdkit_plugin plugin_table = CreatePlugin();

}  // namespace
}  // namespace rnbd::plugin

NBDKIT_REGISTER_PLUGIN(rnbd::plugin::plugin_table)
