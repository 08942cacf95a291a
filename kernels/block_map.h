// Which blocks of memory are free and which are handed out: what the caching allocators of the CPU
// and of CUDA devices have in common. It never touches the memory itself.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace glassnet::kernels {

// CONVENTION: the blocks of a segment cover it without gaps. A free one stands in one of the
// allocator's free sets, and free neighbours in the same set are one block.
class BlockMap {
 public:
  using FreeSet = std::set<std::pair<size_t, char*>>;  // by size, then by address
  struct Block {
    size_t bytes;
    char* segment;  // where it begins
    FreeSet* free;  // null: handed out
  };
  using Blocks = std::map<char*, Block>;  // by address
  using Iterator = Blocks::iterator;

  Iterator begin() { return blocks_.begin(); }
  Iterator end() { return blocks_.end(); }
  // The block that begins at `data`; end() for none.
  Iterator find(char* data) { return blocks_.find(data); }
  // The smallest free block of at least `bytes`, at the lowest address of several; end() for none.
  Iterator smallest(const FreeSet& free, size_t bytes);

  // A block that there was not, free as it says. Returns what it has become together with its
  // neighbours.
  Iterator add(char* data, const Block& block);
  // A free block that is no more.
  void remove(Iterator block);

  // Hands the first `bytes` of a free block out. What is left stays free, unless it is less than
  // `least_rest` and goes with them.
  void take(Iterator block, size_t bytes, size_t least_rest);
  // Takes back what was handed out. Returns what it has become together with its neighbours.
  Iterator give(Iterator block, FreeSet& free);

 private:
  Blocks blocks_;
};

}  // namespace glassnet::kernels
