#include "tests/simulation/simulation.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"

namespace rnbd::simulation {
namespace {

constexpr uint32_t kSectors = 512;  // of a disk
constexpr int kHealRounds = 200000;

}  // namespace

Simulation::Simulation(FabricKind kind, uint64_t seed, std::string directory)
    : random_(seed),
      network_(SimNetwork::Create(kind, &clock_, &random_)),
      directory_(std::move(directory)) {
  paths_ = std::make_unique<server::ExportPath>(directory_);
  opener_ = std::make_unique<server::ExportOpener>(
      paths_.get(), &registry_,
      random_.Below(4) == 0 ? server::IoMode::kAuto : server::IoMode::kQueued,
      "/sys");
  server::SessionServices services;
  services.opener = opener_.get();
  services.control = [](const std::function<void()>& task) { task(); };
  handler_ = std::make_unique<server::RnbdHandler>(std::move(services));

  rtrs::server::ServerOptions server_options;
  server_options.workers = 1 + static_cast<uint32_t>(random_.Below(3));
  server_options.sess_queue_depth = 4 + static_cast<uint32_t>(random_.Below(8));
  server_options.max_chunk_size = 32768;
  server_options.capabilities.bits = rtrs::wire::Capabilities::kWriteZeroes;
  server_ = *rtrs::server::Server::Create(
      {network_->fabric()}, &clock_, &random_, server_options, handler_.get());
  for (int i = 0; i < server_->worker_count(); ++i) {
    storage_.push_back(std::make_unique<SimStorage>(&random_));
    server_->worker(i)->AddHook(storage_.back().get());
    handler_->services().workers.push_back(
        {server_->worker(i), storage_.back().get()});
  }
  const rtrs::SocketAddress address =
      *server_->Listen(*rtrs::SocketAddress::Parse("127.0.0.1", 0));

  const uint64_t clients = 1 + random_.Below(3);
  for (uint64_t i = 0; i < clients; ++i) {
    const std::string name = absl::StrCat("disk", i);
    std::ofstream(absl::StrCat(directory_, "/", name), std::ios::binary)
        << std::string(size_t{kSectors} * DiskModel::kSector, '\0');
    clients_.push_back(std::make_unique<SimClient>(name, network_->fabric(),
                                                   &clock_, &random_, address,
                                                   kSectors, &trace_));
  }
}

Simulation::~Simulation() {
  clients_.clear();
  bool down = false;
  network_->Heal();
  server_->Shutdown([&down] { down = true; });
  for (int i = 0; i < kHealRounds && !down; ++i) {
    Round();
    Sleep();
  }
  if (!down) violations_.push_back("the server does not shut down");
  server_.reset();
}

void Simulation::Run(int rounds) {
  for (int i = 0; i < rounds && violations_.empty(); ++i) {
    if (random_.Below(50) == 0) ChooseFaults();
    if (random_.Below(2000) == 0) {
      clients_[random_.Below(clients_.size())]->Crash();
    }
    Round();
    Sleep();
  }
  network_->Heal();
  for (auto& storage : storage_) storage->set_stalled(false);
  for (auto& client : clients_) client->Quiesce();
  for (int i = 0; i < kHealRounds && !AllOpenAndIdle(); ++i) {
    Round();
    Sleep();
  }
  if (!AllOpenAndIdle()) {
    violations_.push_back("a client does not come back over a healed network");
  }
  for (auto& client : clients_) {
    violations_.insert(violations_.end(), client->violations().begin(),
                       client->violations().end());
    const std::string file = absl::StrCat(directory_, "/", client->name());
    std::ifstream in(file, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    const std::string wrong = client->CheckDisk(absl::MakeConstSpan(
        reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
    if (!wrong.empty()) {
      violations_.push_back(absl::StrCat(client->name(), " on disk: ", wrong));
    }
  }
}

SimClient::Stats Simulation::totals() const {
  SimClient::Stats sum;
  for (const auto& client : clients_) {
    sum.sessions += client->stats().sessions;
    sum.completed += client->stats().completed;
    sum.aborted += client->stats().aborted;
  }
  return sum;
}

void Simulation::ChooseFaults() {
  network_->ChooseFaults();
  for (auto& storage : storage_) storage->set_stalled(random_.Below(20) == 0);
}

void Simulation::Round() {
  // Every actor gets a turn, in an order that changes.
  const size_t actors =
      clients_.size() + static_cast<size_t>(server_->worker_count());
  const size_t first = random_.Below(actors);
  for (size_t i = 0; i < actors; ++i) {
    const size_t actor = (first + i) % actors;
    if (actor < clients_.size()) {
      clients_[actor]->Step();
    } else {
      server_->worker(static_cast<int>(actor - clients_.size()))->Progress();
    }
  }
}

void Simulation::Sleep() {
  // Mostly a little; sometimes to the next deadline, so that timers run too.
  if (random_.Below(20) != 0) {
    clock_.Advance(absl::Microseconds(random_.Below(500)));
    return;
  }
  absl::Time next =
      std::min(clock_.Now() + absl::Milliseconds(100), network_->NextArrival());
  for (const auto& client : clients_) {
    next = std::min(next, client->NextDeadline());
  }
  for (int i = 0; i < server_->worker_count(); ++i) {
    next = std::min(next, server_->worker(i)->NextDeadline());
  }
  if (next > clock_.Now()) clock_.Advance(next - clock_.Now());
}

bool Simulation::AllOpenAndIdle() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) {
    return client->open() && client->idle();
  });
}

}  // namespace rnbd::simulation
