#include "training/checkpoint.h"

#include <charconv>
#include <cmath>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "models/safetensors.h"

namespace glassnet {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kState = "glassnet.state";        // in the weight file: the state's name
constexpr const char* kProgress = "glassnet.progress";  // in the state
constexpr const char* kEpoch = "glassnet.epoch";        // in weight files
constexpr const char* kStatePrefix = "last.state-";

// JSON numbers are written with as many digits as tell a double apart, so that the sums of an
// interrupted epoch go on exactly. Losses that are no number become null.
std::string to_text(const RunProgress& p) {
  return Json{{"epochs_done", p.epochs_done},
              {"steps_done", p.steps_done},
              {"loss_sum", p.loss_sum},
              {"correct", p.correct},
              {"images", p.images},
              {"seconds", p.seconds},
              {"best_epoch", p.best_epoch},
              {"best_accuracy", p.best_accuracy},
              {"best_loss", p.best_loss},
              {"validation_predicted", p.validation_predicted},
              {"loss_scale", p.loss_scale.scale},
              {"good_steps", p.loss_scale.good_steps}}
      .dump();
}

RunProgress parse_progress(const std::string& text) {
  const Json json = Json::parse(text);
  const Json& best_loss = json.at("best_loss");
  return {.loss_scale = {.scale = json.value("loss_scale", 1.0),
                         .good_steps = json.value("good_steps", int64_t{0})},
          .epochs_done = json.at("epochs_done").get<int64_t>(),
          .steps_done = json.at("steps_done").get<int64_t>(),
          .loss_sum = json.at("loss_sum").get<double>(),
          .correct = json.at("correct").get<int64_t>(),
          .images = json.at("images").get<int64_t>(),
          .seconds = json.at("seconds").get<double>(),
          .best_epoch = json.at("best_epoch").get<int64_t>(),
          .best_accuracy = json.at("best_accuracy").get<double>(),
          .best_loss = best_loss.is_null() ? std::nan("") : best_loss.get<double>(),
          .validation_predicted = json.value("validation_predicted", std::vector<int64_t>{})};
}

void remove_states_but(const RunFolder& folder, const std::string& kept) {
  std::error_code ignored;
  for (fs::directory_iterator it(folder.path(), ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    const std::string name = it->path().filename().string();
    std::error_code failed;
    if (name.starts_with(kStatePrefix) && name != kept) fs::remove(it->path(), failed);
  }
}

}  // namespace

void save_checkpoint(const RunFolder& folder, const Module& model, const ModelCard& card,
                     const Optimizer& optimizer, const RunProgress& progress) {
  const std::string state =
      fmt::format("{}{}-{}.safetensors", kStatePrefix, progress.epochs_done, progress.steps_done);
  save_safetensors(folder.path() / state,
                   {.tensors = optimizer.state(), .metadata = {{kProgress, to_text(progress)}}});
  save_weights(folder.last(), model, card,
               {{kState, state}, {kEpoch, std::to_string(progress.epochs_done)}});
  remove_states_but(folder, state);
}

RunProgress load_checkpoint(const RunFolder& folder, Module& model, Optimizer& optimizer) {
  std::error_code ignored;
  if (!fs::exists(folder.last(), ignored)) {
    remove_states_but(folder, "");
    return {};
  }
  const auto metadata = load_safetensors(folder.last()).metadata;
  const auto name = metadata.find(kState);
  require(name != metadata.end() && name->second.starts_with(kStatePrefix) &&
              name->second.find('/') == std::string::npos,
          [&] {
            return fmt::format(
                "{}: does not name the state of its training, so the run cannot go on",
                folder.last().string());
          });
  const fs::path path = folder.path() / name->second;
  const SafeTensors state = load_safetensors(path);
  RunProgress progress;
  try {
    progress = parse_progress(state.metadata.at(kProgress));
  } catch (const std::exception&) {
    throw Error(fmt::format("{}: does not say how far the training had come", path.string()));
  }
  load_weights(folder.last(), model);
  try {
    optimizer.load_state(state.tensors);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", path.string(), error.what()));
  }
  remove_states_but(folder, name->second);
  return progress;
}

int64_t epoch_of(const LoadedModel& model) {
  const auto found = model.extra.find(kEpoch);
  int64_t epoch = 0;
  if (found != model.extra.end()) {
    const std::string& text = found->second;
    std::from_chars(text.data(), text.data() + text.size(), epoch);
  }
  return epoch;
}

void save_best(const RunFolder& folder, const Module& model, const ModelCard& card,
               const RunProgress& progress) {
  save_weights(folder.best(), model, card,
               {{kEpoch, std::to_string(progress.best_epoch)},
                {"glassnet.accuracy", fmt::format("{}", progress.best_accuracy)},
                {"glassnet.loss", fmt::format("{}", progress.best_loss)}});
}

void save_kept(const RunFolder& folder, const Module& model, const ModelCard& card, int64_t epoch) {
  save_weights(folder.kept(epoch), model, card, {{kEpoch, std::to_string(epoch)}});
}

}  // namespace glassnet
