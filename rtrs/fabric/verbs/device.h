// The device of a verbs fabric: context, limits, protection domains, memory,
// and the asynchronous events, which belong to the whole device.
//
// The context is librdmacm's, so that connections and memory meet; it lives as
// long as the process. Any thread.
#ifndef RTRS_FABRIC_VERBS_DEVICE_H_
#define RTRS_FABRIC_VERBS_DEVICE_H_

#include <infiniband/verbs.h>

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "rtrs/base/mutex.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric::verbs {

class VerbsChannel;

class VerbsFabric : public Fabric {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsFabric>> Open(
      ibv_context* context);

  const DeviceAttr& device() const override { return attr_; }
  absl::StatusOr<std::unique_ptr<ProtectionDomain>> AllocPd() override;
  absl::StatusOr<std::unique_ptr<EventChannel>> CreateEventChannel() override;

  ibv_context* context() const { return context_; }
  // The first port whose link is up, else 1.
  uint8_t port() const { return port_; }
  // Sending again, it also does local work requests again, and those fail:
  // rdma_rxe, up to Linux 6.1 at least.
  bool repeats_local_work() const { return repeats_local_work_; }
  // Spreads completion queues over the device's interrupts.
  int NextCompletionVector();

  // Which channel hears of a queue pair's asynchronous events.
  void Register(uint32_t qp_num, VerbsChannel* channel);
  void Unregister(uint32_t qp_num);
  // Reads what the device has to say and passes it on; any channel's thread.
  void HandleAsyncEvents();

 private:
  explicit VerbsFabric(ibv_context* context) : context_(context) {}
  absl::Status Query();
  uint32_t ProbeInline() const;

  ibv_context* const context_;
  DeviceAttr attr_;
  uint8_t port_ = 1;
  bool repeats_local_work_ = false;
  std::atomic<uint32_t> next_vector_ = 0;
  rtrs::Mutex mutex_;
  absl::flat_hash_map<uint32_t, VerbsChannel*> channels_
      ABSL_GUARDED_BY(mutex_);
};

class VerbsRegion : public MemoryRegion {
 public:
  VerbsRegion(ibv_mr* mr, void* address, size_t length);
  ~VerbsRegion() override;
  ibv_mr* get() const { return mr_; }

 private:
  ibv_mr* mr_;
};

class VerbsWindow : public MemoryWindow {
 public:
  explicit VerbsWindow(ibv_mw* mw) : mw_(mw) {}
  ~VerbsWindow() override;
  ibv_mw* get() const { return mw_; }

 private:
  ibv_mw* mw_;
};

class VerbsPd : public ProtectionDomain {
 public:
  VerbsPd(VerbsFabric* fabric, ibv_pd* pd) : fabric_(fabric), pd_(pd) {}
  ~VerbsPd() override;
  absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterMemory(
      void* address, size_t length, uint32_t access) override;
  absl::StatusOr<std::unique_ptr<MemoryWindow>> AllocWindow() override;
  ibv_pd* get() const { return pd_; }

 private:
  VerbsFabric* fabric_;
  ibv_pd* pd_;
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_DEVICE_H_
