// Reads captures of RTRS and RNBD over RoCEv2 or iWARP and holds every message
// against the description of the protocol.
//
//   rtrs_pcap [-v] FILE...
//
// One line per connection, one per problem; -v shows every message. Exit code
// 0: all fits. 1: something does not. 2: a file cannot be read, or has no
// RTRS connection in it.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/pcap/capture_file.h"
#include "tests/pcap/checker.h"
#include "tests/pcap/report.h"

namespace {

constexpr int kFits = 0;
constexpr int kProblems = 1;
constexpr int kUnreadable = 2;

int CheckFile(const std::string& path, bool verbose) {
  const auto frames = rtrs::pcap::ReadCapture(path);
  if (!frames.ok()) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(),
                 absl::StrCat(frames.status().message()).c_str());
    return kUnreadable;
  }
  rtrs::pcap::Report report(verbose);
  rtrs::pcap::CheckCapture(*frames, &report);
  for (const std::string& line : report.trace()) {
    std::printf("%s: %s\n", path.c_str(), line.c_str());
  }
  for (const rtrs::pcap::Problem& problem : report.problems()) {
    std::printf("%s: PROBLEM: %s\n", path.c_str(),
                report.ProblemText(problem).c_str());
  }
  for (size_t i = 0; i < report.connections().size(); ++i) {
    std::printf("%s: %s\n", path.c_str(), report.SummaryText(i).c_str());
  }
  if (!report.problems().empty()) return kProblems;
  if (report.connections().empty()) {
    std::fprintf(stderr, "%s: no RTRS connection in %zu frames\n", path.c_str(),
                 frames->size());
    return kUnreadable;
  }
  return kFits;
}

}  // namespace

int main(int argc, char** argv) {
  bool verbose = false;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "-v") == 0) {
      verbose = true;
    } else {
      files.emplace_back(argv[i]);
    }
  }
  if (files.empty() || files[0][0] == '-') {
    std::fprintf(stderr, "usage: rtrs_pcap [-v] FILE...\n");
    return kUnreadable;
  }
  int result = kFits;
  for (const std::string& file : files) {
    result = std::max(result, CheckFile(file, verbose));
  }
  return result;
}
