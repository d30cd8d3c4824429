#include "rtrs/fabric/softroce/port_owner.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "rtrs/fabric/softroce/packet.h"

namespace rtrs::softroce {
namespace {

namespace fs = std::filesystem;

std::string ReadLine(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::vector<fs::path> List(const fs::path& directory) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator i(directory, error), end; !error && i != end;
       i.increment(error)) {
    entries.push_back(i->path());
  }
  return entries;
}

// As sysfs writes it; an IPv4 address is mapped into IPv6.
std::string GidText(const SocketAddress& address) {
  uint8_t gid[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  if (address.family() == AF_INET) {
    std::memcpy(gid + 12,
                &reinterpret_cast<const sockaddr_in*>(address.addr())->sin_addr,
                4);
  } else {
    std::memcpy(
        gid, &reinterpret_cast<const sockaddr_in6*>(address.addr())->sin6_addr,
        16);
  }
  std::string text;
  for (int i = 0; i < 16; i += 2) {
    absl::StrAppendFormat(&text, "%s%02x%02x", i == 0 ? "" : ":", gid[i],
                          gid[i + 1]);
  }
  return text;
}

// The local address as /proc/net/udp and udp6 write it.
std::string ProcText(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    return absl::StrFormat(
        "%08X",
        reinterpret_cast<const sockaddr_in*>(address.addr())->sin_addr.s_addr);
  }
  std::string text;
  uint32_t words[4];
  std::memcpy(words,
              &reinterpret_cast<const sockaddr_in6*>(address.addr())->sin6_addr,
              sizeof(words));
  for (const uint32_t word : words) absl::StrAppendFormat(&text, "%08X", word);
  return text;
}

// Inodes of the sockets on port 4791 of `address` or of all addresses. The
// kernel's own sockets have none.
std::set<std::string> SocketsOnPort(const SocketAddress& address) {
  const std::string own = ProcText(address);
  const std::string any(own.size(), '0');
  std::set<std::string> inodes;
  std::ifstream in(address.family() == AF_INET ? "/proc/net/udp"
                                               : "/proc/net/udp6");
  std::string line;
  while (std::getline(in, line)) {
    const std::vector<std::string> fields =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields.size() < 10) continue;
    const std::vector<std::string> local = absl::StrSplit(fields[1], ':');
    uint32_t port = 0;
    if (local.size() != 2 || !absl::SimpleHexAtoi(local[1], &port)) continue;
    if (port == kUdpPort && (local[0] == own || local[0] == any) &&
        fields[9] != "0") {
      inodes.insert(fields[9]);
    }
  }
  return inodes;
}

bool Holds(const fs::path& process, const std::set<std::string>& inodes) {
  for (const fs::path& fd : List(process / "fd")) {
    char target[64] = {};
    if (readlink(fd.c_str(), target, sizeof(target) - 1) <= 0) continue;
    absl::string_view link(target);
    if (absl::ConsumePrefix(&link, "socket:[") &&
        absl::ConsumeSuffix(&link, "]") &&
        inodes.count(std::string(link)) > 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string FindRdmaDevice(const SocketAddress& address) {
  const std::string gid = GidText(address);
  for (const fs::path& device : List("/sys/class/infiniband")) {
    for (const fs::path& port : List(device / "ports")) {
      for (const fs::path& entry : List(port / "gids")) {
        if (ReadLine(entry) != gid) continue;
        const std::string type =
            ReadLine(port / "gid_attrs" / "types" / entry.filename());
        if (absl::StrContains(type, "v2")) return device.filename();
      }
    }
  }
  return "";
}

std::string DescribePortOwner(const SocketAddress& address) {
  std::string owners;
  const std::set<std::string> inodes = SocketsOnPort(address);
  if (!inodes.empty()) {
    for (const fs::path& process : List("/proc")) {
      int pid = 0;
      if (!absl::SimpleAtoi(process.filename().string(), &pid)) continue;
      if (!Holds(process, inodes)) continue;
      absl::StrAppend(&owners, owners.empty() ? " by " : ", ", "process ", pid,
                      " (", ReadLine(process / "comm"), ")");
    }
  }
  if (owners.empty() && access("/sys/module/rdma_rxe", F_OK) == 0) {
    return " by the kernel's rdma_rxe: use fabric=verbs, or unload it";
  }
  return absl::StrCat(
      owners,
      ": one process can use it on one address; use another local address "
      "(path=ip:SOURCE@ip:DESTINATION, or --listen of the server)");
}

}  // namespace rtrs::softroce
