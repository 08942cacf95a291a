// NumPy's random numbers, for what is compared with programs written in Python: integers and
// uniform numbers to the last bit, normal ones within 1e-14 of themselves.
//
// NumpyRandom is numpy.random.RandomState(seed): the Mersenne Twister (Matsumoto and Nishimura,
// ACM TOMACS 1998) with Marsaglia's polar method for normal numbers. LIME draws its masks from it.
// NumpyGenerator is numpy.random.default_rng(seed): PCG64 (O'Neill 2014, PCG XSL RR 128/64) with
// the ziggurat of Marsaglia and Tsang (2000). scikit-image breaks the ties of quickshift with it.
//
// All other random numbers of Glassnet come from a counter (tensor/random.h).
#pragma once

#include <cstdint>
#include <optional>
#include <random>

namespace glassnet {

class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : twister_(seed) {}

  uint32_t next() { return static_cast<uint32_t>(twister_()); }  // 32 random bits
  double uniform();                                              // random_sample(): [0, 1), 53 bits
  int64_t randint(int64_t high);  // randint(0, high): 0 … high-1, high from 1 to 2^32
  double normal();                // mean 0, variance 1

 private:
  std::mt19937 twister_;
  std::optional<double> spare_;  // the polar method makes two normal numbers at a time
};

class NumpyGenerator {
 public:
  explicit NumpyGenerator(uint64_t seed);

  uint64_t next();   // 64 random bits
  double uniform();  // random(): [0, 1), 53 bits
  double normal();   // standard_normal(): mean 0, variance 1

 private:
  using Word128 = unsigned __int128;
  void step();

  Word128 state_ = 0;
  Word128 increment_;
};

}  // namespace glassnet
