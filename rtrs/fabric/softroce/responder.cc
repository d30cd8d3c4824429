#include "rtrs/fabric/softroce/responder.h"

namespace rtrs::softroce {

using fabric::WcStatus;
using Info = OpcodeInfo;

void Responder::OnPacket(const Packet& packet) {
  if (failed_) return;
  ++stats_.packets;
  const uint32_t psn = packet.bth.psn;
  const int32_t difference = ComparePsn(psn, epsn_);
  if (difference < 0) {
    // Executed already, so the acknowledgement was lost: say again how far. A
    // NAK that waits to be sent says it too.
    ++stats_.duplicates;
    if (!ack_.has_value()) {
      ack_ = Ack{AddPsn(epsn_, kPsnMask), {kAckSyndrome, msn_}};
    }
    return;
  }
  if (difference > 0) {
    ++stats_.gaps;
    if (!nak_sent_) {
      nak_sent_ = true;
      ack_ = Ack{epsn_, {kNakPsnSequence, msn_}};
    }
    return;
  }
  nak_sent_ = false;
  if (!InOrder(packet)) return;
  epsn_ = AddPsn(psn, 1);
  if (packet.info->Has(Info::kEnd)) Complete(packet);
  if (packet.bth.ack_request) ack_ = Ack{psn, {kAckSyndrome, msn_}};
}

bool Responder::InOrder(const Packet& packet) {
  const Info& info = *packet.info;
  const uint32_t psn = packet.bth.psn;
  if (info.Has(Info::kRefused) || !info.Has(Info::kSend | Info::kWrite)) {
    return Refuse(psn, kNakInvalidRequest, WcStatus::kRemoteInvalid);
  }
  const Message kind = info.Has(Info::kSend) ? Message::kSend : Message::kWrite;
  const bool starts = info.Has(Info::kStart);
  if (starts ? message_ != Message::kNone : message_ != kind) {
    return Refuse(psn, kNakInvalidRequest, WcStatus::kRemoteInvalid);
  }
  // All but the last packet are exactly as long as the path allows, unpadded.
  const size_t size = packet.payload.size();
  const bool ends = info.Has(Info::kEnd);
  if (packet.bth.pad != (-size & 3) ||
      (ends ? size > mtu_ || (!starts && size == 0) : size != mtu_)) {
    return Refuse(psn, kNakInvalidRequest, WcStatus::kRemoteInvalid);
  }
  if (info.Has(Info::kReceive) && receives_.empty()) {
    ++stats_.rnr_naks;
    nak_sent_ = true;  // what follows is out of order until it is sent again
    ack_ = Ack{psn, {static_cast<uint8_t>(kRnrNak | kRnrTimerCode), msn_}};
    return false;
  }
  const bool placed =
      kind == Message::kSend ? PlaceSend(packet) : PlaceWrite(packet);
  if (!placed) return false;
  message_ = ends ? Message::kNone : kind;
  return true;
}

bool Responder::PlaceSend(const Packet& packet) {
  if (packet.info->Has(Info::kStart)) received_ = 0;
  const fabric::RecvWr& receive = receives_.front();
  const size_t size = packet.payload.size();
  if (size > receive.length - received_) {
    Push(receive.wr_id, WcStatus::kLocalLength);
    receives_.pop_front();
    return Refuse(packet.bth.psn, kNakInvalidRequest, WcStatus::kFlushed);
  }
  if (size > 0 &&
      !memory_->WriteReceive(receive.lkey, receive.address + received_,
                             packet.payload)) {
    Push(receive.wr_id, WcStatus::kLocalProtection);
    receives_.pop_front();
    return Refuse(packet.bth.psn, kNakRemoteOperation, WcStatus::kFlushed);
  }
  received_ += static_cast<uint32_t>(size);
  return true;
}

bool Responder::PlaceWrite(const Packet& packet) {
  const uint32_t psn = packet.bth.psn;
  const size_t size = packet.payload.size();
  if (packet.info->Has(Info::kStart)) {
    // A length of 0 names no memory: address and key are not looked at.
    if (packet.reth.length > 0 &&
        !memory_->MayWrite(packet.reth.rkey, packet.reth.address,
                           packet.reth.length)) {
      return Refuse(psn, kNakRemoteAccess, WcStatus::kRemoteAccess);
    }
    write_ = packet.reth;
    write_length_ = packet.reth.length;
  }
  const bool ends = packet.info->Has(Info::kEnd);
  if (size > write_.length || ends != (size == write_.length)) {
    return Refuse(psn, kNakInvalidRequest, WcStatus::kRemoteInvalid);
  }
  if (size > 0 &&
      !memory_->Write(write_.rkey, write_.address, packet.payload)) {
    return Refuse(psn, kNakRemoteAccess, WcStatus::kRemoteAccess);
  }
  write_.address += size;
  write_.length -= static_cast<uint32_t>(size);
  return true;
}

void Responder::Complete(const Packet& packet) {
  const Info& info = *packet.info;
  msn_ = AddPsn(msn_, 1);
  const bool send = info.Has(Info::kSend);
  if (!send && !info.Has(Info::kImm)) return;  // a plain write says nothing
  ReceiveCompletion done;
  done.wc.wr_id = receives_.front().wr_id;
  receives_.pop_front();
  done.wc.opcode =
      send ? fabric::WcOpcode::kRecv : fabric::WcOpcode::kRecvRdmaWithImm;
  done.wc.byte_len = send ? received_ : write_length_;
  if (info.Has(Info::kImm)) {
    done.wc.flags |= fabric::kWithImm;
    done.wc.imm = packet.imm;
  }
  if (info.Has(Info::kIeth)) {
    if (!memory_->Invalidate(packet.invalidate_rkey)) {
      Push(done.wc.wr_id, WcStatus::kLocalProtection);
      Refuse(packet.bth.psn, kNakRemoteAccess, WcStatus::kFlushed);
      return;
    }
    done.wc.flags |= fabric::kWithInv;
    done.wc.invalidated_rkey = packet.invalidate_rkey;
  }
  completions_.push_back(done);
}

bool Responder::Refuse(uint32_t psn, uint8_t syndrome, WcStatus status) {
  ++stats_.refused;
  ack_ = Ack{psn, {syndrome, msn_}};
  failed_ = true;
  if (status != WcStatus::kFlushed && !receives_.empty()) {
    Push(receives_.front().wr_id, status);
    receives_.pop_front();
  }
  return false;
}

std::optional<Responder::Ack> Responder::TakeAck() {
  std::optional<Ack> ack = ack_;
  ack_.reset();
  return ack;
}

bool Responder::NextCompletion(ReceiveCompletion* out) {
  if (completions_.empty()) return false;
  *out = completions_.front();
  completions_.pop_front();
  return true;
}

void Responder::Flush() {
  failed_ = true;
  while (!receives_.empty()) {
    Push(receives_.front().wr_id, WcStatus::kFlushed);
    receives_.pop_front();
  }
}

void Responder::Push(uint64_t wr_id, WcStatus status) {
  ReceiveCompletion done;
  done.wc.wr_id = wr_id;
  done.wc.status = status;
  done.wc.opcode = fabric::WcOpcode::kRecv;
  completions_.push_back(done);
}

}  // namespace rtrs::softroce
