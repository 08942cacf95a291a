// Ending a training before its last epoch, once the held-back images say that nothing is gained.
//
// A decision is a function of the epochs' metrics alone, so that a run that was interrupted comes
// to the same one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace glassnet {

struct EpochMetrics;

// What must get better, measured on the validation images.
enum class StopBy { kAccuracy, kLoss, kFlux };  // higher, lower, lower
// "accuracy", "loss", "flux"; throws UsageError for another name.
StopBy parse_stop_by(const std::string& name);
const char* name_of(StopBy quantity);

// Why a run should end after these epochs, a sentence without its full stop; empty: it should go
// on. It should end when none of the last `patience` epochs beat all before it. An epoch without
// the quantity (the first has no flux), or where it is no number, beats none, and one before any
// that has it does not count. patience 0: never.
std::string reason_to_stop(const std::vector<EpochMetrics>& epochs, int64_t patience, StopBy by);

}  // namespace glassnet
