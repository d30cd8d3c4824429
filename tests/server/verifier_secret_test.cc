// What keeps a write verifier and what changes it.
#include "server/verifier_secret.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"

namespace rnbd::server {
namespace {

class VerifierSecretTest : public testing::Test {
 protected:
  VerifierSecretTest() {
    std::string name = testing::TempDir() + "/verifierXXXXXX";
    directory_ = mkdtemp(name.data());
    file_ = absl::StrCat(directory_, "/rnbd-server-", geteuid(), ".verifier");
  }
  ~VerifierSecretTest() override { std::filesystem::remove_all(directory_); }
  VerifierSecret Start(const std::string& boot_id = "boot-1") {
    return VerifierSecret(directory_, boot_id, &random_);
  }

  rtrs::SeededRandom random_{1};
  std::string directory_;
  std::string file_;
};

TEST_F(VerifierSecretTest, OutlivesTheProcess) {
  EXPECT_EQ(Start().value(), Start().value());
}

TEST_F(VerifierSecretTest, ChangesWithTheMachinesStart) {
  EXPECT_NE(Start("boot-1").value(), Start("boot-2").value());
  EXPECT_EQ(Start("boot-2").value(), Start("boot-2").value());
}

TEST_F(VerifierSecretTest, ChangesAfterALoss) {
  const VerifierSecret before = Start();
  before.Forget();
  EXPECT_NE(Start().value(), before.value());
  before.Forget();
  before.Forget();  // nothing is there any more
}

TEST_F(VerifierSecretTest, IsNewEachTimeWithoutABootId) {
  EXPECT_NE(Start("").value(), Start("").value());
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(VerifierSecretTest, IsNewEachTimeWithoutADirectory) {
  const VerifierSecret one("/nonexistent", "boot-1", &random_);
  const VerifierSecret two("/nonexistent", "boot-1", &random_);
  EXPECT_NE(one.value(), two.value());
}

TEST_F(VerifierSecretTest, FileThatOthersCanWriteIsNotBelieved) {
  const uint64_t value = Start().value();
  ASSERT_EQ(chmod(file_.c_str(), 0666), 0);
  EXPECT_NE(Start().value(), value);
}

TEST_F(VerifierSecretTest, LinkIsNotFollowed) {
  const uint64_t value = Start().value();
  std::filesystem::rename(file_, file_ + ".other");
  std::filesystem::create_symlink(file_ + ".other", file_);
  EXPECT_NE(Start().value(), value);
}

TEST_F(VerifierSecretTest, DamagedFileIsReplaced) {
  const uint64_t value = Start().value();
  ASSERT_EQ(truncate(file_.c_str(), 3), 0);
  const uint64_t next = Start().value();
  EXPECT_NE(next, value);
  EXPECT_EQ(Start().value(), next);
}

}  // namespace
}  // namespace rnbd::server
