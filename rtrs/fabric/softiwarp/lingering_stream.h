// A stream whose connection is over: writes its last words (a Terminate, a
// rejection), ends our half, and throws away what still arrives, so that the
// close does not reset the connection and destroy them. spec/iwarp.md §5.4.
//
// Owned by its channel; one thread.
#ifndef RTRS_FABRIC_SOFTIWARP_LINGERING_STREAM_H_
#define RTRS_FABRIC_SOFTIWARP_LINGERING_STREAM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "rtrs/fabric/softiwarp/event_channel.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

// Reads and discards. True at the end of the stream or an error, false when
// there is nothing to read now.
bool DiscardInput(ByteStream* stream);

class LingeringStream : public EventSource {
 public:
  LingeringStream(Channel* channel, std::unique_ptr<ByteStream> stream,
                  std::vector<uint8_t> last_words);
  ~LingeringStream() override;

  void OnReady(uint32_t interest) override;
  void OnTimer() override;
  bool done() const { return done_; }

 private:
  // False when the stream is of no more use.
  bool WriteLastWords();
  void Finish();

  Channel* channel_;
  std::unique_ptr<ByteStream> stream_;
  std::vector<uint8_t> last_words_;
  size_t written_ = 0;
  bool done_ = false;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_LINGERING_STREAM_H_
