// Which plans were the quickest, kept on disk: a text file for each kind of GPU with its libraries,
//
//   glassnet plans 1: NVIDIA H200, 132 multiprocessors, cuDNN 9.19.0, CUDA 13.0, driver 580.65.06
//   conv2d bfloat16 forward of x (256, 56, 56, 64), ... = engine 62 2=1 13=1 18=0 25=1 27=7 28=1
//
// one choice a line, a plan with cuDNN's numbers for its engine and what can be set about it. A
// file may be deleted at any time: what is not known is timed again.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <string>

#include "kernels/plan_choices.h"

namespace glassnet {

// CONVENTION: never throws for what is on the disk. A file that cannot be read, or is none of
// these, counts as empty and is replaced with the next choice; where none can be written, choices
// last as long as the process. The first of such failures is told on stderr, in a line.
class PlanFolder : public kernels::PlanChoices {
 public:
  // Made when there is something to keep. Empty: nothing is read or written.
  explicit PlanFolder(std::filesystem::path folder);

  std::string find(const std::string& device, const std::string& key) override;
  void keep(const std::string& device, const std::string& key,
            const std::string& identity) override;

  std::filesystem::path file_of(const std::string& device) const;

 private:
  using Choices = std::map<std::string, std::string>;
  Choices read(const std::string& device);
  Choices& known(const std::string& device);
  void tell(const char* what, const char* why);

  std::filesystem::path folder_;
  std::mutex mutex_;
  std::map<std::string, Choices> known_;  // by device
  bool told_ = false;
};

// $GLASSNET_CACHE_DIR, $XDG_CACHE_HOME/glassnet or ~/.cache/glassnet: the first whose variable
// holds an absolute path, for others are passed over; empty when none does.
std::filesystem::path cache_folder();

// Has the plans of a GPU's libraries timed and kept in cache_folder(), for the whole process,
// unless GLASSNET_TUNE=0. Trainer and the program do so; nothing is timed before.
void use_plan_folder();

}  // namespace glassnet
