#include "tensor/shared_images.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "kernels/gather.h"

namespace glassnet {
namespace {

// Of windows that are laid out at a time: what stays in a core's cache until it is read.
constexpr int64_t kWindowBytes = int64_t{1} << 20;

using AgreementPointer = std::shared_ptr<const Agreement>;

// x (rows, ...) -> (index.size(), ...)
Tensor gather(const Tensor& x, const std::vector<int32_t>& index, const Shape& shape) {
  Tensor y = Tensor::empty(shape, x.dtype());
  const auto count = static_cast<int64_t>(index.size());
  const int64_t row_bytes = x.numel() / x.dim(0) * static_cast<int64_t>(size_of(x.dtype()));
  kernels::gather_rows(Cpu{}, x.raw(), index.data(), y.raw(), count, row_bytes);
  return y;
}

int64_t out_size(int64_t in, int64_t window, int64_t stride, int64_t pad, int64_t dilation) {
  return (in + 2 * pad - dilation * (window - 1) - 1) / stride + 1;
}

bool is_one_pixel(const Windows& w) {
  return w.height == 1 && w.width == 1 && w.stride_h == 1 && w.stride_w == 1 && w.pad_h == 0 &&
         w.pad_w == 0;
}

}  // namespace

// The agreement of images in two places: images are in one group that are in both. Each pair is
// joined once.
class SharedImages::Join {
 public:
  explicit Join(int64_t images)
      : images_(images),
        slots_(std::bit_ceil(static_cast<size_t>(2 * images))),
        shift_(64 - std::countr_zero(slots_.size())) {}

  // b may be null: everywhere the same.
  AgreementPointer operator()(const AgreementPointer& a, const AgreementPointer& b) {
    if (a == nullptr) return b;
    if (b == nullptr || a == b || b->groups() == 1 || a->groups() == images_) return a;
    if (a->groups() == 1 || b->groups() == images_) return b;
    const auto [entry, is_new] = known_.try_emplace(std::minmax(a, b));
    if (is_new) entry->second = join(a, b);
    return entry->second;
  }

 private:
  struct Slot {
    uint64_t key;
    int32_t group;
    uint32_t round = 0;  // in which the slot was filled
  };
  struct Hash {
    size_t operator()(const std::pair<AgreementPointer, AgreementPointer>& pair) const {
      const std::hash<AgreementPointer> hash;
      return hash(pair.first) * 31 + hash(pair.second);
    }
  };

  AgreementPointer join(const AgreementPointer& a, const AgreementPointer& b) {
    auto result = std::make_shared<Agreement>();
    result->group.reserve(static_cast<size_t>(images_));
    ++round_;
    for (size_t i = 0; i < static_cast<size_t>(images_); ++i) {
      const uint64_t key =
          static_cast<uint64_t>(a->group[i]) << 32 | static_cast<uint32_t>(b->group[i]);
      size_t at = key * 0x9E3779B97F4A7C15u >> shift_;
      while (slots_[at].round == round_ && slots_[at].key != key)
        at = (at + 1) & (slots_.size() - 1);
      Slot& slot = slots_[at];
      if (slot.round != round_) {
        slot = {key, static_cast<int32_t>(result->groups()), round_};
        result->first.push_back(static_cast<int32_t>(i));
      }
      result->group.push_back(slot.group);
    }
    // One that says no more than a or b is a or b, so that it is known again.
    if (result->groups() == a->groups()) return a;
    return result->groups() == b->groups() ? b : result;
  }

  int64_t images_;
  std::vector<Slot> slots_;  // of a hash table by open addressing
  int shift_;
  uint32_t round_ = 0;
  std::unordered_map<std::pair<AgreementPointer, AgreementPointer>, AgreementPointer, Hash> known_;
};

void SharedImages::Sites::count() {
  int64_t rows = 0;
  base.assign(1, 0);
  for (const AgreementPointer& a : agreement) {
    rows += a->groups();
    require(rows <= std::numeric_limits<int32_t>::max(),
            [] { return std::string("[shared_images] too many pixels; take fewer images"); });
    base.push_back(static_cast<int32_t>(rows));
  }
}

// The pixels of a pool one after the other: where each is, and the first image that has it.
class SharedImages::Walk {
 public:
  Walk(const Sites& sites, int64_t begin) : sites_(sites) {
    const auto after = std::upper_bound(sites.base.begin(), sites.base.end(), begin);
    pixel_ = after - sites.base.begin() - 1;
    group_ = begin - sites.base[pixel()];
  }
  size_t pixel() const { return static_cast<size_t>(pixel_); }
  int64_t x() const { return pixel_ % sites_.width; }
  int64_t y() const { return pixel_ / sites_.width; }
  int32_t image() const { return sites_.agreement[pixel()]->first[static_cast<size_t>(group_)]; }
  void next() {
    if (++group_ < sites_.agreement[pixel()]->groups()) return;
    group_ = 0;
    ++pixel_;
  }

 private:
  const Sites& sites_;
  int64_t pixel_, group_;
};

SharedImages SharedImages::mosaics(const Tensor& sources, const std::vector<int32_t>& part_of,
                                   const std::vector<std::vector<int32_t>>& source_of) {
  require(sources.rank() == 4 && sources.device().type == DeviceType::kCpu, [&] {
    return fmt::format("[mosaics] expected sources (K, H, W, C) on the CPU, got {}",
                       sources.shape().str());
  });
  auto sites = std::make_shared<Sites>();
  sites->height = sources.dim(1);
  sites->width = sources.dim(2);
  const int64_t pixels = sites->height * sites->width;
  require(
      !source_of.empty() && !source_of[0].empty() && static_cast<int64_t>(part_of.size()) == pixels,
      [&] {
        return fmt::format("[mosaics] expected images, and a part for each of {} pixels, got {}",
                           pixels, part_of.size());
      });
  sites->images = static_cast<int64_t>(source_of[0].size());

  std::vector<AgreementPointer> parts;
  for (const std::vector<int32_t>& source : source_of) {
    require(source.size() == source_of[0].size(), [&] {
      return fmt::format("[mosaics] expected a source for each of {} images, got {}",
                         source_of[0].size(), source.size());
    });
    auto part = std::make_shared<Agreement>();
    std::vector<int32_t> group_of(static_cast<size_t>(sources.dim(0)), -1);  // a source's
    for (size_t i = 0; i < source.size(); ++i) {
      require(source[i] >= 0 && source[i] < sources.dim(0), [&] {
        return fmt::format("[mosaics] expected one of {} sources, got number {}", sources.dim(0),
                           source[i]);
      });
      int32_t& group = group_of[static_cast<size_t>(source[i])];
      if (group < 0) {
        group = static_cast<int32_t>(part->groups());
        part->first.push_back(static_cast<int32_t>(i));
      }
      part->group.push_back(group);
    }
    parts.push_back(std::move(part));
  }
  for (const int32_t part : part_of) {
    require(part >= 0 && static_cast<size_t>(part) < parts.size(), [&] {
      return fmt::format("[mosaics] expected one of {} parts, got number {}", parts.size(), part);
    });
    sites->agreement.push_back(parts[static_cast<size_t>(part)]);
  }
  sites->count();

  std::vector<int32_t> index;
  for (Walk walk(*sites, 0); static_cast<int64_t>(index.size()) < sites->pooled(); walk.next()) {
    const auto part = static_cast<size_t>(part_of[walk.pixel()]);
    const int64_t source = source_of[part][static_cast<size_t>(walk.image())];
    index.push_back(static_cast<int32_t>(source * pixels + static_cast<int64_t>(walk.pixel())));
  }
  SharedImages result;
  result.pool_ =
      gather(sources.reshape({-1, sources.dim(3)}), index, {sites->pooled(), 1, 1, sources.dim(3)});
  result.sites_ = std::move(sites);
  return result;
}

double SharedImages::share() const {
  return static_cast<double>(sites_->pooled()) / static_cast<double>(images() * height() * width());
}

Tensor SharedImages::expand(int64_t begin, int64_t end) const {
  std::vector<int32_t> index;
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
    for (size_t p = 0; p < sites_->agreement.size(); ++p) {
      index.push_back(sites_->base[p] + sites_->agreement[p]->group[i]);
    }
  }
  return gather(pool_, index, {end - begin, height(), width(), pool_.dim(3)});
}

SharedImages SharedImages::slice(int64_t begin, int64_t end) const {
  auto sites = std::make_shared<Sites>();
  sites->images = end - begin;
  sites->height = height();
  sites->width = width();
  std::unordered_map<const Agreement*, AgreementPointer> known;
  std::vector<int32_t> renumbered, index;
  for (const AgreementPointer& whole : sites_->agreement) {
    AgreementPointer& part = known[whole.get()];
    if (part == nullptr) {
      auto some = std::make_shared<Agreement>();
      renumbered.assign(static_cast<size_t>(whole->groups()), -1);
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        int32_t& group = renumbered[static_cast<size_t>(whole->group[i])];
        if (group < 0) {
          group = static_cast<int32_t>(some->groups());
          some->first.push_back(static_cast<int32_t>(i - static_cast<size_t>(begin)));
        }
        some->group.push_back(group);
      }
      part = std::move(some);
    }
    const int32_t base = sites_->base[sites->agreement.size()];
    for (const int32_t first : part->first) {
      index.push_back(base + whole->group[static_cast<size_t>(begin + first)]);
    }
    sites->agreement.push_back(part);
  }
  sites->count();
  SharedImages result;
  result.pool_ = gather(pool_, index, {sites->pooled(), 1, 1, pool_.dim(3)});
  result.sites_ = std::move(sites);
  return result;
}

// Where windows over `in` look, and what is at the same place in `z`.
std::shared_ptr<const SharedImages::Sites> SharedImages::look(const Sites& in, const Windows& w,
                                                              const Sites* z) {
  auto out = std::make_shared<Sites>();
  out->images = in.images;
  require(w.dilation_h * (w.height - 1) < in.height + 2 * w.pad_h &&
              w.dilation_w * (w.width - 1) < in.width + 2 * w.pad_w,
          [&] {
            return fmt::format(
                "[shared_images] a window of {}x{} does not fit into images of {}x{}", w.height,
                w.width, in.height, in.width);
          });
  out->height = out_size(in.height, w.height, w.stride_h, w.pad_h, w.dilation_h);
  out->width = out_size(in.width, w.width, w.stride_w, w.pad_w, w.dilation_w);
  Join join(in.images);
  // Along rows first, so that windows above each other need not do it again.
  std::vector<AgreementPointer> rows(static_cast<size_t>(in.height * out->width));
  for (int64_t y = 0; y < in.height; ++y) {
    for (int64_t q = 0; q < out->width; ++q) {
      AgreementPointer& all = rows[static_cast<size_t>(y * out->width + q)];
      for (int64_t s = 0; s < w.width; ++s) {
        const int64_t x = q * w.stride_w - w.pad_w + s * w.dilation_w;
        if (x < 0 || x >= in.width) continue;
        all = join(all, in.agreement[static_cast<size_t>(y * in.width + x)]);
      }
    }
  }
  AgreementPointer everywhere;  // of windows that see nothing of the image
  for (int64_t p = 0; p < out->height; ++p) {
    for (int64_t q = 0; q < out->width; ++q) {
      AgreementPointer all;
      for (int64_t r = 0; r < w.height; ++r) {
        const int64_t y = p * w.stride_h - w.pad_h + r * w.dilation_h;
        if (y < 0 || y >= in.height) continue;
        all = join(all, rows[static_cast<size_t>(y * out->width + q)]);
      }
      if (z != nullptr) all = join(all, z->agreement[out->agreement.size()]);
      if (all == nullptr) {
        if (everywhere == nullptr) {
          everywhere = std::make_shared<Agreement>(
              Agreement{std::vector<int32_t>(static_cast<size_t>(in.images)), {0}});
        }
        all = everywhere;
      }
      out->agreement.push_back(std::move(all));
    }
  }
  out->count();
  return out;
}

SharedImages SharedImages::map(const Windows& w, Outside outside, const SharedImages& z,
                               const OfWindows& of) const {
  const bool one_pixel = is_one_pixel(w);
  const bool same = one_pixel && !z.defined();
  const auto sites = same ? sites_ : look(*sites_, w, z.defined() ? z.sites_.get() : nullptr);
  SharedImages y;
  y.sites_ = sites;
  if (same) {
    y.pool_ = of(pool_, {});
    return y;
  }
  const int64_t taps = w.height * w.width, channels = pool_.dim(3);
  const int64_t bytes = taps * channels * static_cast<int64_t>(size_of(pool_.dtype()));
  const int64_t together = std::max<int64_t>(kWindowBytes / bytes, 64);
  std::vector<int32_t> index, z_index;
  const auto row_of = [](const Sites& from, int64_t pixel, int32_t image) {
    const auto p = static_cast<size_t>(pixel);
    return from.base[p] + from.agreement[p]->group[static_cast<size_t>(image)];
  };
  for (int64_t begin = 0; begin < sites->pooled(); begin += together) {
    const int64_t end = std::min(sites->pooled(), begin + together);
    index.clear();
    z_index.clear();
    Walk walk(*sites, begin);
    for (int64_t i = begin; i < end; ++i, walk.next()) {
      const size_t first = index.size();
      const int64_t top = walk.y() * w.stride_h - w.pad_h, left = walk.x() * w.stride_w - w.pad_w;
      int32_t inside = -1;
      for (int64_t r = 0; r < w.height; ++r) {
        for (int64_t s = 0; s < w.width; ++s) {
          const int64_t v = top + r * w.dilation_h, u = left + s * w.dilation_w;
          const bool reaches = v >= 0 && v < height() && u >= 0 && u < width();
          index.push_back(reaches ? row_of(*sites_, v * width() + u, walk.image()) : -1);
          if (inside < 0) inside = index.back();
        }
      }
      if (outside == Outside::kRepeats) {
        std::replace(index.begin() + static_cast<std::ptrdiff_t>(first), index.end(), -1, inside);
      }
      if (z.defined()) {
        z_index.push_back(row_of(*z.sites_, static_cast<int64_t>(walk.pixel()), walk.image()));
      }
    }
    const Tensor part =
        of(gather(pool_, index, {end - begin, w.height, w.width, channels}),
           z.defined() ? gather(z.pool_, z_index, {end - begin, 1, 1, z.pool_.dim(3)}) : Tensor());
    if (!y.pool_.defined()) {
      y.pool_ = Tensor::empty({sites->pooled(), 1, 1, part.dim(3)}, part.dtype());
    }
    y.pool_.slice(begin, end).copy_from(part);
  }
  return y;
}

}  // namespace glassnet
