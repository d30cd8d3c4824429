#include "tests/simulation/sim_server.h"

#include <algorithm>
#include <utility>

namespace rnbd::simulation {

absl::Status SimServer::Handler::OnSessionUp(rtrs::server::Session* session) {
  sessions_.insert(session);
  return RnbdHandler::OnSessionUp(session);
}

void SimServer::Handler::OnSessionDown(rtrs::server::Session* session) {
  sessions_.erase(session);
  RnbdHandler::OnSessionDown(session);
}

void SimServer::Handler::DropAll() {
  for (rtrs::server::Session* session : std::exchange(sessions_, {})) {
    RnbdHandler::OnSessionDown(session);
  }
}

SimServer::SimServer(SimMachine* machine, const rtrs::SocketAddress& address)
    : losses_(machine->state),
      paths_(machine->exports),
      registry_(machine->boot_secret, &losses_),
      opener_(&paths_, &registry_, machine->io, "/sys") {
  server::SessionServices services;
  services.opener = &opener_;
  services.control = [](const std::function<void()>& task) { task(); };
  handler_ = std::make_unique<Handler>(std::move(services));
  server_ = *rtrs::server::Server::Create({machine->fabric}, machine->clock,
                                          machine->random, machine->options,
                                          handler_.get());
  for (int i = 0; i < server_->worker_count(); ++i) {
    storage_.push_back(
        std::make_unique<SimStorage>(&machine->disks, machine->random));
    server_->worker(i)->AddHook(storage_.back().get());
    handler_->services().workers.push_back(
        {server_->worker(i), storage_.back().get()});
  }
  address_ = *server_->Listen(address);
}

SimServer::~SimServer() {
  for (auto& storage : storage_) storage->Kill();
  handler_->DropAll();
}

void SimServer::Step(size_t actor) {
  server_->worker(static_cast<int>(actor))->Progress();
}

absl::Time SimServer::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (int i = 0; i < server_->worker_count(); ++i) {
    next = std::min(next, server_->worker(i)->NextDeadline());
  }
  return next;
}

void SimServer::Shutdown(bool* down) {
  server_->Shutdown([down] { *down = true; });
}

}  // namespace rnbd::simulation
