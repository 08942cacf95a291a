#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>

#include "cli/command.h"
#include "cli/output.h"
#include "data/jpeg_decoder.h"
#include "kernels/flush_denormals.h"
#include "kernels/policy.h"
#include "models/resnet.h"
#include "tensor/file.h"
#include "tensor/plan_folder.h"

namespace glassnet::cli {
std::vector<std::string> read_class_names(const std::string& path) {
  std::ifstream file(path);
  require(file.good(), [&] { return fmt::format("cannot read the class names in {}", path); });
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  require(!names.empty(),
          [&] { return fmt::format("{} names no class; it should hold one name a line", path); });
  return names;
}

void say(const std::string& line) {
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fputc('\n', stderr);
}

void complain(const std::string& sentence) {
  say("glassnet: " + sentence);
}

void require_writable(const std::filesystem::path& file) {
  const AtomicFile probe(file);
}

void add_model_arguments(CLI::App& command, ModelArguments& arguments) {
  command.add_option("MODEL", arguments.path, "a run folder, or a weight file")->required();
  command.add_option("--model", arguments.name, "architecture of a weight file that does not say");
  command.add_option("--classes", arguments.classes_file,
                     "file that names the classes, one a line, for weights that do not");
  command
      .add_option("--image-size", arguments.image_size,
                  "side of the network's input in pixels (default: as it was trained)")
      ->check(CLI::Range(1, 4096));
  command
      .add_option("--decoder", arguments.decoder,
                  decoder_help() + "; auto prefers what the network was trained with")
      ->capture_default_str();
}

namespace {

void use_decoder(const std::string& asked, const std::string& trained) {
  JpegDecoder decoder = parse_jpeg_decoder(asked);
  if (asked == "auto" && trained == name_of(JpegDecoder::kStb)) decoder = JpegDecoder::kStb;
  set_jpeg_decoder(decoder);
  if (trained.empty() || trained == name_of(decoder)) return;
  static std::once_flag told;  // a run's weights of many epochs are loaded one after the other
  std::call_once(told, [&] {
    say(
        fmt::format("JPEGs are decoded by {}, and were by {} when the network was trained: some "
                    "pixels differ by a level or two of 255",
                    name_of(decoder), trained));
  });
}

}  // namespace

Network network_of(const std::string& model, int image_size, std::optional<int64_t> classes) {
  const auto& known = model_names();
  const bool named = std::find(known.begin(), known.end(), model) != known.end();
  if (!named && std::filesystem::exists(model)) {
    LoadedModel loaded = load_model(model, {.image_size = image_size});
    return {std::move(loaded.model), loaded.card.image_size, /*trained=*/true};
  }
  std::unique_ptr<Module> made =
      make_model(model, {.classes = classes});  // or says which there are
  return {std::move(made), image_size > 0 ? image_size : usual_input(model).image_size};
}

std::string decoder_help() {
  return fmt::format("what decodes JPEGs: auto, stb{}",
                     has_turbo() ? ", turbo (libjpeg-turbo, as Pillow and torchvision)" : "");
}

LoadedModel load(const ModelArguments& arguments, Device device) {
  WeightHints hints{.model = arguments.name, .image_size = arguments.image_size};
  if (!arguments.classes_file.empty()) hints.classes = read_class_names(arguments.classes_file);
  LoadedModel loaded = load_model(arguments.path, hints);
  use_decoder(arguments.decoder, loaded.card.decoder);
  loaded.model->eval();
  loaded.model->set_requires_grad(false);
  loaded.model->to(device);
  return loaded;
}

void add_device_arguments(CLI::App& command, DeviceArguments& arguments) {
  command
      .add_option("--device", arguments.device,
                  kSimulated ? "where to compute: auto, cpu, or simt (the host executor)"
                             : "where to compute: auto, cpu, cuda, or cuda:1 and so on")
      ->capture_default_str();
  command.add_option("--threads", arguments.threads, "CPU threads (default: all cores)")
      ->check(CLI::Range(1, 4096));
  command.add_flag("--tf32", arguments.tf32,
                   "let a GPU round float32 products to TF32: quicker, three digits");
  command.add_flag(
      "--winograd", arguments.winograd,
      "let the CPU compute 3x3 convolutions by Winograd's way: quicker, two digits less exact");
  command.add_flag("--deterministic", arguments.deterministic,
                   "let a GPU use only algorithms that give the same bits each time");
}

Device use_device(const DeviceArguments& arguments) {
  const ChosenDevice chosen = choose_device(arguments.device);
  if (!chosen.why_cpu.empty()) say(fmt::format("computing on the CPU: {}", chosen.why_cpu));
  if (arguments.threads > 0) omp_set_num_threads(arguments.threads);
  // For what is left of the process, so that a run's test results and those of `evaluate` follow
  // the same arithmetic. Threads to come inherit it.
  static const kernels::FlushDenormals flush;
  kernels::set_allow_tf32(arguments.tf32);
  kernels::set_allow_winograd(arguments.winograd);
  kernels::set_deterministic(arguments.deterministic);
  use_plan_folder();
  return chosen.device;
}

void add_precision_argument(CLI::App& command, std::string& precision) {
  command.add_option("--precision", precision, "of the forward passes: fp32, bf16, on a GPU fp16")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->capture_default_str();
}

DType use_precision(const std::string& option, const std::string& precision, Device device) {
  if (precision == "fp32") return DType::kFloat32;
  const bool on_cpu = device.type == DeviceType::kCpu;
  if (precision == "fp16") {
    if (on_cpu) {
      throw UsageError(
          fmt::format("{} fp16 needs a GPU; the CPU computes in fp32 and bf16", option));
    }
    return DType::kFloat16;
  }
  if (on_cpu && !supports_bfloat16(device)) {
    say("this CPU has no bf16 instructions: it computes in fp32 and rounds, which is no quicker");
  }
  return DType::kBFloat16;
}

int64_t class_index(const std::string& name, const std::vector<std::string>& classes) {
  const auto found = std::find(classes.begin(), classes.end(), name);
  if (found != classes.end()) return found - classes.begin();
  int64_t index = -1;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (failure == std::errc{} && end == name.data() + name.size()) {
    if (index >= 0 && index < static_cast<int64_t>(classes.size())) return index;
    throw UsageError(fmt::format("there is no class {}; the classes have the numbers 0 to {}", name,
                                 classes.size() - 1));
  }
  throw UsageError(fmt::format("'{}' is neither a class nor a number below {}; the nearest {} {}",
                               name, classes.size(),
                               classes.size() > 1 ? "classes are" : "class is",
                               fmt::join(nearest_names(name, classes), ", ")));
}

std::string grouped(int64_t number) {
  const std::string digits = std::to_string(number);
  std::string result;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) result += ',';
    result += digits[i];
  }
  return result;
}

std::string mebibytes(size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string percent(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

int64_t class_of_folder(const std::string& path, const std::vector<std::string>& classes) {
  const std::string folder =
      std::filesystem::absolute(path).lexically_normal().parent_path().filename().string();
  const auto found = std::find(classes.begin(), classes.end(), folder);
  return found == classes.end() ? -1 : found - classes.begin();
}

}  // namespace glassnet::cli
