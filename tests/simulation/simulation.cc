#include "tests/simulation/simulation.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace rnbd::simulation {
namespace {

constexpr uint32_t kSectors = 512;  // of a disk
constexpr int kHealRounds = 200000;

}  // namespace

Simulation::Simulation(FabricKind kind, uint64_t seed,
                       const std::string& directory)
    : random_(seed), network_(SimNetwork::Create(kind, &clock_, &random_)) {
  SetUpMachine(directory);
  address_ = *rtrs::SocketAddress::Parse("127.0.0.1", 1234);
  StartServer();
  const uint64_t clients = 1 + random_.Below(3);
  for (uint64_t i = 0; i < clients; ++i) AddClient(absl::StrCat("disk", i));
  ChooseRates();
}

void Simulation::SetUpMachine(const std::string& directory) {
  machine_.fabric = network_->fabric();
  machine_.clock = &clock_;
  machine_.random = &random_;
  machine_.exports = directory + "/exports";
  machine_.state = directory + "/state";
  std::filesystem::create_directory(machine_.exports);
  machine_.io =
      random_.Below(8) == 0 ? server::IoMode::kAuto : server::IoMode::kQueued;
  rtrs::server::ServerOptions& options = machine_.options;
  options.workers = 1 + static_cast<uint32_t>(random_.Below(3));
  options.sess_queue_depth = 4 + static_cast<uint32_t>(random_.Below(8));
  options.max_chunk_size = 32768;
  using rtrs::wire::Capabilities;
  options.capabilities.bits = Capabilities::kFence |
                              Capabilities::kWriteVerifier |
                              Capabilities::kWriteZeroes;
}

void Simulation::AddClient(const std::string& name) {
  machine_.disks.list.push_back(std::make_unique<SimDisk>(
      absl::StrCat(machine_.exports, "/", name), kSectors, &random_));
  std::vector<rtrs::SocketAddress> sources;
  const uint64_t paths = 1 + random_.Below(3);
  for (uint64_t i = 0; i < paths; ++i) {
    sources.push_back(*rtrs::SocketAddress::Parse(
        absl::StrCat("127.0.1.", sources_.size() + 1), 0));
    sources_.push_back(sources.back());
  }
  SimClient::World world;
  world.fabric = network_->fabric();
  world.clock = &clock_;
  world.random = &random_;
  world.trace = &trace_;
  world.disks = &machine_.disks;
  world.disk = machine_.disks.list.back().get();
  clients_.push_back(std::make_unique<SimClient>(name, world, address_,
                                                 std::move(sources), kSectors));
}

void Simulation::ChooseRates() {
  plan_.Set(Fault::kNetwork, 50);
  plan_.Set(Fault::kFreeze, 3000);
  plan_.Set(Fault::kCutPath, 500);
  plan_.Set(Fault::kHoldPath, 1500);
  plan_.Set(Fault::kCutAll, 5000);
  plan_.Set(Fault::kKillClient, 3000);
  plan_.Set(Fault::kKillServer, 2000);
  plan_.Set(Fault::kStopServer, 4000);
  plan_.Set(Fault::kStallDisks, 2000);
  plan_.Set(Fault::kTimeJump, 1000);
  // What is done inline, in the page cache, never reaches the disks' caches.
  if (machine_.io == server::IoMode::kAuto) return;
  plan_.Set(Fault::kCutPower, 1500);
  if (random_.Below(2) == 0) return;
  plan_.Set(Fault::kFailDisks, 1500);
  plan_.Set(Fault::kFillDisks, 3000);
}

Simulation::~Simulation() {
  clients_.clear();
  plan_.Heal();
  if (server_ != nullptr && !stopped_) {
    server_->Shutdown(&stopped_);
    for (int i = 0; i < kHealRounds && !stopped_; ++i) {
      for (size_t actor = 0; actor < server_->actors(); ++actor) {
        server_->Step(actor);
      }
      Sleep();
    }
  }
  server_.reset();
}

void Simulation::StartServer() {
  start_at_ = absl::InfiniteFuture();
  absl::StrAppend(&trace_, "server starts\n");
  stopped_ = false;
  downtime_ = absl::InfiniteDuration();
  server_ = std::make_unique<SimServer>(&machine_, address_);
}

void Simulation::KillServer(bool cut_power, absl::Duration downtime) {
  absl::StrAppend(&trace_, cut_power ? "power cut\n" : "server killed\n");
  server_.reset();
  start_at_ = clock_.Now() + downtime;
  if (!cut_power) return;
  for (auto& disk : machine_.disks.list) disk->CutPower();
  machine_.boot_secret = random_.Uint64();
  std::filesystem::remove_all(machine_.state);
}

void Simulation::StopServer(absl::Duration downtime) {
  if (server_ == nullptr || downtime_ != absl::InfiniteDuration()) return;
  absl::StrAppend(&trace_, "server stops\n");
  downtime_ = downtime;
  server_->Shutdown(&stopped_);
}

void Simulation::Run(int rounds) {
  for (int i = 0; i < rounds && violations_.empty(); ++i) {
    plan_.Step();
    Round();
    Sleep();
    for (auto& client : clients_) {
      if (!client->violations().empty()) violations_ = client->violations();
    }
  }
  if (!violations_.empty()) return;
  plan_.Heal();
  for (auto& client : clients_) client->Quiesce();
  for (int i = 0; i < kHealRounds && !AllOpenAndIdle(); ++i) {
    Round();
    Sleep();
  }
  if (!AllOpenAndIdle()) {
    violations_.push_back("a client does not come back over a healed network");
  }
  CheckDisks();
}

void Simulation::CheckDisks() {
  for (size_t i = 0; i < clients_.size(); ++i) {
    violations_.insert(violations_.end(), clients_[i]->violations().begin(),
                       clients_[i]->violations().end());
    const std::string wrong =
        clients_[i]->CheckDisk(machine_.disks.list[i]->Content());
    if (!wrong.empty()) {
      violations_.push_back(
          absl::StrCat(clients_[i]->name(), " on disk: ", wrong));
    }
  }
}

SimClient::Stats Simulation::totals() const {
  SimClient::Stats sum;
  for (const auto& client : clients_) {
    sum.sessions += client->stats().sessions;
    sum.completed += client->stats().completed;
    sum.aborted += client->stats().aborted;
    sum.resumed += client->stats().resumed;
    sum.failed += client->stats().failed;
    sum.losses += client->stats().losses;
  }
  return sum;
}

void Simulation::Round() {
  if (stopped_ && server_ != nullptr) {
    absl::StrAppend(&trace_, "server stopped\n");
    server_.reset();
    start_at_ = clock_.Now() + downtime_;
  }
  if (clock_.Now() >= start_at_) StartServer();
  // Every actor gets a turn, in an order that changes.
  const size_t workers = server_ == nullptr ? 0 : server_->actors();
  const size_t actors = clients_.size() + workers;
  const size_t first = random_.Below(actors);
  for (size_t i = 0; i < actors; ++i) {
    const size_t actor = (first + i) % actors;
    if (actor < clients_.size()) {
      clients_[actor]->Step();
    } else {
      server_->Step(actor - clients_.size());
    }
  }
}

void Simulation::Sleep() {
  // Mostly a little; sometimes to the next deadline, so that timers run too.
  if (random_.Below(20) != 0) {
    clock_.Advance(absl::Microseconds(random_.Below(500)));
    return;
  }
  absl::Time next = std::min({clock_.Now() + absl::Milliseconds(100), start_at_,
                              network_->NextArrival()});
  for (const auto& client : clients_) {
    next = std::min(next, client->NextDeadline());
  }
  if (server_ != nullptr) next = std::min(next, server_->NextDeadline());
  if (next > clock_.Now()) clock_.Advance(next - clock_.Now());
}

bool Simulation::AllOpenAndIdle() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) {
    return client->open() && client->idle();
  });
}

}  // namespace rnbd::simulation
