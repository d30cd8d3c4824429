// Requests that the tests of the checker send.
#ifndef TESTS_PCAP_REQUESTS_H_
#define TESTS_PCAP_REQUESTS_H_

#include <cstdint>
#include <vector>

#include "tests/pcap/conversation.h"

namespace rtrs::pcap {

inline constexpr rnbd::wire::Io kRead{
    0, 8, rnbd::wire::Op::kRead, rnbd::wire::Io::kSync, 4096, 0};
inline constexpr rnbd::wire::Io kWrite{0, 8,    rnbd::wire::Op::kWrite,
                                       0, 4096, 0};
inline constexpr rnbd::wire::Io kFlush{
    0, UINT64_MAX, rnbd::wire::Op::kFlush, rnbd::wire::Io::kFua, 0, 0};
inline constexpr rnbd::wire::Io kDiscard{0, 0,     rnbd::wire::Op::kDiscard,
                                         0, 65536, 0};
inline const std::vector<uint8_t> kData(4096, 0xda);

inline void AnswerRead(Conversation* c, uint32_t buf_id) {
  c->Write(1, Sender::kServer, Conversation::kBuffer.address,
           Conversation::kBuffer.rkey, kData);
  c->Respond(1, buf_id);
}

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_REQUESTS_H_
