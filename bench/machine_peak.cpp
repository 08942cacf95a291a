// A core's peak needs as many multiply-adds in flight as latency times throughput: 4 cycles times
// 2 a cycle on current cores. So many independent chains, each a vector as wide as a register, and
// two registers left for the constants.
#include "bench/machine_peak.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace glassnet {
namespace {

using Clock = std::chrono::steady_clock;

#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64, kChains = 16;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32, kChains = 12;
#else
constexpr int kRegisterBytes = 16, kChains = 12;
#endif
using Vector = float __attribute__((vector_size(kRegisterBytes)));
constexpr int64_t kFlopsPerRound =
    2 * kChains * static_cast<int64_t>(sizeof(Vector) / sizeof(float));

// `rounds` multiply-adds on every chain; the sum keeps the compiler from leaving them out.
float multiply_add_chains(int64_t rounds, float factor, float shift) {
  Vector chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = Vector{} + static_cast<float>(i);
  const Vector factors = Vector{} + factor, shifts = Vector{} + shift;
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) chain[i] = chain[i] * factors + shifts;
  }
  Vector sum = {};
  for (int i = 0; i < kChains; ++i) sum += chain[i];
  return sum[0];
}

double flops_once(int64_t rounds) {
  float kept = 0;
  // Read at run time, so that nothing is computed at compile time.
  volatile float factor = 0.999F, shift = 0.001F;
  const auto begin = Clock::now();
#pragma omp parallel reduction(+ : kept)
  kept += multiply_add_chains(rounds, factor, shift);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  volatile float sink = kept;
  (void)sink;
  return static_cast<double>(rounds * kFlopsPerRound * omp_get_max_threads()) / seconds;
}

}  // namespace

double measure_peak_flops() {
  constexpr int kMeasurements = 8;
  constexpr int64_t kWarmUpRounds = 2'000'000;
  const double per_thread = flops_once(kWarmUpRounds) / omp_get_max_threads();
  const auto rounds = static_cast<int64_t>(0.1 * per_thread / kFlopsPerRound);
  double best = 0;
  for (int i = 0; i < kMeasurements; ++i) best = std::max(best, flops_once(rounds));
  return best;
}

}  // namespace glassnet
