// The explanations of a data set on disk, as docs/explanations-format.md describes them:
//
//   explanations.json  what was asked, of which network and of which images
//   index.jsonl        a line an image
//   METHOD.npy         float32 (images, S, S), the raw maps, a row a line of the index
//   lime.labels.npy    int32 (images, S, S), each pixel's superpixel
//   cells.json, METHOD.cells.npy   once all images are there: the mean map of each confusion cell
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tensor/tensor.h"
#include "training/row_array.h"
#include "training/run_folder.h"

namespace glassnet::cli {

// CONVENTION: rows are appended in the order of the index. What is not yet on disk after a kill is
// at most the last second's, and on a GPU the pictures that are explained together; opening the
// folder again cuts every file back to whole rows.
class ExplanationFolder {
 public:
  // Creates the folder, or goes on with one in which the same was asked. `request` is what must be
  // the same, `about` what is only noted. Throws UsageError where something else was asked, naming
  // what, and Error where another process is at work in it or files are damaged.
  ExplanationFolder(std::filesystem::path path, const nlohmann::ordered_json& request,
                    const nlohmann::ordered_json& about, const std::vector<std::string>& methods,
                    int64_t side);

  int64_t rows() const { return rows_ + static_cast<int64_t>(lines_.size()); }
  // maps: of each method, float32 (S, S) on the CPU; labels: int64 (S, S), where LIME is among the
  // methods.
  void append(const nlohmann::ordered_json& line, const std::vector<Tensor>& maps,
              const Tensor& labels);
  void flush();  // to the disk

  const std::filesystem::path& path() const { return path_; }
  // A method's map, (S, S), of a row that is on disk.
  Tensor map(const std::string& method, int64_t row);
  Tensor labels(int64_t row);  // int64 (S, S), where LIME is among the methods
  // Each line of the index, in order.
  std::vector<nlohmann::ordered_json> index() const;

 private:
  RowArray& array(const std::string& name) { return arrays_.at(name); }

  std::filesystem::path path_;
  FolderLock lock_;
  std::vector<std::string> methods_;
  int64_t side_;
  std::map<std::string, RowArray> arrays_;  // by file name
  int64_t rows_ = 0;                        // on disk
  std::vector<std::string> lines_;          // of the index, not yet on disk
  std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

}  // namespace glassnet::cli
