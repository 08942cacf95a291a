#include "tensor/numpy_random.h"

#include <array>
#include <bit>
#include <cmath>
#include <string>

#include "kernels/error.h"

namespace glassnet {
namespace {

// The 53 highest of 64 random bits as a number in [0, 1).
double fraction_of(uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// --- numpy.random.SeedSequence -------------------------------------------------------------------

// Spreads a seed over 256 bits, after O'Neill's seed_seq_fe: words are hashed with constants that
// change from use to use, and every word of the pool is mixed into every other.
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    pool_ = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), 0, 0};
    Hash hash{0x43b0d7e5, 0x931e8875};
    for (uint32_t& word : pool_) word = hash(word);
    for (uint32_t& from : pool_) {
      for (uint32_t& to : pool_) {
        if (&from != &to) to = mixed(to, hash(from));
      }
    }
  }

  std::array<uint64_t, 4> state() const {
    Hash hash{0x8b51f9dd, 0x58f38ded};
    std::array<uint64_t, 4> words;
    for (size_t i = 0; i < words.size(); ++i) {
      const uint64_t low = hash(pool_[2 * i % 4]);
      words[i] = low | uint64_t{hash(pool_[(2 * i + 1) % 4])} << 32;
    }
    return words;
  }

 private:
  struct Hash {
    uint32_t key, factor;
    uint32_t operator()(uint32_t value) {
      value ^= key;
      key *= factor;
      value *= key;
      return value ^ value >> 16;
    }
  };
  static uint32_t mixed(uint32_t x, uint32_t y) {
    const uint32_t value = 0xca01f9ddU * x - 0x4973f715U * y;
    return value ^ value >> 16;
  }

  std::array<uint32_t, 4> pool_;
};

// --- the ziggurat --------------------------------------------------------------------------------

// The bell f(x) = exp(-x²/2), x >= 0, under 256 layers of equal area. Layer i reaches to x[i] at
// its foot f(x[i]), and all of it that lies left of x[i-1] is under the bell. Layer 0 is the base
// with the tail beyond kTail, made as wide as a box of that area would be.
//
// NumPy has a table of these numbers, made in the same way but with another exp(): a few dozen
// differ in their last bits.
constexpr double kTail = 3.6541528853610088, kLayerArea = 0.0049286732339746519;
struct Ziggurat {
  std::array<double, 256> scale;   // x of a layer = scale * 52 random bits
  std::array<uint64_t, 256> safe;  // bits below this need no further look
  std::array<double, 256> foot;    // f(x[i])
};

const Ziggurat& ziggurat() {
  static const Ziggurat made = [] {
    constexpr double kBits = 0x1p52;
    const auto bell = [](double x) { return std::exp(-0.5 * x * x); };
    Ziggurat z;
    double x = kTail;
    for (size_t i = 255; i >= 1; --i) {
      z.scale[i] = x / kBits;
      z.foot[i] = bell(x);
      const double above = i > 1 ? std::sqrt(-2 * std::log(kLayerArea / x + z.foot[i])) : 0;
      z.safe[i] = static_cast<uint64_t>(above / x * kBits);
      x = above;
    }
    const double base = kLayerArea / z.foot[255];
    z.scale[0] = base / kBits;
    z.safe[0] = static_cast<uint64_t>(kTail / base * kBits);
    z.foot[0] = 1;
    return z;
  }();
  return made;
}

}  // namespace

// --- RandomState ---------------------------------------------------------------------------------

double NumpyRandom::uniform() {
  const uint64_t high = next() >> 5, low = next() >> 6;
  return static_cast<double>(high << 26 | low) * 0x1p-53;
}

int64_t NumpyRandom::randint(int64_t high) {
  require(1 <= high && high <= int64_t{1} << 32,
          [&] { return "[randint] expected a bound from 1 to 2^32, got " + std::to_string(high); });
  if (high == 1) return 0;
  // As many bits as the largest result has, drawn again while they say more than that.
  const int unused = std::countl_zero(static_cast<uint32_t>(high - 1));
  const uint32_t mask = ~uint32_t{0} >> unused;
  while (true) {
    const int64_t value = next() & mask;
    if (value < high) return value;
  }
}

double NumpyRandom::normal() {
  if (spare_) {
    const double value = *spare_;
    spare_.reset();
    return value;
  }
  double x, y, square;
  do {  // a point in the unit disc, other than its centre
    x = 2 * uniform() - 1;
    y = 2 * uniform() - 1;
    square = x * x + y * y;
  } while (square >= 1 || square == 0);
  const double factor = std::sqrt(-2 * std::log(square) / square);
  spare_ = factor * x;
  return factor * y;
}

// --- Generator -----------------------------------------------------------------------------------

NumpyGenerator::NumpyGenerator(uint64_t seed) {
  const std::array<uint64_t, 4> words = SeedSequence(seed).state();
  increment_ = (Word128{words[2]} << 64 | words[3]) << 1 | 1;
  step();
  state_ += Word128{words[0]} << 64 | words[1];
  step();
}

void NumpyGenerator::step() {
  constexpr Word128 kFactor = Word128{0x2360ed051fc65da4} << 64 | 0x4385df649fccf645;
  state_ = state_ * kFactor + increment_;
}

uint64_t NumpyGenerator::next() {
  step();
  const auto high = static_cast<uint64_t>(state_ >> 64), low = static_cast<uint64_t>(state_);
  return std::rotr(high ^ low, static_cast<int>(high >> 58));
}

double NumpyGenerator::uniform() {
  return fraction_of(next());
}

double NumpyGenerator::normal() {
  const Ziggurat& z = ziggurat();
  while (true) {
    const uint64_t bits = next();
    const size_t layer = bits & 0xff;
    const uint64_t place = bits >> 9 & 0xfffffffffffff;  // 52 bits
    const double width = static_cast<double>(place) * z.scale[layer];
    const double x = (bits >> 8 & 1) != 0 ? -width : width;
    if (place < z.safe[layer]) return x;
    if (layer == 0) {
      // The tail, by Marsaglia's method of 1964; its sign is a bit of the place.
      while (true) {
        const double beyond = -std::log1p(-uniform()) / kTail;
        const double height = -std::log1p(-uniform());
        if (2 * height > beyond * beyond) {
          return (place >> 8 & 1) != 0 ? -(kTail + beyond) : kTail + beyond;
        }
      }
    }
    const double foot = z.foot[layer], top = z.foot[layer - 1];
    if ((top - foot) * uniform() + foot < std::exp(-0.5 * x * x)) return x;
  }
}

}  // namespace glassnet
