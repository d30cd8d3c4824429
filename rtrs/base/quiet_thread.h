// Threads that get no signals: those are for the program's own threads.
#ifndef RTRS_BASE_QUIET_THREAD_H_
#define RTRS_BASE_QUIET_THREAD_H_

#include <functional>
#include <thread>

namespace rtrs {

// Starts a thread with all signals blocked. Throws as std::thread does.
std::thread StartQuietThread(std::function<void()> body);

}  // namespace rtrs

#endif  // RTRS_BASE_QUIET_THREAD_H_
