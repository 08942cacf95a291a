#include "kernels/block_map.h"

#include <iterator>

namespace glassnet::kernels {

BlockMap::Iterator BlockMap::smallest(const FreeSet& free, size_t bytes) {
  const auto found = free.lower_bound({bytes, nullptr});
  return found == free.end() ? blocks_.end() : blocks_.find(found->second);
}

BlockMap::Iterator BlockMap::add(char* data, const Block& block) {
  return give(blocks_.emplace(data, block).first, *block.free);
}

void BlockMap::remove(Iterator block) {
  block->second.free->erase({block->second.bytes, block->first});
  blocks_.erase(block);
}

void BlockMap::take(Iterator block, size_t bytes, size_t least_rest) {
  auto& [data, taken] = *block;
  FreeSet& free = *std::exchange(taken.free, nullptr);
  free.erase({taken.bytes, data});
  const size_t rest = taken.bytes - bytes;
  if (rest < least_rest) return;
  taken.bytes = bytes;
  blocks_.emplace_hint(std::next(block), data + bytes, Block{rest, taken.segment, &free});
  free.emplace(rest, data + bytes);
}

BlockMap::Iterator BlockMap::give(Iterator block, FreeSet& free) {
  block->second.free = &free;
  const auto joins = [&](Iterator other) {
    return other->second.free == &free && other->second.segment == block->second.segment;
  };
  const auto absorb = [&](Iterator first, Iterator second) {
    first->second.bytes += second->second.bytes;
    blocks_.erase(second);
    return first;
  };
  if (const auto after = std::next(block); after != blocks_.end() && joins(after)) {
    free.erase({after->second.bytes, after->first});
    block = absorb(block, after);
  }
  if (block != blocks_.begin()) {
    if (const auto before = std::prev(block); joins(before)) {
      free.erase({before->second.bytes, before->first});
      block = absorb(before, block);
    }
  }
  free.emplace(block->second.bytes, block->first);
  return block;
}

}  // namespace glassnet::kernels
