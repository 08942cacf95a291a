// Folders of classes in every arrangement that people bring, and what is wrong with the others.
#include "data/folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/data_support.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TempFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Reading folders looks at names only.
void add(const TempFolder& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) folder.write(name, "bytes");
}
std::vector<std::string> ids(const std::vector<Sample>& samples) {
  std::vector<std::string> result;
  for (const Sample& sample : samples) result.push_back(sample.id);
  return result;
}

TEST(Folder, SortsClassesAndPictures) {
  const TempFolder folder;
  add(folder, {"sea/2.jpg", "sea/10.PNG", "sea/deep/1.bmp", "forest/b.jpeg", "Forest/a.jpg"});
  const ImageFolder read = read_image_folder(folder.path());
  EXPECT_THAT(read.classes, ElementsAre("Forest", "forest", "sea"));
  EXPECT_THAT(ids(read.samples), ElementsAre("Forest/a.jpg", "forest/b.jpeg", "sea/10.PNG",
                                             "sea/2.jpg", "sea/deep/1.bmp"));
  EXPECT_EQ(read.samples[1].label, 1);
  EXPECT_EQ(read.samples[4].label, 2);
  EXPECT_EQ(read.samples[4].path, folder.path() / "sea" / "deep" / "1.bmp");
  EXPECT_THAT(read.warnings, IsEmpty());
}

TEST(Folder, NamesAreUtf8WhateverFoldersAreCalled) {
  const TempFolder folder;
  add(folder, {"a\xff/1\xfe.jpg", "b/1.jpg"});
  const ImageFolder read = read_image_folder(folder.path());
  EXPECT_THAT(read.classes, ElementsAre("a\uFFFD", "b"));
  EXPECT_THAT(ids(read.samples), ElementsAre("a\uFFFD/1\uFFFD.jpg", "b/1.jpg"));
  EXPECT_TRUE(fs::exists(read.samples[0].path));
  add(folder, {"a\xfe/1.jpg"});
  EXPECT_THAT(error_of([&] { read_image_folder(folder.path()); }),
              HasSubstr("two class folders have the same name"));
}

TEST(Folder, SkipsHiddenAndReportsOthers) {
  const TempFolder folder;
  add(folder, {"a/1.jpg", "a/.2.jpg", ".git/3.jpg", "b/4.jpg", "b/.DS_Store"});
  EXPECT_THAT(read_image_folder(folder.path()).warnings, IsEmpty());
  EXPECT_EQ(read_image_folder(folder.path()).samples.size(), 2u);

  add(folder, {"a/notes.txt"});
  EXPECT_THAT(read_image_folder(folder.path()).warnings, ElementsAre(HasSubstr("notes.txt")));
  add(folder, {"loose.jpg", "b/5.gif"});
  EXPECT_THAT(read_image_folder(folder.path()).warnings,
              ElementsAre(AllOf(HasSubstr("3 files"), HasSubstr("notes.txt"))));
  EXPECT_EQ(read_image_folder(folder.path()).samples.size(), 2u);
}

TEST(Folder, FollowsSymlinksButNotInCircles) {
  const TempFolder folder, elsewhere;
  add(elsewhere, {"pictures/1.jpg", "2.jpg"});
  add(folder, {"a/0.jpg"});
  fs::create_directory_symlink(elsewhere.path() / "pictures", folder.path() / "b");
  fs::create_symlink(elsewhere.path() / "2.jpg", folder.path() / "a" / "2.jpg");
  fs::create_directory_symlink(folder.path() / "a", folder.path() / "a" / "again");
  EXPECT_THAT(ids(read_image_folder(folder.path()).samples),
              ElementsAre("a/0.jpg", "a/2.jpg", "b/1.jpg"));
}

TEST(Folder, RefusesWhatCannotBeLearned) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_image_folder(folder / "none"); }), HasSubstr("no such folder"));
  EXPECT_THAT(error_of([&] { read_image_folder(folder.write("file", "")); }),
              HasSubstr("not a folder"));
  EXPECT_THAT(error_of([&] { read_image_folder(folder.path()); }), HasSubstr("each class"));
  fs::create_directory(folder / "hollow");
  EXPECT_THAT(error_of([&] { read_image_folder(folder.path()); }), HasSubstr("hollow"));
}

TEST(Folder, LabelsByTheClassesOfANetwork) {
  const TempFolder folder;
  add(folder, {"sea/1.jpg", "forest/1.jpg"});
  const ImageFolder read = read_image_folder(folder.path(), {"sea", "street", "forest"});
  EXPECT_THAT(read.classes, ElementsAre("sea", "street", "forest"));
  EXPECT_EQ(read.samples[0].id, "forest/1.jpg");
  EXPECT_EQ(read.samples[0].label, 2);
  EXPECT_EQ(read.samples[1].label, 0);
  EXPECT_THAT(read.warnings, ElementsAre(HasSubstr("street")));
  EXPECT_THAT(error_of([&] {
                read_image_folder(folder.path(), {"sea", "street"});
              }),
              HasSubstr("forest"));
}

TEST(Folder, TellsHowClassesWithoutNamesGetThem) {
  const TempFolder folder;
  add(folder, {"sea/1.jpg", "forest/1.jpg"});
  const auto refused = [&](const std::vector<std::string>& classes) {
    return error_of([&] { read_image_folder(folder.path(), classes); });
  };
  EXPECT_THAT(refused({"0", "1"}), AllOf(HasSubstr("--classes FILE"), HasSubstr(": forest, sea")));
  EXPECT_THAT(refused({"0", "1", "2"}),
              AllOf(HasSubstr("--classes FILE"), testing::Not(HasSubstr("order, which"))));
  EXPECT_THAT(refused({"street", "glacier"}), testing::Not(HasSubstr("--classes")));
}

TEST(DataSet, IsFoundInEveryArrangement) {
  struct Case {
    const char *train, *test, *split;
  };
  for (const Case& c : std::vector<Case>{{"train", "test", "test"},
                                         {"train", "val", "val"},
                                         {"train", "valid", "valid"},
                                         {"train", "validation", "validation"},
                                         {"seg_train/seg_train", "seg_test/seg_test", "test"},
                                         {"seg_train", "seg_test", "test"},
                                         {"train/train", "test", "test"}}) {
    SCOPED_TRACE(c.train);
    const TempFolder folder;
    const std::string train = c.train, test = c.test;
    add(folder, {train + "/a/1.jpg", train + "/b/2.jpg", test + "/a/3.jpg", test + "/b/4.jpg"});
    const DataSet data = read_data_set(folder.path());
    EXPECT_THAT(data.classes, ElementsAre("a", "b"));
    EXPECT_THAT(ids(data.train), ElementsAre("a/1.jpg", "b/2.jpg"));
    EXPECT_THAT(ids(data.test), ElementsAre("a/3.jpg", "b/4.jpg"));
    EXPECT_EQ(data.test_split, c.split);
    EXPECT_EQ(read_evaluation_folder(folder.path(), data.classes).root, folder.path() / test);
  }
}

TEST(DataSet, KnowsAClassCalledLikeASplit) {
  const TempFolder folder;
  add(folder, {"train/bus/1.jpg", "train/train/deep/2.jpg", "test/bus/3.jpg", "test/train/4.jpg"});
  const DataSet data = read_data_set(folder.path());
  EXPECT_THAT(data.classes, ElementsAre("bus", "train"));
  EXPECT_THAT(ids(data.train), ElementsAre("bus/1.jpg", "train/deep/2.jpg"));

  const TempFolder alone;
  add(alone, {"test/test/1.jpg"});
  EXPECT_THAT(read_evaluation_folder(alone.path(), {"test"}).classes, ElementsAre("test"));
}

TEST(DataSet, PrefersTestToVal) {
  const TempFolder folder;
  add(folder, {"train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "val/a/4.jpg"});
  const DataSet data = read_data_set(folder.path());
  EXPECT_THAT(ids(data.test), ElementsAre("a/3.jpg"));
  EXPECT_THAT(data.warnings, ElementsAre(HasSubstr("classes: b")));
}

TEST(DataSet, SaysWhatIsMissing) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_data_set(folder.path()); }), HasSubstr("train"));
  add(folder, {"train/a/1.jpg"});
  EXPECT_THAT(error_of([&] { read_data_set(folder.path()); }), HasSubstr("test"));
  add(folder, {"test/a/1.jpg"});
  EXPECT_THAT(error_of([&] { read_data_set(folder.path()); }), HasSubstr("two class folders"));
  add(folder, {"train/b/1.jpg", "test/c/1.jpg", "test/d/1.jpg"});
  EXPECT_THAT(error_of([&] { read_data_set(folder.path()); }), HasSubstr("c, d"));
}

TEST(Evaluation, TakesAPlainFolderOfClasses) {
  const TempFolder folder;
  add(folder, {"b/1.jpg"});
  const ImageFolder read = read_evaluation_folder(folder.path(), {"a", "b"});
  ASSERT_EQ(read.samples.size(), 1u);
  EXPECT_EQ(read.samples[0].label, 1);
}

TEST(HoldBack, TakesAShareOfEachClass) {
  std::vector<Sample> samples;
  for (int i = 0; i < 111; ++i) {
    const int64_t label = i < 100 ? 0 : i < 110 ? 1 : 2;  // 100, 10 and one
    samples.push_back({"", std::to_string(i), label});
  }
  const auto [rest, held] = hold_back(samples, 0.2, 7);
  const auto count = [](const std::vector<Sample>& some, int64_t label) {
    return std::count_if(some.begin(), some.end(),
                         [&](const Sample& s) { return s.label == label; });
  };
  EXPECT_EQ(count(held, 0), 20);
  EXPECT_EQ(count(held, 1), 2);
  EXPECT_EQ(count(held, 2), 0);
  EXPECT_EQ(rest.size() + held.size(), samples.size());
  const auto in_order = [](const std::vector<Sample>& some) {
    return std::is_sorted(some.begin(), some.end(), [](const Sample& a, const Sample& b) {
      return std::stoi(a.id) < std::stoi(b.id);
    });
  };
  EXPECT_TRUE(in_order(rest));
  EXPECT_TRUE(in_order(held));
  EXPECT_EQ(ids(hold_back(samples, 0.2, 7).second), ids(held));
  EXPECT_NE(ids(hold_back(samples, 0.2, 8).second), ids(held));
}

TEST(ExpandImages, TakesFilesAndFolders) {
  const TempFolder folder;
  add(folder, {"x/2.jpg", "x/1.png", "x/sub/3.jpg", "x/readme.txt", "odd.name"});
  const fs::path& root = folder.path();
  EXPECT_THAT(
      expand_images({(root / "odd.name").string(), (root / "x").string()}),
      ElementsAre(root / "odd.name", root / "x/1.png", root / "x/2.jpg", root / "x/sub/3.jpg"));
  EXPECT_THAT(error_of([&] { expand_images({(root / "none.jpg").string()}); }),
              HasSubstr("none.jpg"));
  fs::create_directory(root / "empty");
  EXPECT_THAT(error_of([&] { expand_images({(root / "empty").string()}); }), HasSubstr("empty"));
}

}  // namespace
}  // namespace glassnet
