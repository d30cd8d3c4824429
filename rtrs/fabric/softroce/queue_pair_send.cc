// The packets a queue pair sends, alone or in trains.
#include <optional>
#include <utility>

#include "rtrs/base/log.h"
#include "rtrs/fabric/softroce/queue_pair.h"

namespace rtrs::softroce {

using fabric::MrCheck;
using fabric::MrPin;
using fabric::WcStatus;

void Qp::SendAck() {
  owing_ = false;
  const std::optional<Responder::Ack> ack = responder_->TakeAck();
  if (!ack.has_value()) return;
  Bth bth;
  bth.opcode = static_cast<uint8_t>(Opcode::kAck);
  bth.dest_qpn = dest_qpn_;
  bth.psn = ack->psn;
  uint8_t headers[kBthSize + kAethSize];
  EncodeAeth(ack->aeth, EncodeBth(bth, headers));
  engine_->batch()->Add(*flow_, headers, {}, 0);
}

void Qp::Pump(absl::Time now) {
  TxPacket packet;
  while (requester_->NextPacket(now, &packet)) {
    if (!SendPacket(packet)) {
      requester_->Abort(WcStatus::kLocalProtection);
      return;
    }
  }
}

bool Qp::SendPacket(const TxPacket& packet) {
  TransmitBatch* batch = engine_->batch();
  if (batch->full()) engine_->Send(false);
  for (const fabric::Sge& piece : packet.payload) {
    if (piece.lkey == 0 || piece.length == 0) continue;  // copied when posted
    MrPin pin;
    if (regions_->Pin(piece.lkey, pd_,
                      reinterpret_cast<uint64_t>(piece.address), piece.length,
                      0, &pin) != MrCheck::kOk) {
      return false;
    }
    batch->Hold(std::move(pin));
  }
  uint8_t headers[kMaxHeaderSize];
  uint8_t* end = EncodeBth(packet.bth, headers);
  if (packet.info->Has(OpcodeInfo::kReth)) end = EncodeReth(packet.reth, end);
  if (packet.info->Has(OpcodeInfo::kImm)) end = EncodeImm(packet.imm, end);
  if (packet.info->Has(OpcodeInfo::kIeth)) {
    end = EncodeIeth(packet.invalidate_rkey, end);
  }
  const uint32_t place = batch->Add(*flow_, absl::MakeConstSpan(headers, end),
                                    packet.payload, packet.payload_length);
  if (place > 0 && !trains_proven_) NoteTrain(packet.bth.psn);
  return true;
}

void Qp::NoteTrain(uint32_t psn) {
  if (train_psn_.has_value()) return;
  train_psn_ = psn;
  timeouts_seen_ = requester_->stats().timeouts;
}

void Qp::JudgeTrains() {
  // Packets sent alone are repeated and arrive, packets in trains do not.
  constexpr uint64_t kStrikes = 2;
  if (trains_proven_ || !train_psn_.has_value() || !flow_->trains ||
      requester_->stats().timeouts < timeouts_seen_ + kStrikes) {
    return;
  }
  RTRS_LOG(info,
           "softroce: trains of packets do not get through to {}; sending them "
           "one by one",
           peer_.ToString());
  flow_->trains = false;
}

}  // namespace rtrs::softroce
