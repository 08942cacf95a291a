// Pictures on disk: a folder a class, and a data set of such folders.
//
//   DATA/train/forest/1.jpg      DATA/seg_train/seg_train/forest/1.jpg   (Kaggle's archives)
//   DATA/test/forest/2.jpg       DATA/seg_test/seg_test/forest/2.jpg
//
// Names that start with a dot are skipped, symlinks are followed, and everything is sorted by the
// bytes of its name, so that labels and order are the same on every machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace glassnet {

struct Sample {
  std::filesystem::path path;
  std::string id;      // the path below its split's folder, as valid UTF-8: "forest/1.jpg"
  int64_t label = -1;  // an index into the classes
};

// One folder with a folder a class. Pictures may lie deeper than the class folder.
struct ImageFolder {
  std::filesystem::path root;
  std::vector<std::string> classes;   // sorted
  std::vector<Sample> samples;        // class after class, each sorted
  std::vector<std::string> warnings;  // a sentence each: files that are no pictures, and the like
};

// Throws Error when the folder is missing or unreadable, holds no class folders, or a class folder
// holds no picture.
ImageFolder read_image_folder(const std::filesystem::path& folder);
// The same with labels by `classes`, those of a trained network: class folders that it does not
// know are an Error that lists them and tells how numbers get names, classes without a folder a
// warning.
ImageFolder read_image_folder(const std::filesystem::path& folder,
                              const std::vector<std::string>& classes);

struct DataSet {
  std::filesystem::path root;
  std::vector<std::string> classes;  // those of the training folder, sorted
  std::vector<Sample> train, test;
  std::string test_split;  // what the test pictures' folder is called: "test", "val", …
  std::vector<std::string> warnings;
};

// Finds train and test (or else val, valid, validation) as drawn above; train/train beside other
// folders, or without folders in it, is a class of that name. Throws Error for what the
// folders above throw, for fewer than two classes, and for a missing split.
DataSet read_data_set(const std::filesystem::path& root);

// The pictures to evaluate a network of `classes` on: a split when `folder` is a data set ("test"
// by whatever name, or "train"), else `folder` itself as a folder a class. Throws Error for a
// training split that is not there, and UsageError for another name.
ImageFolder read_evaluation_folder(const std::filesystem::path& folder,
                                   const std::vector<std::string>& classes,
                                   const std::string& split = "test");

// Splits samples in two, class by class: the second part gets the nearest number to `share` (0 … 1)
// of each class's, chosen by the seed, but never its last one. Both parts keep the order.
std::pair<std::vector<Sample>, std::vector<Sample>> hold_back(const std::vector<Sample>& samples,
                                                              double share, uint64_t seed);

// Files as they are, folders as the pictures in them at any depth, sorted. Throws Error for what
// does not exist and for a folder without pictures.
std::vector<std::filesystem::path> expand_images(const std::vector<std::string>& arguments);

}  // namespace glassnet
