// Hooks as RAII handles: a hook lives as long as its handle.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace glassnet {

// Removes its hook when destroyed. Move-only; an empty handle removes nothing.
class [[nodiscard]] HookHandle {
 public:
  HookHandle() = default;
  explicit HookHandle(std::function<void()> remove) : remove_(std::move(remove)) {}
  ~HookHandle() { reset(); }
  HookHandle(HookHandle&& other) noexcept : remove_(std::exchange(other.remove_, nullptr)) {}
  HookHandle& operator=(HookHandle&& other) noexcept {
    if (this != &other) {
      reset();
      remove_ = std::exchange(other.remove_, nullptr);
    }
    return *this;
  }

  void reset() {
    if (auto remove = std::exchange(remove_, nullptr)) remove();
  }
  // Leaves the hook in place for as long as what it is attached to lives.
  void keep() { remove_ = nullptr; }

 private:
  std::function<void()> remove_;
};

// The hooks of one place, in the order in which they were added. A hook may add or remove hooks
// (itself among them) while it runs: a pass goes over the hooks that were there when it began.
template <class Hook>
class HookList {
 public:
  HookHandle add(Hook hook) {
    if (!hooks_) hooks_ = std::make_shared<std::vector<Entry>>();
    auto shared = std::make_shared<Hook>(std::move(hook));
    hooks_->push_back(shared);
    return HookHandle([hooks = std::weak_ptr(hooks_), shared] {
      if (const auto list = hooks.lock()) std::erase(*list, shared);
    });
  }
  bool empty() const { return !hooks_ || hooks_->empty(); }
  template <class F>
  void for_each(F&& f) const {
    if (empty()) return;
    const std::vector<Entry> snapshot = *hooks_;
    for (const Entry& hook : snapshot) f(*hook);
  }

 private:
  using Entry = std::shared_ptr<Hook>;
  std::shared_ptr<std::vector<Entry>> hooks_;
};

}  // namespace glassnet
