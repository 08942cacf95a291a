#include "data/scenes.h"

#include <array>
#include <cmath>

#include "data/scenery.h"
#include "kernels/error.h"

namespace glassnet {
namespace {

using namespace drawing;

constexpr float kTau = 6.2831853f;

// ---- Surroundings that any class may have -------------------------------------------------------

void draw_trees_along(Canvas& canvas, const Mood& mood, float y, float height, int count,
                      Random& random) {
  const TreeStyle kind = make_tree(mood, random);
  for (int i = 0; i < count; ++i) {
    TreeStyle style = chance(random, 0.7f) ? kind : make_tree(mood, random);
    style.haze = clamp01(0.25f - 0.5f * height) + 0.3f * (1 - std::exp(-mood.haze_density * 4));
    const float x = uniform(random, -0.05f, 1.05f);
    const float foot = y + uniform(random, -0.01f, 0.02f);
    draw_tree(canvas, mood, {x, foot}, height * uniform(random, 0.6f, 1.2f), style,
              Layer::kBackdrop, random);
  }
}

// A small house in the distance or beside the subject.
void draw_cottage(Canvas& canvas, const Mood& mood, Point foot, float height, Layer layer,
                  Random& random) {
  Facade style = make_facade(mood, random);
  style.floors = static_cast<float>(1 + random.below(2));
  style.bays = static_cast<float>(2 + random.below(3));
  style.bands = style.shop = false;
  const float width = height * uniform(random, 0.9f, 1.6f), eaves = foot.y - 0.6f * height;
  const Color roof =
      mood.lit(any_color(random, {0.95f, 1.1f}, {0.1f, 0.6f}, {0.2f, 0.6f}), 0, 0.8f, 0.5f);
  const float haze = clamp01(0.3f - height);
  draw_facade(canvas, mood, {foot.x - width / 2, eaves, foot.y, foot.x + width / 2, eaves, foot.y},
              style, 0.5f, haze, layer);
  const float over = 0.08f * width, ridge = uniform(random, 0.0f, 0.35f) * width;
  canvas.polygon({{foot.x - width / 2 - over, eaves},
                  {foot.x - ridge, foot.y - height},
                  {foot.x + ridge, foot.y - height},
                  {foot.x + width / 2 + over, eaves}},
                 layer, mix(roof, mood.haze, haze));
}

// Something close to the lens at an edge of the picture: a branch, a fence, grass, a post.
void draw_frame(Canvas& canvas, const Mood& mood, Random& random) {
  const float pick = uniform(random, 0, 1);
  if (pick < 0.12f) {
    TreeStyle style = make_tree(mood, random);
    style.conifer = style.bare = false;
    const float x =
        chance(random, 0.5f) ? uniform(random, -0.1f, 0.08f) : uniform(random, 0.92f, 1.1f);
    draw_tree(canvas, mood, {x, uniform(random, 0.98f, 1.1f)}, uniform(random, 0.7f, 1.1f), style,
              Layer::kBackdrop, random);
  } else if (pick < 0.2f) {
    const Color wood =
        mood.lit(any_color(random, {0.04f, 0.1f}, {0, 0.4f}, {0.2f, 0.7f}), 0, 0.3f, 0.7f);
    const float y = uniform(random, 0.82f, 0.95f), tilt = uniform(random, -0.04f, 0.04f);
    const float gap = uniform(random, 0.1f, 0.22f);
    for (const float rail : {0.0f, 0.05f})
      canvas.line({-0.1f, y + rail - tilt}, {1.1f, y + rail + tilt}, 0.012f, 0.012f,
                  Layer::kBackdrop, wood);
    for (float x = uniform(random, 0, gap); x < 1; x += gap) {
      const float top = y - 0.03f + (2 * x - 1) * tilt;
      canvas.line({x, top}, {x, top + 0.2f}, 0.02f, 0.022f, Layer::kBackdrop, wood * 0.9f);
    }
  } else if (pick < 0.32f) {
    const Color near = mood.lit(foliage(mood, random), 0.3f, 0.6f, 0.4f);
    const int blades = 40 + static_cast<int>(random.below(80));
    const float reach = uniform(random, 0.05f, 0.16f);
    for (int i = 0; i < blades; ++i) {
      const float x = uniform(random, 0, 1), lean = uniform(random, -0.05f, 0.05f);
      const float length = reach * uniform(random, 0.5f, 1.2f);
      canvas.line({x, 1.02f}, {x + lean, 1.0f - length}, 0.008f, 0.002f, Layer::kBackdrop,
                  near * uniform(random, 0.6f, 1.2f));
    }
  }
}

// Ground that nobody has paved.
Ground bare_land(const Mood& mood, Random& random) {
  const Ground kind = any_ground(mood, random);
  return kind == Ground::kPaving ? Ground::kGrass : kind;
}

// Sky, sometimes hills, and ground down to the bottom: what most kinds begin with.
Camera draw_open_land(Canvas& canvas, const Mood& mood, float horizon, Random& random,
                      bool natural = false) {
  Camera camera{.horizon = horizon,
                .height = uniform(random, 0.12f, 0.35f),
                .centre = uniform(random, 0.3f, 0.7f)};
  draw_sky(canvas, mood, horizon, random);
  if (chance(random, 0.6f))
    draw_hills(canvas, mood, horizon, uniform(random, 0.04f, 0.16f),
               1 + static_cast<int>(random.below(3)), random);
  draw_ground(
      canvas, mood, camera,
      make_ground(mood, natural ? bare_land(mood, random) : any_ground(mood, random), random),
      horizon);
  return camera;
}

// ---- Buildings ----------------------------------------------------------------------------------

Facade tall_facade(const Mood& mood, Random& random, float width, float height) {
  Facade style = make_facade(mood, random);
  const float storey = uniform(random, 0.05f, 0.13f);
  style.floors = std::max(1.0f, std::round(height / storey));
  style.bays = std::max(1.0f, std::round(width / (storey * uniform(random, 0.8f, 1.3f))));
  return style;
}

// What ends a wall above: a ledge, a pitched roof, a row of chimneys and masts.
void draw_roof(Canvas& canvas, const Mood& mood, float x0, float x1, float top, float haze,
               bool pitched, Random& random) {
  const float width = x1 - x0;
  const Color tiles =
      mix(mood.lit(any_color(random, {0.94f, 1.12f}, {0.05f, 0.6f}, {0.2f, 0.55f}), 0, 0.7f, 0.6f),
          mood.haze, haze);
  if (pitched) {
    const float rise = uniform(random, 0.15f, 0.45f) * std::min(width, 0.35f);
    const float inset = uniform(random, 0.05f, 0.45f) * width;
    canvas.polygon(
        {{x0 - 0.01f, top}, {x0 + inset, top - rise}, {x1 - inset, top - rise}, {x1 + 0.01f, top}},
        Layer::kObject, tiles);
    top -= rise * 0.6f;
  } else {
    canvas.polygon({{x0 - 0.006f, top - 0.012f},
                    {x1 + 0.006f, top - 0.012f},
                    {x1 + 0.006f, top + 0.004f},
                    {x0 - 0.006f, top + 0.004f}},
                   Layer::kObject, tiles);
  }
  const int extras = static_cast<int>(random.below(4));
  for (int i = 0; i < extras; ++i) {
    const float x = mix(x0, x1, uniform(random, 0.15f, 0.85f));
    const float w = uniform(random, 0.006f, 0.03f), h = uniform(random, 0.02f, 0.06f);
    canvas.polygon({{x, top - h}, {x + w, top - h}, {x + w, top + 0.01f}, {x, top + 0.01f}},
                   Layer::kObject, tiles * 0.8f);
  }
}

// A row of house fronts, seen straight on.
void draw_terrace(Canvas& canvas, const Mood& mood, Random& random) {
  const float foot = uniform(random, 0.6f, 0.95f), tall = uniform(random, 0.25f, 0.75f);
  draw_open_land(canvas, mood, foot - uniform(random, 0.01f, 0.06f), random);
  const float from = uniform(random, -0.25f, 0.35f), to = from + uniform(random, 0.55f, 1.3f);
  const bool alike = chance(random, 0.4f);
  const Facade shared = make_facade(mood, random);
  for (float x = from; x < to;) {
    const float width = uniform(random, 0.14f, 0.4f),
                top = foot - tall * uniform(random, 0.65f, 1.1f);
    Facade style = tall_facade(mood, random, width, foot - top);
    if (alike) style.wall = shared.wall, style.trim = shared.trim;
    const bool pitched = chance(random, 0.5f);
    draw_facade(canvas, mood, {x, top, foot, x + width, top, foot}, style,
                0.25f + 0.75f * std::max(0.0f, mood.light[2]), 0.03f, Layer::kObject);
    draw_roof(canvas, mood, x, x + width, top, 0.03f, pitched, random);
    x += width + (chance(random, 0.2f) ? uniform(random, 0.02f, 0.1f) : 0);
  }
  if (chance(random, 0.55f))
    draw_trees_along(canvas, mood, foot + 0.03f, uniform(random, 0.1f, 0.35f),
                     1 + static_cast<int>(random.below(5)), random);
}

// One or more blocks seen from a corner, from near their feet or from far.
void draw_corners(Canvas& canvas, const Mood& mood, Random& random) {
  const float horizon = uniform(random, 0.55f, 1.0f);
  draw_open_land(canvas, mood, horizon, random);
  const int count = 1 + static_cast<int>(random.below(4));
  for (int i = 0; i < count; ++i) {
    const float near = static_cast<float>(i + 1) / static_cast<float>(count);
    const float width = mix(0.2f, uniform(random, 0.3f, 0.85f), near);
    const float x0 = uniform(random, -0.2f, 1.0f - 0.6f * width);
    const float tall = mix(0.25f, uniform(random, 0.3f, 0.9f), near);
    const float foot = horizon + 0.12f * near * near;
    const float corner = x0 + width * uniform(random, 0.2f, 0.8f), top = foot - tall;
    const float left = uniform(random, 0.5f, 0.92f), right = uniform(random, 0.5f, 0.92f);
    const float haze = 0.35f * (1 - near);
    // Lines of a wall run together at the height of the eye.
    const auto shrink = [&](float y, float by) { return horizon + (y - horizon) * by; };
    const Facade style = tall_facade(mood, random, width / 2, tall);
    const bool left_lit = mood.light[0] < 0;
    draw_facade(canvas, mood, {x0, shrink(top, left), shrink(foot, left), corner, top, foot}, style,
                left_lit ? 0.8f : 0.1f, haze, Layer::kObject);
    Facade other = style;
    other.seed ^= 0x9e37u;
    draw_facade(canvas, mood,
                {corner, top, foot, x0 + width, shrink(top, right), shrink(foot, right)}, other,
                left_lit ? 0.1f : 0.8f, haze, Layer::kObject);
  }
  if (chance(random, 0.5f))
    draw_trees_along(canvas, mood, std::min(horizon + 0.1f, 1.02f), uniform(random, 0.08f, 0.3f),
                     1 + static_cast<int>(random.below(4)), random);
}

// A town seen over water or fields.
void draw_skyline(Canvas& canvas, const Mood& mood, Random& random) {
  const float foot = uniform(random, 0.5f, 0.85f);
  const Camera camera = draw_open_land(canvas, mood, foot - 0.01f, random);
  const float peak = uniform(random, 0.15f, 0.85f), tall = uniform(random, 0.22f, 0.48f);
  for (int row = 0; row < 3; ++row) {
    const float near = static_cast<float>(row) / 2;
    for (float x = uniform(random, -0.1f, 0); x < 1.05f;) {
      const float width = uniform(random, 0.05f, 0.17f);
      const float rise = std::exp(-8 * (x - peak) * (x - peak)) * (1 - 0.6f * near) + 0.25f;
      const float top = foot - tall * rise * uniform(random, 0.5f, 1.2f);
      const float haze = mix(0.55f, 0.08f, near);
      Facade style = make_facade(mood, random);
      style.floors = std::max(2.0f, std::round((foot - top) / uniform(random, 0.025f, 0.045f)));
      style.bays = std::max(2.0f, std::round(width / uniform(random, 0.022f, 0.04f)));
      draw_facade(canvas, mood, {x, top, foot, x + width, top, foot}, style,
                  uniform(random, 0.2f, 0.8f), haze, Layer::kObject);
      if (chance(random, 0.4f))
        draw_roof(canvas, mood, x, x + width, top, haze, chance(random, 0.3f), random);
      x += width * uniform(random, 0.8f, 1.4f);
    }
  }
  if (chance(random, 0.5f))
    draw_mirror(canvas, mood, foot, 1, uniform(random, 0.4f, 0.9f), random);
  else if (chance(random, 0.6f))
    draw_trees_along(canvas, mood, camera.project(0, 0, 3).y, uniform(random, 0.06f, 0.15f), 12,
                     random);
}

void draw_buildings(Canvas& canvas, const Mood& mood, Random& random) {
  const float pick = uniform(random, 0, 1);
  if (pick < 0.38f) return draw_terrace(canvas, mood, random);
  if (pick < 0.72f) return draw_corners(canvas, mood, random);
  draw_skyline(canvas, mood, random);
}

// ---- Forest -------------------------------------------------------------------------------------

// Among the trunks.
void draw_inside_wood(Canvas& canvas, const Mood& mood, Random& random) {
  const float floor = uniform(random, 0.5f, 0.8f);
  const Noise noise = make_noise(random);
  const TreeStyle tree = make_tree(mood, random);
  const Color leaves = tree.leaves;
  const Color glow = mix(mood.horizon, leaves, uniform(random, 0.1f, 0.6f));
  const float opening = uniform(random, 0.1f, 0.9f);
  canvas.visit(0, 0, 1, 1, [&](int row, int column, float y, float x) {
    const float n = noise.fractal(x * 5, y * 4, 4);
    const float d = std::hypot((x - opening) * 1.3f, y - floor + 0.2f);
    const Color dark = mood.lit(leaves * 0.75f, 0, 0.5f, 0.3f) * (0.8f + 0.6f * n);
    const float light = std::exp(-4 * d * d) * 0.9f;
    canvas.blend(row, column, mix(dark, glow, clamp01(light)), 1, Layer::kObject);
  });
  const Camera camera{.horizon = floor - 0.06f, .height = 0.2f};
  const Ground kind =
      mood.season == Season::kWinter && chance(random, 0.6f) ? Ground::kSnow : Ground::kGrass;
  draw_ground(canvas, mood, camera, make_ground(mood, kind, random), floor);
  const int trunks = 14 + static_cast<int>(random.below(22));
  const float thick = uniform(random, 0.5f, 1.4f), lean = uniform(random, 0.01f, 0.06f);
  for (int i = 0; i < trunks; ++i) {
    const float near = static_cast<float>(i) / static_cast<float>(trunks);
    const float z = mix(6, 1.2f, near), x = uniform(random, -0.05f, 1.05f);
    const float foot = camera.project(0, 0, z).y + 0.02f;
    const float width = thick * 0.09f / z, tilt = uniform(random, -lean, lean);
    const Noise bark = make_noise(random);
    const float haze = clamp01(0.75f - 0.9f * near);
    const Color color = tree.bark * uniform(random, 0.7f, 1.2f);
    canvas.polygon({{x - width * 0.65f, foot},
                    {x - width * 0.4f + tilt, -0.02f},
                    {x + width * 0.4f + tilt, -0.02f},
                    {x + width * 0.65f, foot}},
                   Layer::kObject, [&](float px, float py) {
                     const float side =
                         std::clamp((px - x - tilt * (foot - py)) / width, -0.7f, 0.7f);
                     const float grain = bark.fractal(px * 3 / width, py * 12, 2);
                     const Color c = mood.lit(color, 1.3f * side, 0.2f, 0.5f) * (1 + 0.4f * grain);
                     return mix(c, glow, haze);
                   });
    if (tree.conifer && near > 0.3f)  // dead twigs
      for (int twig = 0; twig < 4; ++twig) {
        const float y = uniform(random, 0.05f, foot - 0.1f), reach = uniform(random, -0.1f, 0.1f);
        canvas.line({x + tilt * 0.5f, y}, {x + reach, y - 0.03f}, 0.006f, 0.001f, Layer::kObject,
                    mix(color * 0.5f, glow, haze));
      }
  }
  // The canopy: leaves in the upper part, denser towards the top.
  if (!tree.bare) {
    const float hang = uniform(random, 0.1f, 0.5f);
    canvas.visit(0, 0, 1, hang + 0.2f, [&](int row, int column, float y, float x) {
      const float lump = noise.fractal(x * 7 + 40, y * 7, 2);
      const float leaf = noise.fractal(x * 38, y * 38 + 9, 2);
      const float cover = smooth(-0.02f, 0.14f, (hang - y) * 0.8f + 0.55f * lump + 0.22f * leaf);
      const Color c = mood.lit(leaves, 0.4f * lump, 0.6f + leaf, 0.4f) * (0.9f + 0.7f * leaf);
      canvas.blend(row, column, c, cover, Layer::kObject);
    });
  }
  const int bushes = static_cast<int>(random.below(9));
  for (int i = 0; i < bushes; ++i) {
    TreeStyle bush = make_tree(mood, random);
    bush.conifer = bush.bare = false;
    bush.bush = true;
    bush.leaves = mix(bush.leaves, leaves, 0.5f);
    const float near = uniform(random, 0, 1), x = uniform(random, 0, 1);
    draw_tree(canvas, mood, {x, mix(floor, 1.0f, near * near) + 0.03f}, mix(0.05f, 0.16f, near),
              bush, Layer::kObject, random);
  }
}

// The edge of a wood behind open land or water.
void draw_wood_edge(Canvas& canvas, const Mood& mood, Random& random) {
  const float foot = uniform(random, 0.45f, 0.85f), tall = uniform(random, 0.18f, 0.45f);
  draw_open_land(canvas, mood, foot - 0.02f, random, true);
  std::array<TreeStyle, 3> kinds = {make_tree(mood, random), make_tree(mood, random),
                                    make_tree(mood, random)};
  const bool mixed = chance(random, 0.5f);
  const float slope = uniform(random, -0.08f, 0.08f);
  for (int row = 0; row < 4; ++row) {
    const float near = static_cast<float>(row) / 3;
    for (float x = uniform(random, -0.12f, 0); x < 1.1f;) {
      TreeStyle style = kinds[mixed ? random.below(3) : 0];
      style.haze = mix(0.4f, 0.02f, near);
      style.leaves = style.leaves * uniform(random, 0.75f, 1.15f);
      const float y = foot + 0.04f * near + slope * (x - 0.5f);
      draw_tree(canvas, mood, {x, y}, tall * uniform(random, 0.7f, 1.15f), style, Layer::kObject,
                random);
      x += tall * uniform(random, 0.2f, 0.4f);
    }
  }
  TreeStyle thicket = kinds[0];
  thicket.conifer = thicket.bare = false;
  thicket.bush = true;
  const float low = tall * uniform(random, 0.08f, 0.25f), gaps = uniform(random, 0.3f, 1.2f);
  for (float x = -0.05f; x < 1.1f; x += low * gaps * uniform(random, 0.7f, 1.6f)) {
    const float y = foot + 0.045f + slope * (x - 0.5f);
    draw_tree(canvas, mood, {x, y}, low * uniform(random, 0.6f, 1.2f), thicket, Layer::kObject,
              random);
  }
  if (chance(random, 0.3f))
    draw_mirror(canvas, mood, foot + 0.05f + std::abs(slope) / 2, 1, uniform(random, 0.4f, 0.95f),
                random);
}

// Slopes covered with trees, the far ones in the mist.
void draw_wooded_slopes(Canvas& canvas, const Mood& mood, Random& random) {
  const float horizon = uniform(random, 0.15f, 0.5f);
  const Camera camera = draw_open_land(canvas, mood, horizon, random, true);
  const TreeStyle kind = make_tree(mood, random), second = make_tree(mood, random);
  if (chance(random, 0.65f)) {  // undergrowth between the trees
    GroundStyle below = make_ground(mood, Ground::kGrass, random);
    below.color = kind.leaves * 0.75f;
    draw_ground(canvas, mood, camera, below, horizon);
  }
  const int rows = 9 + static_cast<int>(random.below(5));
  const float bottom = uniform(random, 0.75f, 1.15f), mist = uniform(random, 0.3f, 0.8f);
  const float size = uniform(random, 0.16f, 0.34f), rarer = uniform(random, 0, 0.35f);
  const Noise noise = make_noise(random);
  const float wave = uniform(random, 0.03f, 0.14f);
  for (int row = 0; row < rows; ++row) {
    const float near = (static_cast<float>(row) + 0.5f) / static_cast<float>(rows);
    const float tall = mix(0.045f, size, near * near);
    for (float x = uniform(random, -0.1f, 0); x < 1.1f;) {
      TreeStyle style = chance(random, rarer) ? second : kind;
      style.haze = mist * (1 - near) * (1 - near);
      style.leaves = style.leaves * uniform(random, 0.75f, 1.2f);
      const float hill = noise.fractal(x * 1.7f, near * 2.5f, 2);
      const float y = mix(horizon + 0.05f, bottom, near) + wave * hill * (1.2f - near);
      draw_tree(canvas, mood, {x, y}, tall * uniform(random, 0.7f, 1.2f), style, Layer::kObject,
                random);
      x += tall * uniform(random, 0.22f, 0.5f);
    }
    if (chance(random, 0.2f))  // a bank of mist between two rows
      canvas.visit(0, 0, 1, 1, [&](int r, int column, float y, float x) {
        const float level = mix(horizon, bottom, near) + 0.05f * noise.fractal(x * 2, near * 9, 2);
        const float d = (y - level) / 0.07f;
        canvas.veil(r, column, mood.haze, 0.5f * mist * std::exp(-d * d));
      });
  }
}

void draw_forest(Canvas& canvas, const Mood& mood, Random& random) {
  const float pick = uniform(random, 0, 1);
  if (pick < 0.4f) return draw_inside_wood(canvas, mood, random);
  if (pick < 0.7f) return draw_wood_edge(canvas, mood, random);
  draw_wooded_slopes(canvas, mood, random);
}

// ---- Glacier ------------------------------------------------------------------------------------

struct Ice {
  Color white, blue, dirt;
};
Ice make_ice(Random& random) {
  return {.white = any_color(random, {0.5f, 0.62f}, {0, 0.14f}, {0.75f, 0.95f}),
          .blue = any_color(random, {0.5f, 0.6f}, {0.35f, 0.75f}, {0.4f, 0.75f}),
          .dirt = any_color(random, {0.04f, 0.12f}, {0.05f, 0.35f}, {0.2f, 0.45f})};
}

// A tongue of ice that winds down between rock walls, or ends in a cliff over water.
void draw_ice_tongue(Canvas& canvas, const Mood& mood, Random& random) {
  const Camera camera{.horizon = uniform(random, 0.2f, 0.5f),
                      .height = uniform(random, 0.45f, 1.1f),
                      .centre = uniform(random, 0.25f, 0.75f)};
  draw_sky(canvas, mood, camera.horizon + 0.05f, random);
  const Noise noise = make_noise(random), rock_noise = make_noise(random);
  const Ice ice = make_ice(random);
  const Color rock = any_color(random, {0, 1}, {0.05f, 0.3f}, {0.25f, 0.55f});
  const float bend = uniform(random, 0.1f, 0.6f), phase = uniform(random, 0, kTau);
  const float turn = uniform(random, 0.5f, 1.1f), half = uniform(random, 0.4f, 0.9f);
  const float rise = uniform(random, 0.03f, 0.1f), walls = uniform(random, 0.5f, 1.3f);
  const float snout = uniform(random, 1.3f, 2.6f), snow_line = uniform(random, 0.3f, 1.2f);
  const float crevasses = uniform(random, 4, 9), stripes = uniform(random, 0.2f, 1);
  const float snow_cover = mood.season == Season::kWinter ? 0.6f : uniform(random, 0, 0.4f);
  const GroundStyle plain = make_ground(mood, Ground::kGravel, random);
  const auto centre = [&](float z) { return bend * std::sin(turn * z + phase); };
  const auto width = [&](float z) { return half * (0.75f + 0.12f * z); };
  const auto off_axis = [&](float x, float z) { return (x - centre(z)) / width(z); };
  const auto cracks = [&](float t, float z) {
    // Bowed down the valley in the middle, where the ice moves fastest.
    const float along = z + 0.35f * t * t + 0.12f * noise.at(3 * t, 2 * z);
    return noise.ridged(1.3f * t, crevasses * along, 1);
  };
  const auto on_ice = [&](float t, float z) {
    const float front = snout + 0.3f * t * t + 0.12f * noise.at(6 * t, 3);
    return std::abs(t) < 1 + 0.08f * noise.at(2, 3 * z) && z > front;
  };
  draw_terrain(
      canvas, mood, camera, 0.8f, 9,
      [&](float x, float z) {
        const float t = off_axis(x, z), beyond = std::max(std::abs(t) - 0.95f, 0.0f) * width(z);
        float y = rise * std::max(z - snout, 0.0f);
        y += walls * smooth(0, 1.6f, beyond) * (0.4f + rock_noise.ridged(x * 0.9f, z * 0.9f, 5));
        y += 0.3f * walls * smooth(5, 8, z) * rock_noise.ridged(x * 0.5f + 7, z * 0.6f, 4);
        if (on_ice(t, z)) {
          y += 0.09f + 0.05f * (1 - t * t);
          y -= 0.06f * smooth(0.72f, 0.95f, cracks(t, z));
        }
        return y;
      },
      [&](const Spot& at) -> Surface {
        const float t = off_axis(at.x, at.z);
        const float grain = rock_noise.fractal(at.x * 5, at.z * 5, 3);
        if (on_ice(t, at.z)) {
          const float crack = smooth(0.62f, 0.9f, cracks(t, at.z));
          Color c = mix(ice.white * (1 + 0.1f * grain), ice.blue, 0.85f * crack);
          c = mix(c, ice.blue, 0.8f * smooth(0.6f, 0.3f, at.up));
          // Moraines: rubble carried along where two streams of ice have met.
          const float lane = std::sin(9 * t + 0.5f * noise.at(t, at.z));
          c = mix(c, ice.dirt, stripes * smooth(0.75f, 1.0f, lane) * (0.7f + grain));
          return {mix(c, ice.dirt, 0.8f * smooth(0.86f, 1.0f, std::abs(t))), true};
        }
        if (at.y < 0.05f && at.z < snout + 1) return {plain.color * (1 + 0.5f * grain), false};
        const float snow = smooth(0.35f, 0.75f, at.up + 0.25f * grain) *
                           std::max(snow_cover, smooth(snow_line - 0.2f, snow_line + 0.2f, at.y));
        const float strata = 0.15f * std::sin(30 * at.y + 4 * grain);
        return {mix(rock * (1 + 0.5f * grain + strata), {0.9f, 0.92f, 0.95f}, snow), false};
      });
  if (chance(random, 0.4f)) {  // a lake before the snout
    const float top = camera.project(0, 0, snout * uniform(random, 0.9f, 1.05f)).y;
    draw_mirror(canvas, mood, top, 1, uniform(random, 0.3f, 0.9f), random);
  }
}

// A floating block of ice.
void draw_iceberg(Canvas& canvas, const Mood& mood, Point foot, float width, const Ice& ice,
                  Random& random) {
  const Noise noise = make_noise(random);
  std::vector<Point> outline = {{foot.x - width / 2, foot.y}};
  for (int i = 0; i <= 5; ++i) {
    const float t = static_cast<float>(i) / 5;
    const float arch = 1 - 1.6f * (t - 0.5f) * (t - 0.5f);
    outline.push_back({foot.x + width * (t - 0.5f) * 0.9f,
                       foot.y - width * 0.4f * arch * uniform(random, 0.35f, 1.0f)});
  }
  outline.push_back({foot.x + width / 2, foot.y});
  canvas.polygon(outline, Layer::kObject, [&](float x, float y) {
    const float facet = noise.at(x * 4 / width, y * 3 / width);
    const float low = smooth(foot.y - 0.12f * width, foot.y, y);
    return mood.lit(mix(ice.white, ice.blue, clamp01(0.5f * low + 0.6f * facet)), facet, 0.4f,
                    0.6f);
  });
}

// The face of a glacier that calves into water, mountains behind it.
void draw_ice_front(Canvas& canvas, const Mood& mood, Random& random) {
  const float water = uniform(random, 0.5f, 0.85f), tall = uniform(random, 0.12f, 0.34f);
  const float horizon = water - tall * uniform(random, 0.6f, 1.0f);
  draw_sky(canvas, mood, horizon, random);
  draw_hills(canvas, mood, horizon + 0.05f, uniform(random, 0.12f, 0.4f),
             1 + static_cast<int>(random.below(3)), random);
  const Camera bank{.horizon = horizon + 0.02f, .height = 0.25f};
  draw_ground(canvas, mood, bank, make_ground(mood, bare_land(mood, random), random), horizon);
  const Ice ice = make_ice(random);
  const Noise noise = make_noise(random), fine = make_noise(random);
  // The ice behind the face, rising to where it comes from.
  const float source = uniform(random, 0.2f, 0.8f), climb = uniform(random, 0.02f, 0.22f);
  const float from = uniform(random, -0.4f, 0.2f), to = uniform(random, 0.75f, 1.4f);
  const auto brow = [&](float x) {
    const float block = noise.cell(static_cast<int>(std::floor(x * 34)), 0) - 0.5f;
    const float ends = smooth(from, from + 0.15f, x) * smooth(to, to - 0.15f, x);
    return water - tall * ends * (0.75f + 0.3f * noise.fractal(x * 4, 1, 3) + 0.22f * block);
  };
  const float crevasses = uniform(random, 30, 60);
  canvas.visit(0, 0, 1, water, [&](int row, int column, float y, float x) {
    const float edge = brow(x), spread = (x - source) / 0.5f;
    const float back = edge - climb * std::exp(-spread * spread * 2) * (edge < water - 0.02f) -
                       0.012f * noise.fractal(x * 8, 7, 2);
    const float cover = clamp01((y - back) / canvas.pixel() + 0.5f);
    if (cover <= 0) return;
    Color c;
    if (y < edge) {
      const float near = (y - back) / std::max(edge - back, 1e-3f);
      const float bow = y - 0.05f * spread * spread;
      const float crack = noise.ridged(x * 4, bow * crevasses * (1.3f - near), 1);
      c = mood.lit(mix(ice.white, ice.blue, 0.6f * smooth(0.8f, 0.97f, crack)),
                   0.25f * fine.at(x * 9, y * 25), 0.8f, 0.3f);
      c = mix(c, mood.haze, 0.35f * (1 - near));
    } else {
      const float deep = (y - edge) / std::max(water - edge, 1e-3f);
      // Pillars that lean a little, each with a face of its own to the light.
      const int pillar = static_cast<int>(std::floor(x * 26 + 1.2f * fine.at(x * 5, y * 9)));
      const int block = static_cast<int>(std::floor(y * 13 + 5 * noise.cell(pillar, 9)));
      const float column_light = 0.6f * (noise.cell(pillar, block) - 0.5f) +
                                 0.5f * (noise.cell(pillar, -1) - 0.5f) +
                                 0.3f * fine.at(x * 40, y * 9);
      const float split = noise.ridged(x * 15, y * 3.5f, 2);
      const float layers = 0.3f * fine.at(x * 3, y * 50);
      const float blue = clamp01(0.15f + 0.35f * deep + 0.8f * smooth(0.6f, 0.9f, split) + layers);
      c = mood.lit(mix(ice.white, ice.blue, blue), column_light, 0.25f, 0.65f) *
          (1 + 0.15f * column_light) * mix(1.1f, 0.8f, deep);
      const float rubble = smooth(0.35f, 0.8f, fine.fractal(x * 6, y * 12, 2));
      c = mix(c, mood.lit_flat(ice.dirt), 0.3f * rubble);
    }
    canvas.blend(row, column, c, cover, Layer::kObject);
  });
  draw_mirror(canvas, mood, water, 1, uniform(random, 0.35f, 0.9f), random);
  const int bergs = static_cast<int>(random.below(14));
  for (int i = 0; i < bergs; ++i) {
    const float near = std::sqrt((static_cast<float>(i) + 0.5f) / static_cast<float>(bergs));
    const float x = uniform(random, 0, 1), y = mix(water + 0.01f, 1.0f, near * near);
    draw_iceberg(canvas, mood, {x, y}, mix(0.03f, uniform(random, 0.06f, 0.24f), near), ice,
                 random);
  }
}

// Out on the ice, among its cracks and towers.
void draw_crevasses(Canvas& canvas, const Mood& mood, Random& random) {
  const Camera camera{.horizon = uniform(random, 0.15f, 0.55f),
                      .height = uniform(random, 0.3f, 0.6f),
                      .centre = uniform(random, 0.3f, 0.7f)};
  draw_sky(canvas, mood, camera.horizon, random);
  draw_hills(canvas, mood, camera.horizon + 0.02f, uniform(random, 0.06f, 0.3f),
             1 + static_cast<int>(random.below(3)), random);
  const Noise noise = make_noise(random);
  const Ice ice = make_ice(random);
  const float angle = uniform(random, -0.6f, 0.6f), spacing = uniform(random, 2.2f, 4.5f);
  const float width = uniform(random, 0.6f, 0.78f), bumps = uniform(random, 0.05f, 0.22f);
  const float ruin = chance(random, 0.5f) ? uniform(random, 0.1f, 0.3f) : 0;
  const float dirty = uniform(random, 0, 0.6f);
  const auto crack = [&](float x, float z) {
    const float along = std::cos(angle) * x + std::sin(angle) * z;
    const float across = std::cos(angle) * z - std::sin(angle) * x;
    return noise.ridged(along * 0.8f, spacing * across * 0.6f, 2);
  };
  draw_terrain(
      canvas, mood, camera, 0.5f, 9,
      [&](float x, float z) {
        const float c = crack(x, z);
        const float towers =
            noise.cell(static_cast<int>(std::floor(x * 5 + noise.at(x * 4, z * 4))),
                       static_cast<int>(std::floor(z * 5)));
        return bumps * noise.fractal(x * 1.1f, z * 1.1f, 4) +
               ruin * towers * smooth(1.0f, 2.5f, z) -
               0.2f * smooth(width - 0.08f, width + 0.1f, c);
      },
      [&](const Spot& at) -> Surface {
        const float grain = noise.fractal(at.x * 7, at.z * 7, 2);
        const float depth = smooth(width - 0.15f, width + 0.06f, crack(at.x, at.z));
        Color c = mix(ice.white * (1 + 0.1f * grain), ice.blue, depth);
        c = mix(c, ice.blue * 0.4f, 0.8f * depth * depth);
        c = mix(c, ice.blue, 0.6f * smooth(0.7f, 0.3f, at.up));
        c = mix(c, ice.dirt, dirty * smooth(0.15f, 0.7f, noise.fractal(at.x * 1.5f, at.z * 3, 3)));
        return {c, true};
      });
}

void draw_glacier(Canvas& canvas, const Mood& mood, Random& random) {
  const float pick = uniform(random, 0, 1);
  if (pick < 0.4f) return draw_ice_tongue(canvas, mood, random);
  if (pick < 0.7f) return draw_ice_front(canvas, mood, random);
  draw_crevasses(canvas, mood, random);
}

// ---- Mountain -----------------------------------------------------------------------------------

void draw_mountain(Canvas& canvas, const Mood& mood, Random& random) {
  const Camera camera{.horizon = uniform(random, 0.5f, 0.85f),
                      .height = uniform(random, 0.15f, 0.5f),
                      .centre = uniform(random, 0.3f, 0.7f)};
  draw_sky(canvas, mood, camera.horizon, random);
  const Noise noise = make_noise(random), detail = make_noise(random);
  struct Peak {
    float x, z, height, radius;
  };
  std::vector<Peak> peaks(1 + random.below(4));
  const float tallest = uniform(random, 0.36f, 0.66f), steep = uniform(random, 0.8f, 1.5f);
  for (Peak& peak : peaks) {
    peak.z = uniform(random, 3.5f, 6.5f);
    peak.x = uniform(random, -0.5f, 0.5f) * peak.z;
    const bool first = &peak == &peaks[0];
    peak.height = peak.z * tallest * (first ? 1 : uniform(random, 0.4f, 0.9f));
    peak.radius = peak.height * steep * uniform(random, 0.8f, 1.4f);
  }
  const auto massif = [&](float x, float z) {  // smooth height, before ridges
    const float wx = x + 0.5f * noise.fractal(x * 0.7f, z * 0.7f, 2);
    const float wz = z + 0.5f * noise.fractal(x * 0.7f + 9, z * 0.7f, 2);
    float y = 0;
    for (const Peak& peak : peaks) {
      const float d = std::hypot(wx - peak.x, wz - peak.z) / peak.radius;
      if (d < 1) y = std::max(y, peak.height * (1 - d) * (1 - 0.35f * d));
    }
    return y * smooth(1.0f, 3.0f, z);  // the viewer stands on the plain
  };
  const float ragged = uniform(random, 0.25f, 0.7f), rolling = uniform(random, 0.02f, 0.1f);
  const float top = peaks[0].height;
  const float snow_line = (mood.season == Season::kWinter ? uniform(random, -0.2f, 0.4f)
                                                          : uniform(random, 0.2f, 1.2f)) *
                          top;
  const float tree_line = uniform(random, -0.1f, 0.45f) * top;
  const Color rock = any_color(random, {0, 1}, {0.03f, 0.35f}, {0.25f, 0.6f});
  const Color green = foliage(mood, random) * 0.8f;
  const GroundStyle ground = make_ground(mood, bare_land(mood, random), random);
  draw_terrain(
      canvas, mood, camera, 0.6f, 10,
      [&](float x, float z) {
        const float base = massif(x, z);
        float y = rolling * noise.fractal(x * 0.8f + 3, z * 0.8f, 3);
        if (base > 0)
          y += base * (1 - ragged * 0.6f) + ragged * base * detail.ridged(x * 0.8f, z * 0.8f, 6);
        return y;
      },
      [&](const Spot& at) -> Surface {
        const float base = massif(at.x, at.z);
        const float grain = noise.fractal(at.x * 4, at.y * 6 + at.z * 4, 3);
        const float rocky = smooth(0.04f, 0.14f, base / top);
        const float footprint = at.z * at.z / camera.height * canvas.pixel();
        const Color plain = ground_albedo(ground, at.x, at.z, footprint);
        Color c = mix(
            rock * (1 + 0.55f * grain), green * (1 + 0.7f * grain),
            smooth(tree_line + 0.12f * top, tree_line - 0.05f * top, at.y + 0.2f * top * grain));
        const float snow =
            smooth(snow_line - 0.1f * top, snow_line + 0.12f * top, at.y + 0.15f * top * grain) *
            smooth(0.28f, 0.6f, at.up + 0.2f * grain);
        c = mix(c, {0.93f, 0.94f, 0.97f}, snow);
        return {mix(plain, c, rocky), base > 0.08f * top};
      });
  const float pick = uniform(random, 0, 1);
  const float shore = camera.project(0, 0, uniform(random, 1.2f, 3.2f)).y;
  if (pick < 0.35f)
    draw_mirror(canvas, mood, std::max(shore, camera.horizon + 0.02f), 1,
                uniform(random, 0.4f, 0.95f), random);
  if (chance(random, 0.45f))
    draw_trees_along(canvas, mood, std::min(shore, 0.98f), uniform(random, 0.06f, 0.22f),
                     3 + static_cast<int>(random.below(12)), random);
  if (chance(random, 0.15f)) {
    const float x = uniform(random, 0.1f, 0.9f);
    draw_cottage(canvas, mood, {x, std::min(shore, 0.97f)}, uniform(random, 0.05f, 0.12f),
                 Layer::kBackdrop, random);
  }
}

// ---- Sea ----------------------------------------------------------------------------------------

void draw_boat(Canvas& canvas, const Mood& mood, Point at, float size, Random& random) {
  const Color hull = mood.lit(any_color(random, {0, 1}, {0.1f, 0.7f}, {0.2f, 0.9f}), 0, 0.3f, 0.7f);
  const Color sail = mood.lit({0.95f, 0.93f, 0.88f}, 0.4f * mood.light[0], 0.2f, 0.7f);
  canvas.polygon({{at.x - size * 0.5f, at.y - size * 0.14f},
                  {at.x + size * 0.55f, at.y - size * 0.16f},
                  {at.x + size * 0.4f, at.y},
                  {at.x - size * 0.38f, at.y}},
                 Layer::kBackdrop, hull);
  if (chance(random, 0.6f)) {
    canvas.polygon({{at.x, at.y - size * 1.2f},
                    {at.x + size * 0.4f, at.y - size * 0.2f},
                    {at.x, at.y - size * 0.2f}},
                   Layer::kBackdrop, sail);
    canvas.polygon({{at.x - 0.03f * size, at.y - size * 1.05f},
                    {at.x - size * 0.35f, at.y - size * 0.2f},
                    {at.x - 0.03f * size, at.y - size * 0.2f}},
                   Layer::kBackdrop, sail * 0.85f);
  } else {
    canvas.polygon({{at.x - size * 0.2f, at.y - size * 0.35f},
                    {at.x + size * 0.15f, at.y - size * 0.35f},
                    {at.x + size * 0.2f, at.y - size * 0.15f},
                    {at.x - size * 0.2f, at.y - size * 0.15f}},
                   Layer::kBackdrop, sail);
  }
}

void draw_rock(Canvas& canvas, const Mood& mood, Point foot, float width, Color color,
               Random& random) {
  const Noise noise = make_noise(random);
  std::vector<Point> outline = {{foot.x - width / 2, foot.y}};
  for (int i = 1; i < 8; ++i) {
    const float t = static_cast<float>(i) / 8;
    outline.push_back(
        {foot.x + width * (t - 0.5f),
         foot.y - width * 0.55f * std::sin(t * kTau / 2) * uniform(random, 0.6f, 1.1f)});
  }
  outline.push_back({foot.x + width / 2, foot.y});
  canvas.polygon(outline, Layer::kBackdrop, [&](float x, float y) {
    const float n = noise.fractal(x * 5 / width, y * 7 / width, 3);
    const float up = clamp01((foot.y - y) / (0.4f * width));
    return mood.lit(color * (1 + 0.5f * n), (x - foot.x) / width * 1.5f, up - 0.2f + n, 0.5f);
  });
}

void draw_sea_scene(Canvas& canvas, const Mood& mood, Random& random) {
  const float pick = uniform(random, 0, 1);
  const bool no_sky = pick > 0.88f;
  const Camera camera{
      .horizon = no_sky ? uniform(random, -0.25f, 0.0f) : uniform(random, 0.18f, 0.72f),
      .height = uniform(random, 0.2f, 0.6f),
      .centre = uniform(random, 0.3f, 0.7f)};
  const bool beach = pick < 0.42f || (no_sky && chance(random, 0.5f));
  draw_sky(canvas, mood, camera.horizon, random);
  if (chance(random, 0.5f))
    draw_hills(canvas, mood, camera.horizon + 0.01f, uniform(random, 0.03f, 0.2f),
               1 + static_cast<int>(random.below(3)), random);
  const Ground kind = chance(random, 0.7f) ? Ground::kSand : bare_land(mood, random);
  if (beach) draw_ground(canvas, mood, camera, make_ground(mood, kind, random), camera.horizon);
  const float below = 1 - std::max(camera.horizon, 0.0f);
  const float level = std::max(camera.horizon, 0.0f) + below * uniform(random, 0.35f, 0.85f);
  const float slant = uniform(random, -1, 1) * below, bow = uniform(random, -0.3f, 0.3f);
  const Noise edge = make_noise(random);
  const SeaStyle style = make_sea(random);
  draw_sea(
      canvas, mood, camera, style,
      [&](float x) {
        if (!beach) return 2.0f;
        const float d = x - 0.5f;
        return std::max(level + slant * d + bow * d * d + 0.05f * edge.fractal(x * 3, 0, 3),
                        camera.horizon - 0.02f);
      },
      Layer::kObject, random);

  // Rows of breakers that come in.
  if (chance(random, 0.35f)) {
    const int count = 1 + static_cast<int>(random.below(4));
    const Color foam = mood.lit_flat({0.97f, 0.97f, 0.97f});
    for (int i = 0; i < count; ++i) {
      const Noise noise = make_noise(random);
      const float near = uniform(random, 0.1f, 0.8f);
      const float y0 = std::max(camera.horizon, 0.0f) + below * near * 0.8f;
      const float thick = 0.02f + 0.1f * near;
      const float x0 = uniform(random, 0, 1), reach = uniform(random, 0.2f, 0.7f);
      canvas.visit(0, y0 - 0.1f, 1, y0 + 0.12f, [&](int row, int column, float y, float x) {
        if (canvas.object(row, column) < 0.5f) return;
        const float line = y0 + 0.04f * noise.fractal(x * 2, 0, 2);
        const float d = (y - line) / thick, side = (x - x0) / reach;
        const float churn = noise.fractal(x * 18, y * 26, 3);
        const float body = std::exp(-side * side) * std::exp(-d * d * 3);
        canvas.veil(row, column, foam * (0.9f + 0.2f * churn),
                    smooth(0.25f, 0.6f, body * (0.9f + 0.8f * churn)));
        const float hollow = std::exp(-(d + 0.8f) * (d + 0.8f) * 8) * std::exp(-side * side);
        canvas.veil(row, column, style.deep * mood.ambient, 0.5f * hollow);
      });
    }
  }
  if (chance(random, 0.3f) && !no_sky) {
    const int boats = 1 + static_cast<int>(random.below(3));
    for (int i = 0; i < boats; ++i) {
      const float z = uniform(random, 2.5f, 9), x = uniform(random, 0.05f, 0.95f);
      const float y = camera.horizon + camera.height / z;
      if (!beach || y < level - 0.1f) draw_boat(canvas, mood, {x, y}, 0.35f / z + 0.02f, random);
    }
  }
  if (chance(random, 0.3f)) {
    const Color color = any_color(random, {0, 1}, {0.03f, 0.3f}, {0.2f, 0.5f});
    const int count = 1 + static_cast<int>(random.below(6));
    const float middle = uniform(random, 0, 1);
    for (int i = 0; i < count; ++i) {
      const float near = static_cast<float>(i + 1) / static_cast<float>(count);
      const float x = middle + uniform(random, -0.25f, 0.25f);
      draw_rock(canvas, mood, {x, std::max(camera.horizon, 0.0f) + below * (0.25f + 0.75f * near)},
                uniform(random, 0.08f, 0.3f) * (0.3f + near), color, random);
    }
  }
  if (beach && chance(random, 0.35f)) {
    const int count = 1 + static_cast<int>(random.below(4));
    for (int i = 0; i < count; ++i) {
      const float x = uniform(random, 0.05f, 0.95f), y = uniform(random, level, 1.0f);
      draw_person(canvas, mood, {x, y}, 0.22f * (y - camera.horizon) + 0.02f, Layer::kBackdrop,
                  random);
    }
  }
}

// ---- Street -------------------------------------------------------------------------------------

void draw_street(Canvas& canvas, const Mood& mood, Random& random) {
  const Camera camera{.horizon = uniform(random, 0.3f, 0.68f),
                      .height = uniform(random, 0.16f, 0.4f),
                      .centre = uniform(random, 0.2f, 0.8f)};
  constexpr float kFar = 12, kNear = 0.25f;
  draw_sky(canvas, mood, camera.horizon, random);
  if (chance(random, 0.6f))
    draw_hills(canvas, mood, camera.horizon + 0.01f, uniform(random, 0.03f, 0.15f),
               1 + static_cast<int>(random.below(2)), random);
  const Ground verge = any_ground(mood, random);
  draw_ground(canvas, mood, camera, make_ground(mood, verge, random), camera.horizon);

  // The road: from kerb to kerb, pavements on both sides, all of it the object.
  const float half = uniform(random, 0.22f, 0.5f), pavement = uniform(random, 0.06f, 0.2f);
  const float shift = uniform(random, -0.2f, 0.2f);  // of the road under the viewer
  const float left = shift - half, right = shift + half;
  const GroundStyle asphalt =
      make_ground(mood, chance(random, 0.8f) ? Ground::kAsphalt : Ground::kPaving, random);
  const GroundStyle slabs = make_ground(mood, Ground::kPaving, random);
  const float wet = chance(random, 0.25f) ? uniform(random, 0.2f, 0.6f) : 0;
  const int lanes = half > 0.35f ? 4 : 2;
  const Color paint =
      mood.lit_flat(chance(random, 0.75f) ? Color{0.92f, 0.92f, 0.9f} : Color{0.9f, 0.75f, 0.2f});
  const float dash = uniform(random, 1.2f, 2.4f), line = uniform(random, 0.008f, 0.016f);
  const bool solid = chance(random, 0.25f), marked = chance(random, 0.85f);
  const float crossing = chance(random, 0.4f) ? uniform(random, 0.6f, 2.0f) : -1;
  canvas.visit(0, camera.horizon, 1, 1, [&](int row, int column, float y, float x) {
    const float z = camera.depth(y);
    const float across = (x - camera.centre) * z, pixel = z * canvas.pixel();
    const float footprint = z * z / camera.height * canvas.pixel();
    const float road = clamp01(std::min(across - left, right - across) / pixel + 0.5f);
    const float all =
        clamp01(std::min(across - left + pavement, right + pavement - across) / pixel + 0.5f);
    if (all <= 0) return;
    Color c = ground_color(asphalt, mood, across, z, footprint);
    if (wet > 0) {
      const Color mirrored = canvas.sample(std::max(2 * camera.horizon - y, 0.0f), x);
      c = mix(c, mirrored, wet);
    }
    const float lane_width = 2 * half / static_cast<float>(lanes);
    const float lane = (across - left) / lane_width;
    const float nearest = std::round(lane);
    const bool edge = nearest < 0.5f || nearest > static_cast<float>(lanes) - 0.5f;
    const bool middle = std::abs(nearest - static_cast<float>(lanes) / 2) < 0.1f;
    float mark = 0;
    if (marked) {
      const float inset = edge ? (nearest < 0.5f ? 0.05f : -0.05f) : 0;
      mark = clamp01((line - std::abs(lane - nearest - inset) * lane_width) / pixel + 0.5f);
      const float phase = z * dash - std::floor(z * dash);
      if (!edge && !(solid && middle))
        mark *= mix(0.5f, phase < 0.5f ? 1.0f : 0.0f, visible(dash, footprint));
    }
    if (crossing > 0 && std::abs(z - crossing) < 0.22f) {
      const float stripe = across * 9 - std::floor(across * 9);
      mark = stripe < 0.5f ? 0.95f : 0;
    }
    c = mix(c, paint, 0.9f * mark);
    if (road < 1) {
      Color stone = ground_color(slabs, mood, across, z, footprint) * 1.1f;
      const float kerb = std::max(left - across, across - right);
      if (kerb < 0.02f) stone = stone * 0.6f;
      c = mix(stone, c, road);
    }
    canvas.blend(row, column, mood.far_away(c, z), all, Layer::kObject);
  });

  // What lines it, from the far end to the near, on either side.
  const bool town = chance(random, 0.75f), open_side = chance(random, 0.3f);
  const float open = chance(random, 0.5f) ? 1.0f : -1.0f;
  const float lower = uniform(random, 0.35f, 0.8f), higher = lower * uniform(random, 1.1f, 2);
  for (const float side : {-1.0f, 1.0f}) {
    const float x = side < 0 ? left - pavement : right + pavement;
    if (town && !(open_side && side == open)) {
      const float stretch = uniform(random, 0.5f, 1.3f);
      for (float z = kFar; z > kNear;) {
        const float front = std::max(z - stretch * uniform(random, 0.5f, 1.4f), kNear * 0.9f);
        const float tall = uniform(random, lower, higher);
        Facade style = make_facade(mood, random);
        style.floors = std::max(2.0f, std::round(tall / uniform(random, 0.15f, 0.22f)));
        style.bays = std::max(1.0f, std::round((z - front) / uniform(random, 0.14f, 0.26f)));
        const Point far_foot = camera.project(x, 0, z), far_top = camera.project(x, tall, z);
        const Point near_foot = camera.project(x, 0, front);
        const Point near_top = camera.project(x, tall, front);
        const bool lit = mood.light[0] * side < 0;
        const float haze = 1 - std::exp(-(mood.haze_density + 0.02f) * front);
        draw_facade(canvas, mood,
                    {far_foot.x, far_top.y, far_foot.y, near_foot.x, near_top.y, near_foot.y},
                    style, lit ? 0.7f : 0.1f, haze, Layer::kBackdrop);
        z = front - (chance(random, 0.2f) ? uniform(random, 0.1f, 0.4f) : 0);
      }
    }
    const bool trees = chance(random, town ? 0.35f : 0.75f), lamps = chance(random, 0.6f);
    const TreeStyle kind = make_tree(mood, random);
    const float gap = uniform(random, 0.7f, 1.4f), tall = uniform(random, 0.4f, 0.9f);
    for (float z = 9; z > 0.6f; z -= gap * uniform(random, 0.8f, 1.2f)) {
      const Point foot = camera.project(x - side * pavement * 0.5f, 0, z);
      if (trees) {
        TreeStyle style = kind;
        style.haze = 1 - std::exp(-(mood.haze_density + 0.02f) * z);
        const Point beside = camera.project(x + side * (town ? -0.3f * pavement : 0.12f), 0, z);
        draw_tree(canvas, mood, beside, tall * uniform(random, 0.8f, 1.1f) / z, style,
                  Layer::kBackdrop, random);
      }
      if (lamps) draw_lamp(canvas, mood, foot, 0.55f / z, -side, Layer::kObject);
    }
  }

  const int cars = static_cast<int>(random.below(6));
  std::vector<float> depths(cars);
  for (float& z : depths) z = uniform(random, 0.9f, 6);
  std::sort(depths.rbegin(), depths.rend());
  const bool drives_right = chance(random, 0.5f);
  for (const float z : depths) {
    const bool on_right = chance(random, 0.5f), parked = chance(random, 0.4f);
    const float x = shift + (on_right ? 1 : -1) * half * (parked ? 0.82f : 0.45f);
    draw_car(canvas, mood, camera, x, z, uniform(random, 0.85f, 1.15f), on_right != drives_right,
             Layer::kObject, random);
  }
  const int people = static_cast<int>(random.below(5));
  for (int i = 0; i < people; ++i) {
    const float z = uniform(random, 1, 4), side = chance(random, 0.5f) ? 1.0f : -1.0f;
    const float x = shift + side * (half + pavement * uniform(random, 0.2f, 0.8f));
    draw_person(canvas, mood, camera.project(x, 0, z), 0.15f / z, Layer::kObject, random);
  }
}

// ---- From the drawing to the picture ------------------------------------------------------------

// A Gaussian of `sigma` pixels, one axis after the other.
void soften(std::vector<Color>& colors, int size, float sigma) {
  if (sigma <= 0) return;
  const int reach = std::max(1, static_cast<int>(std::ceil(2.5f * sigma)));
  std::vector<float> weights(reach + 1);
  float total = 0;
  for (int i = 0; i <= reach; ++i) {
    weights[i] = std::exp(-static_cast<float>(i * i) / (2 * sigma * sigma));
    total += (i == 0 ? 1.0f : 2.0f) * weights[i];
  }
  std::vector<Color> source(colors.size());
  for (const bool across : {true, false}) {
    source.swap(colors);
    for (int row = 0; row < size; ++row)
      for (int column = 0; column < size; ++column) {
        Color sum;
        for (int i = -reach; i <= reach; ++i) {
          const int y = across ? row : std::clamp(row + i, 0, size - 1);
          const int x = across ? std::clamp(column + i, 0, size - 1) : column;
          sum = sum + source[static_cast<size_t>(y) * size + x] * (weights[std::abs(i)] / total);
        }
        colors[static_cast<size_t>(row) * size + column] = sum;
      }
  }
}

// The camera: a slightly turned, shifted and zoomed, sometimes mirrored part of the drawing, soft
// and noisy as sensors are, with exposure, contrast and white balance drawn alike for all classes.
void develop(const Canvas& canvas, Random& random, Scene& scene) {
  const int size = scene.image.height;
  const float zoom = uniform(random, 0.8f, 0.96f), angle = uniform(random, -0.05f, 0.05f);
  const float slack = (1 - zoom) / 2 - 0.02f;
  const float cx = 0.5f + uniform(random, -slack, slack),
              cy = 0.5f + uniform(random, -slack, slack);
  const float mirror = chance(random, 0.5f) ? -1.0f : 1.0f;
  const float cosine = std::cos(angle) * zoom, sine = std::sin(angle) * zoom;
  const float blur = chance(random, 0.2f) ? uniform(random, 0.3f, 0.8f) / 150 : 0;
  std::vector<Color> colors(static_cast<size_t>(size) * size);
  for (int row = 0; row < size; ++row)
    for (int column = 0; column < size; ++column) {
      const float u =
          mirror * ((static_cast<float>(column) + 0.5f) / static_cast<float>(size) - 0.5f);
      const float v = (static_cast<float>(row) + 0.5f) / static_cast<float>(size) - 0.5f;
      const float x = cx + cosine * u - sine * v, y = cy + sine * u + cosine * v;
      const size_t i = static_cast<size_t>(row) * size + column;
      const float step = 0.25f / static_cast<float>(size);
      colors[i] = (canvas.sample(y - step, x - step) + canvas.sample(y - step, x + step) +
                   canvas.sample(y + step, x - step) + canvas.sample(y + step, x + step)) *
                  0.25f;
      const int last = canvas.size() - 1;
      const auto place = [&](float t) {
        return std::clamp(static_cast<int>(t * static_cast<float>(canvas.size())), 0, last);
      };
      scene.mask[i] = canvas.object(place(y), place(x)) >= 0.5f ? 255 : 0;
    }

  soften(colors, size, blur * static_cast<float>(size));

  Color mean;
  for (const Color& c : colors) mean = mean + c * (1 / static_cast<float>(colors.size()));
  const float grey = luminance(mean);
  double spread = 0;
  for (const Color& c : colors) spread += std::pow(luminance(c) - grey, 2);
  const float deviation =
      static_cast<float>(std::sqrt(spread / static_cast<double>(colors.size())));
  const float exposure = uniform(random, 0.34f, 0.58f), contrast = uniform(random, 0.15f, 0.23f);
  const float gain = contrast / std::max(deviation, 0.03f),
              vividness = uniform(random, 0.75f, 1.2f);
  // Part of the mean colour is taken for a cast of the light and removed; another one is added.
  const float balance = uniform(random, 0.2f, 0.5f);
  const Color cast = any_color(random, {0, 1}, {0, 0.12f}, {1, 1});
  const float noise = uniform(random, 0.002f, 0.014f), vignette = uniform(random, 0, 0.3f);
  const Noise sensor = make_noise(random);
  const Color neutral = {mean.r - grey, mean.g - grey, mean.b - grey};
  for (int row = 0; row < size; ++row)
    for (int column = 0; column < size; ++column) {
      const size_t i = static_cast<size_t>(row) * size + column;
      const float u = 2 * (static_cast<float>(column) + 0.5f) / static_cast<float>(size) - 1;
      const float v = 2 * (static_cast<float>(row) + 0.5f) / static_cast<float>(size) - 1;
      const float dim = 1 - vignette * 0.5f * (u * u + v * v) * 0.5f;
      const Color c = colors[i];
      const float level = luminance(c);
      const std::array<float, 3> in = {c.r - balance * neutral.r, c.g - balance * neutral.g,
                                       c.b - balance * neutral.b};
      const std::array<float, 3> tint = {cast.r, cast.g, cast.b};
      for (int channel = 0; channel < 3; ++channel) {
        const float chroma = (in[channel] - level) * vividness * std::clamp(gain, 0.7f, 1.5f);
        float out = (exposure + gain * (level - grey) + chroma) * tint[channel] * dim;
        out += noise * 3.4f * (sensor.cell(3 * column + channel, row) - 0.5f);
        // A shoulder and a toe in place of hard ends.
        if (out > 0.85f) out = 0.85f + 0.15f * std::tanh((out - 0.85f) / 0.15f);
        if (out < 0.12f) out = 0.12f - 0.12f * std::tanh((0.12f - out) / 0.12f);
        scene.image.at(row, column)[channel] =
            static_cast<uint8_t>(std::lround(255 * clamp01(out)));
      }
    }
}

}  // namespace

Scene draw_scene(int label, uint64_t seed, uint64_t index, int size) {
  const auto classes = static_cast<int>(scene_classes().size());
  if (label < 0 || label >= classes)
    throw UsageError("[draw_scene] there is no class " + std::to_string(label) +
                     "; labels go from 0 to " + std::to_string(classes - 1));
  if (size < 16 || size > 2048)
    throw UsageError("[draw_scene] a scene of " + std::to_string(size) +
                     " pixels cannot be drawn; ask for 16 to 2048");
  constexpr std::array kinds = {draw_buildings, draw_forest,    draw_glacier,
                                draw_mountain,  draw_sea_scene, draw_street};
  Random random(seed, Stream::kScenes, static_cast<uint64_t>(label), index);
  Scene scene{
      .image = Image(size, size), .mask = std::vector<uint8_t>(size * size), .label = label};
  // Some compositions hide their object or show nothing else; another one is drawn then.
  for (;;) {
    Canvas canvas(size * 7 / 5);
    const Mood mood = draw_mood(random);
    kinds[label](canvas, mood, random);
    draw_frame(canvas, mood, random);
    develop(canvas, random, scene);
    const auto covered = std::count(scene.mask.begin(), scene.mask.end(), 255);
    const double share = static_cast<double>(covered) / static_cast<double>(scene.mask.size());
    if (share > 0.1 && share < 0.8) return scene;
  }
}

}  // namespace glassnet
