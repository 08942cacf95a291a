// glassnet weights: what is in a weight file, in another format, and how two of them differ.
#include "models/weights.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/output.h"
#include "models/imagenet.h"
#include "report/terminal.h"

namespace glassnet::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Totals {
  int64_t numbers = 0;
  size_t bytes = 0;
};
Totals totals_of(const std::vector<StoredTensor>& tensors) {
  Totals totals;
  for (const StoredTensor& entry : tensors) {
    totals.numbers += entry.shape.numel();
    totals.bytes += entry.bytes();
  }
  return totals;
}

// --- inspect -------------------------------------------------------------------------------------

Json as_json(const std::string& path, const WeightFacts& facts) {
  const Totals totals = totals_of(facts.content.tensors);
  Json tensors = Json::array();
  for (const StoredTensor& entry : facts.content.tensors) {
    tensors.push_back({{"name", entry.name},
                       {"shape", entry.shape.dims()},
                       {"dtype", name_of(entry.type)},
                       {"numbers", entry.shape.numel()},
                       {"bytes", entry.bytes()}});
  }
  const ModelCard& card = facts.card;
  const bool known = !card.model.empty();
  return {{"file", path},
          {"format", facts.content.format},
          {"prefix", facts.content.prefix},
          {"model", known ? Json(card.model) : Json()},
          {"fits", known && facts.complaint.empty()},
          {"complaint", facts.complaint.empty() ? Json() : Json(facts.complaint)},
          {"classes", card.classes},
          {"image_size", known ? Json(card.image_size) : Json()},
          {"numbers", totals.numbers},
          {"bytes", totals.bytes},
          {"metadata", facts.content.metadata},
          {"tensors", tensors}};
}

std::string class_list(const std::vector<std::string>& classes) {
  if (classes == imagenet_classes()) return "1,000 classes, taken to be ImageNet's";
  std::string list = fmt::format("{} classes", grouped(static_cast<int64_t>(classes.size())));
  constexpr size_t kMost = 10;
  for (size_t i = 0; i < std::min(classes.size(), kMost); ++i) {
    list += (i == 0 ? ": " : ", ") + classes[i];
  }
  return classes.size() > kMost ? list + ", …" : list;
}

void print_facts(const std::string& path, const WeightFacts& facts) {
  Table table(
      {{"tensor"}, {"shape"}, {"type"}, {"numbers", Align::kRight}, {"bytes", Align::kRight}});
  for (const StoredTensor& entry : facts.content.tensors) {
    table.add_row({entry.name, entry.shape.str(), name_of(entry.type), grouped(entry.shape.numel()),
                   grouped(static_cast<int64_t>(entry.bytes()))});
  }
  const Totals totals = totals_of(facts.content.tensors);
  fmt::print("{}\n", table.str());
  fmt::print("{}: {}, {} tensors, {} numbers, {}\n", path, facts.content.format,
             facts.content.tensors.size(), grouped(totals.numbers), mebibytes(totals.bytes));
  if (!facts.content.prefix.empty()) {
    fmt::print("every name began with {}, which is left out\n", facts.content.prefix);
  }
  if (facts.card.model.empty()) {
    fmt::print("fits no model known here\n");
  } else if (facts.complaint.empty()) {
    fmt::print("fits {}, {} px, {}\n", facts.card.model, facts.card.image_size,
               class_list(facts.card.classes));
  } else {
    fmt::print("nearest to {}, but {}\n", facts.card.model, facts.complaint);
  }
}

struct InspectArguments {
  std::string file;
  bool json = false;
};

int inspect(const InspectArguments& a) {
  const std::string file = weight_file(a.file).string();
  const WeightFacts facts = inspect_weights(file);
  if (a.json) {
    fmt::print("{}\n", to_text(as_json(file, facts), 2));
  } else {
    print_facts(file, facts);
  }
  return 0;
}

// --- convert -------------------------------------------------------------------------------------

struct ConvertArguments {
  std::string in, out, classes_file;
};

int convert(const ConvertArguments& a) {
  require_writable(a.out);
  TensorFile content = read_tensor_file(weight_file(a.in));
  if (!a.classes_file.empty()) name_classes(a.in, content, read_class_names(a.classes_file));
  write_tensor_file(a.out, content);
  const Totals totals = totals_of(content.tensors);
  fmt::print("{}: {} tensors, {} numbers, {}\n", a.out, content.tensors.size(),
             grouped(totals.numbers), mebibytes(totals.bytes));
  return 0;
}

// --- diff ----------------------------------------------------------------------------------------

struct Difference {
  std::string name, what;
  double largest = 0;   // |a - b|
  double relative = 0;  // norm of a - b by that of a
};

// Nothing when the two are the same to the last bit.
std::optional<Difference> difference(const StoredTensor& a, const StoredTensor& b) {
  Difference result{.name = a.name};
  if (a.shape != b.shape) {
    result.what = fmt::format("shape {} became {}", a.shape.str(), b.shape.str());
    return result;
  }
  if (a.type == b.type) {
    std::vector<std::byte> left(a.bytes()), right(b.bytes());
    copy_elements(a, left.data());
    copy_elements(b, right.data());
    if (left == right) return std::nullopt;
  } else {
    result.what = fmt::format("{} became {}", name_of(a.type), name_of(b.type));
  }
  const std::vector<double> x = to_tensor(a).to_vector<double>();
  const std::vector<double> y = to_tensor(b).to_vector<double>();
  double apart = 0, norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    // A comparison that keeps a NaN once it is there.
    if (!(d <= result.largest) && !std::isnan(result.largest)) result.largest = d;
    apart += d * d;
    norm += x[i] * x[i];
  }
  result.relative = apart == 0 ? 0 : std::sqrt(apart / norm);
  return result;
}

struct DiffArguments {
  std::string a, b;
  bool json = false;
};

int diff(const DiffArguments& arguments) {
  const TensorFile a = read_tensor_file(weight_file(arguments.a));
  const TensorFile b = read_tensor_file(weight_file(arguments.b));
  std::map<std::string, const StoredTensor*> others;
  for (const StoredTensor& entry : b.tensors) others[entry.name] = &entry;

  std::vector<std::string> only_a, only_b;
  std::vector<Difference> differences;
  size_t same = 0;
  for (const StoredTensor& entry : a.tensors) {
    const auto other = others.find(entry.name);
    if (other == others.end()) {
      only_a.push_back(entry.name);
      continue;
    }
    if (auto found = difference(entry, *other->second)) {
      differences.push_back(std::move(*found));
    } else {
      ++same;
    }
    others.erase(other);
  }
  for (const StoredTensor& entry : b.tensors) {
    if (others.contains(entry.name)) only_b.push_back(entry.name);
  }

  if (arguments.json) {
    Json list = Json::array();
    for (const Difference& d : differences) {
      list.push_back(
          {{"name", d.name}, {"what", d.what}, {"largest", d.largest}, {"relative", d.relative}});
    }
    const Json result = {
        {"identical", same}, {"different", list}, {"only_a", only_a}, {"only_b", only_b}};
    fmt::print("{}\n", to_text(result, 2));
  } else {
    Table table({{"tensor"},
                 {"largest difference", Align::kRight},
                 {"relative norm", Align::kRight},
                 {""}});
    for (const Difference& d : differences) {
      const bool comparable = !d.what.starts_with("shape");
      table.add_row({d.name, comparable ? fmt::format("{:.3g}", d.largest) : "",
                     comparable ? fmt::format("{:.3g}", d.relative) : "", d.what});
    }
    for (const std::string& name : only_a) table.add_row({name, "", "", "only in " + arguments.a});
    for (const std::string& name : only_b) table.add_row({name, "", "", "only in " + arguments.b});
    if (!differences.empty() || !only_a.empty() || !only_b.empty()) {
      fmt::print("{}\n", table.str());
    }
    fmt::print(
        "{} tensors are the same to the last bit, {} differ, {} are only in {}, {} only in {}\n",
        same, differences.size(), only_a.size(), arguments.a, only_b.size(), arguments.b);
  }
  return differences.empty() && only_a.empty() && only_b.empty() ? 0 : 1;
}

// A subcommand with its own arguments, which `run` gets.
template <class Arguments>
CLI::App* add(CLI::App& parent, const std::string& name, const std::string& description,
              Action& action, int (*run)(const Arguments&), std::shared_ptr<Arguments> arguments) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->callback([=, &action] { action = [=] { return run(*arguments); }; });
  return command;
}

}  // namespace

void add_weights(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "weights", "Look into weight files, convert and compare them: safetensors and PyTorch's.");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  glassnet weights inspect resnet50-0676ba61.pth\n"
      "  glassnet weights convert resnet50-0676ba61.pth resnet50.safetensors\n"
      "  glassnet weights diff before.pth run");

  auto i = std::make_shared<InspectArguments>();
  CLI::App* inspecting =
      add(*command, "inspect", "List a file's tensors, and say which model they fit.", action,
          &inspect, i);
  inspecting->footer("Example:\n  glassnet weights inspect resnet50-0676ba61.pth --json");
  inspecting->add_option("FILE", i->file, "a weight file, or a run folder")->required();
  inspecting->add_flag("--json", i->json, "print JSON");

  auto c = std::make_shared<ConvertArguments>();
  CLI::App* converting =
      add(*command, "convert", "Write the same tensors, bit for bit, in the other format.", action,
          &convert, c);
  converting->footer(
      "OUT ends in .safetensors, or in .pth, .pt or .th for PyTorch.\n\n"
      "Example:\n"
      "  glassnet weights convert run run.pth\n"
      "  glassnet weights convert flowers.pth flowers.safetensors --classes names.txt");
  converting->add_option("IN", c->in, "a weight file, or a run folder")->required();
  converting->add_option("OUT", c->out, "the file to write")->required();
  converting->add_option("--classes", c->classes_file,
                         "file that names the classes, one a line, to be kept in OUT");

  auto d = std::make_shared<DiffArguments>();
  CLI::App* comparing =
      add(*command, "diff", "Compare two files tensor by tensor; exits with 1 when they differ.",
          action, &diff, d);
  comparing->footer("Example:\n  glassnet weights diff before.pth run --json");
  comparing->add_option("A", d->a, "a weight file, or a run folder")->required();
  comparing->add_option("B", d->b, "another")->required();
  comparing->add_flag("--json", d->json, "print JSON");
}

}  // namespace glassnet::cli
