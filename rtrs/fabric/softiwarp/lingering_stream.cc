#include "rtrs/fabric/softiwarp/lingering_stream.h"

#include <errno.h>

#include <array>
#include <utility>

#include "rtrs/fabric/softiwarp/device_limits.h"

namespace rtrs::fabric::softiwarp {

bool DiscardInput(ByteStream* stream) {
  std::array<uint8_t, 16 << 10> sink;
  const iovec part = {sink.data(), sink.size()};
  // Bounded, so that a peer that never stops does not hold up the others.
  for (int i = 0; i < 16; ++i) {
    const ssize_t n = stream->Read({&part, 1});
    if (n == -EAGAIN) return false;
    if (n <= 0) return true;
  }
  return false;
}

LingeringStream::LingeringStream(Channel* channel,
                                 std::unique_ptr<ByteStream> stream,
                                 std::vector<uint8_t> last_words)
    : channel_(channel),
      stream_(std::move(stream)),
      last_words_(std::move(last_words)) {
  channel_->AddRare();
  const bool usable = WriteLastWords();
  const uint32_t interest = written_ < last_words_.size()
                                ? kReadable | kWritable
                                : uint32_t{kReadable};
  done_ = !usable || !channel_->Watch(stream_.get(), interest, this).ok();
  if (!done_) channel_->SetTimer(this, kLingerTimeout);
}

LingeringStream::~LingeringStream() {
  channel_->Unwatch(stream_.get());
  channel_->CancelTimer(this);
  channel_->RemoveRare();
}

bool LingeringStream::WriteLastWords() {
  while (written_ < last_words_.size()) {
    const iovec part = {&last_words_[written_], last_words_.size() - written_};
    const ssize_t n = stream_->Write({&part, 1});
    if (n == -EAGAIN) return true;
    if (n < 0) return false;
    written_ += static_cast<size_t>(n);
  }
  stream_->ShutdownWrite();
  return true;
}

void LingeringStream::OnReady(uint32_t interest) {
  if (done_) return;
  if ((interest & kWritable) != 0 && written_ < last_words_.size()) {
    if (!WriteLastWords()) return Finish();
    if (written_ == last_words_.size()) {
      channel_->Rewatch(stream_.get(), kReadable, this);
    }
  }
  if ((interest & kReadable) != 0 && DiscardInput(stream_.get())) Finish();
}

void LingeringStream::OnTimer() { Finish(); }

void LingeringStream::Finish() {
  done_ = true;
  channel_->Retire(this);
}

}  // namespace rtrs::fabric::softiwarp
