#include "data/scenery.h"

#include <array>
#include <numbers>

namespace glassnet::drawing {
namespace {

constexpr float kPi = std::numbers::pi_v<float>;

// The share of a pixel `width` wide around v that lies within `half` of 0.
float band(float v, float half, float width) {
  return clamp01((half - std::abs(v)) / std::max(width, 1e-6f) + 0.5f);
}

}  // namespace

float uniform(Random& random, float low, float high) {
  return static_cast<float>(random.uniform(low, high));
}
Color any_color(Random& random, Range hue, Range saturation, Range value) {
  const float h = uniform(random, hue.low, hue.high);
  const float s = uniform(random, saturation.low, saturation.high);
  return hsv(h, s, uniform(random, value.low, value.high));
}
bool chance(Random& random, float probability) {
  return random.uniform() < probability;
}
float visible(float frequency, float footprint) {
  return 1 - smooth(0.25f, 0.7f, frequency * footprint);
}
Noise make_noise(Random& random) {
  return Noise(random.next());
}

Mood draw_mood(Random& random) {
  Mood mood;
  mood.season = static_cast<Season>(random.below(4));
  const float hour = uniform(random, 0, 1);
  float strength = 1;
  if (hour < 0.5f) {  // day
    mood.zenith = any_color(random, {0.53f, 0.65f}, {0.25f, 0.8f}, {0.45f, 0.9f});
    mood.horizon = mix(mood.zenith, hsv(uniform(random, 0.05f, 0.6f), 0.08f, 0.95f),
                       uniform(random, 0.45f, 0.9f));
    mood.sun = {0.95f, 0.9f, 0.8f};
    mood.ambient = mix(mood.zenith, {0.5f, 0.5f, 0.5f}, 0.6f) * 0.75f;
  } else if (hour < 0.72f) {  // the sun is low
    mood.zenith = any_color(random, {0.56f, 0.8f}, {0.2f, 0.6f}, {0.35f, 0.65f});
    mood.horizon = any_color(random, {0.97f, 1.13f}, {0.35f, 0.75f}, {0.8f, 1.0f});
    mood.sun = any_color(random, {0.02f, 0.12f}, {0.3f, 0.6f}, {1.0f, 1.0f});
    mood.ambient = mix(mood.zenith, {0.4f, 0.36f, 0.4f}, 0.5f) * 0.8f;
  } else if (hour < 0.88f) {  // overcast
    mood.zenith = any_color(random, {0.5f, 0.7f}, {0.02f, 0.2f}, {0.45f, 0.8f});
    mood.horizon = mood.zenith * uniform(random, 0.95f, 1.25f);
    mood.sun = {0.3f, 0.3f, 0.3f};
    mood.ambient = {0.62f, 0.63f, 0.66f};
    strength = uniform(random, 0.3f, 1.0f);
  } else {  // night, or the last light
    mood.night = true;
    mood.zenith = any_color(random, {0.58f, 0.74f}, {0.4f, 0.8f}, {0.06f, 0.2f});
    mood.horizon =
        mix(mood.zenith * 2.2f, hsv(uniform(random, 0, 1), 0.5f, 0.4f), uniform(random, 0, 0.6f));
    mood.sun = {0.24f, 0.27f, 0.36f};
    mood.ambient = {0.15f, 0.17f, 0.25f};
  }
  mood.sun = mood.sun * strength;
  mood.haze = mix(mood.horizon, mood.zenith, uniform(random, 0, 0.4f));
  mood.haze_density =
      chance(random, 0.2f) ? uniform(random, 0.08f, 0.22f) : uniform(random, 0.01f, 0.08f);
  mood.cloud_cover = chance(random, 0.3f) ? 0 : uniform(random, 0.2f, 0.9f);
  mood.cloud_stretch = chance(random, 0.5f) ? uniform(random, 1, 1.6f) : uniform(random, 2, 5);
  mood.cloud_light = mix(mood.horizon, mood.sun + mood.ambient * 0.6f, uniform(random, 0.4f, 0.9f));
  mood.cloud_shade = mix(mood.zenith, mood.ambient, 0.4f) * uniform(random, 0.7f, 1.1f);
  mood.sun_at = {uniform(random, 0.05f, 0.95f), uniform(random, 0.05f, 0.4f)};
  const float across = (chance(random, 0.5f) ? 1.0f : -1.0f) * uniform(random, 0.3f, 1);
  const float up = uniform(random, 0.25f, 0.9f), front = uniform(random, -0.3f, 0.8f);
  const float length = std::sqrt(across * across + up * up + front * front);
  mood.light[0] = across / length;
  mood.light[1] = up / length;
  mood.light[2] = front / length;
  return mood;
}

Color foliage(const Mood& mood, Random& random) {
  switch (mood.season) {
    case Season::kSummer:
      return any_color(random, {0.18f, 0.4f}, {0.25f, 0.7f}, {0.28f, 0.6f});
    case Season::kAutumn:
      return any_color(random, {0.0f, 0.17f}, {0.4f, 0.85f}, {0.4f, 0.8f});
    case Season::kWinter:
      return any_color(random, {0.3f, 0.6f}, {0.1f, 0.4f}, {0.22f, 0.5f});
    case Season::kDry:
      break;
  }
  return any_color(random, {0.1f, 0.24f}, {0.2f, 0.5f}, {0.35f, 0.65f});
}

// ---- Sky and distance ---------------------------------------------------------------------------

void draw_sky(Canvas& canvas, const Mood& mood, float horizon, Random& random) {
  const Noise noise = make_noise(random);
  const bool disc = chance(random, 0.35f);
  const float disc_radius = uniform(random, 0.015f, 0.04f);
  const float glow = uniform(random, 0.1f, 0.5f);
  const float scale = uniform(random, 1.5f, 4), density = uniform(random, 0.6f, 1);
  const float threshold = 0.45f - mood.cloud_cover;
  const float softness = uniform(random, 0.15f, 0.6f);
  const Color sun = mood.night ? Color{0.8f, 0.82f, 0.85f} : mix(mood.sun, {1, 1, 0.95f}, 0.5f);
  const float span = std::max(horizon, 0.35f);
  canvas.visit(0, 0, 1, horizon + 0.05f, [&](int row, int column, float y, float x) {
    const float above = clamp01((horizon - y) / span);
    Color c = mix(mood.horizon, mood.zenith, std::pow(above, 0.65f));
    const float distance = std::hypot(x - mood.sun_at.x, y - mood.sun_at.y);
    c = mix(c, sun, glow * std::exp(-distance * distance * 14));
    const int star_x = static_cast<int>(x * 200), star_y = static_cast<int>(y * 200);
    if (mood.night && noise.cell(star_x, star_y) > 0.9965f)
      c = c + Color{0.45f, 0.45f, 0.45f} * noise.cell(star_y, star_x);
    if (disc) c = mix(c, sun, clamp01((disc_radius - distance) / canvas.pixel() + 0.5f));
    if (mood.cloud_cover > 0) {
      const float flat = scale * (1 + 1.2f * (1 - above) * (1 - above));
      const float u = x * flat / mood.cloud_stretch, v = y * flat * 1.4f;
      const float here = noise.fractal(u, v, 5);
      const float cover = smooth(threshold, threshold + softness, here) * density;
      if (cover > 0) {
        // Less cloud a step towards the light means that this side is lit.
        const float towards = noise.fractal(u + 0.22f * mood.light[0], v - 0.22f, 3);
        const float lit = clamp01(0.5f + 1.4f * (here - towards));
        c = mix(c, mix(mood.cloud_shade, mood.cloud_light, lit), cover);
      }
    }
    canvas.blend(row, column, c, 1, Layer::kBackdrop);
  });
}

void draw_hills(Canvas& canvas, const Mood& mood, float horizon, float height, int layers,
                Random& random) {
  for (int layer = 0; layer < layers; ++layer) {
    const Noise noise = make_noise(random);
    const float nearness = static_cast<float>(layer + 1) / static_cast<float>(layers);
    const float top = height * (1.1f - 0.75f * nearness), frequency = uniform(random, 1.2f, 3.5f);
    const float roughness = uniform(random, 0.25f, 0.55f);
    const Color near = mood.lit(foliage(mood, random) * 0.8f, 0.3f * mood.light[0], 0.8f, 0.4f);
    const float haze = mix(0.85f, 0.35f, nearness) * uniform(random, 0.75f, 1);
    const Color far = mix(near, mood.haze, haze);
    const int n = canvas.size();
    for (int column = 0; column < n; ++column) {
      const float x = canvas.unit(column);
      const float bump = noise.fractal(x * frequency, 0.3f, 6, roughness);
      const float skyline = horizon - top * (0.45f + 0.65f * bump);
      canvas.visit(x - canvas.pixel() / 4, skyline - canvas.pixel(), x + canvas.pixel() / 4,
                   horizon + 0.03f, [&](int row, int c, float y, float) {
                     const float cover = clamp01((y - skyline) / canvas.pixel() + 0.5f);
                     const float grain = noise.fractal(x * 22, y * 40, 2);
                     const float low = clamp01((y - skyline) / (top + 0.01f));
                     const Color shaded =
                         mix(far * (1 + 0.22f * grain * (1 - haze)), mood.haze, 0.45f * low * haze);
                     canvas.blend(row, c, shaded, cover, Layer::kBackdrop);
                   });
    }
  }
}

// ---- Ground and terrain -------------------------------------------------------------------------

Ground any_ground(const Mood& mood, Random& random) {
  if (mood.season == Season::kWinter && chance(random, 0.6f)) return Ground::kSnow;
  constexpr std::array kinds = {Ground::kGrass,  Ground::kGrass,  Ground::kSand,
                                Ground::kGravel, Ground::kPaving, Ground::kSnow};
  return kinds[random.below(kinds.size())];
}

GroundStyle make_ground(const Mood& mood, Ground kind, Random& random) {
  GroundStyle style{.kind = kind, .color = {}, .seed = random.next()};
  switch (kind) {
    case Ground::kGrass:
      style.color = foliage(mood, random) * 1.15f;
      break;
    case Ground::kSnow:
      style.color = any_color(random, {0.5f, 0.7f}, {0, 0.12f}, {0.8f, 0.95f});
      break;
    case Ground::kSand:
      style.color = any_color(random, {0.06f, 0.14f}, {0.12f, 0.4f}, {0.5f, 0.85f});
      break;
    default:
      style.color = any_color(random, {0, 1}, {0, 0.12f}, {0.28f, 0.6f});
  }
  return style;
}

Color ground_albedo(const GroundStyle& style, float x, float z, float footprint) {
  const Noise noise(style.seed);
  float shade = 1 + 0.22f * noise.fractal(x * 1.3f, z * 1.3f, 3) * visible(1.3f, footprint);
  const float fine = noise.at(x * 30, z * 14) * visible(14, footprint);
  Color albedo = style.color;
  switch (style.kind) {
    case Ground::kGrass:
      shade += 0.3f * fine + 0.25f * noise.at(x * 9, z * 6) * visible(6, footprint);
      albedo = mix(albedo, Color{0.5f, 0.42f, 0.25f}, clamp01(0.5f * noise.at(x * 2 + 9, z * 2)));
      break;
    case Ground::kSnow:
      shade += 0.1f * noise.fractal(x * 2.5f + 0.6f * z, z * 4, 2) * visible(4, footprint);
      break;
    case Ground::kSand:
      shade += 0.12f * noise.at(x * 4 + z * 3, z * 10) * visible(10, footprint) + 0.06f * fine;
      break;
    case Ground::kGravel:
      shade += (0.35f * noise.at(x * 24, z * 24) * visible(24, footprint)) +
               0.3f * noise.at(x * 10, z * 10) * visible(10, footprint);
      break;
    case Ground::kAsphalt:
      shade += 0.08f * fine;
      break;
    case Ground::kPaving: {
      const float u = x * 5, v = z * 5;
      const float joint = std::max(band(u - std::round(u), 0.05f, 5 * footprint),
                                   band(v - std::round(v), 0.05f, 5 * footprint));
      shade += 0.12f *
               (noise.cell(static_cast<int>(std::lround(u + 0.5f)),
                           static_cast<int>(std::lround(v + 0.5f))) -
                0.5f) *
               visible(5, footprint);
      shade *= 1 - 0.4f * joint * visible(2.5f, footprint);
      break;
    }
  }
  return albedo * shade;
}

Color ground_color(const GroundStyle& style, const Mood& mood, float x, float z, float footprint) {
  return mood.lit_flat(ground_albedo(style, x, z, footprint));
}

void draw_ground(Canvas& canvas, const Mood& mood, const Camera& camera, const GroundStyle& style,
                 float top) {
  canvas.visit(0, std::max(top, camera.horizon), 1, 1, [&](int row, int column, float y, float x) {
    const float z = camera.depth(y);
    const float footprint = z * z / camera.height * canvas.pixel();
    const Color c = ground_color(style, mood, (x - camera.centre) * z, z, footprint);
    canvas.blend(row, column, mood.far_away(c, z), 1, Layer::kBackdrop);
  });
}

void draw_terrain(Canvas& canvas, const Mood& mood, const Camera& camera, float near, float far,
                  const std::function<float(float x, float z)>& height,
                  const std::function<Surface(const Spot&)>& surface) {
  const int columns = canvas.size(), steps = std::clamp(canvas.size() * 3 / 4, 100, 400);
  const auto n = static_cast<float>(columns);
  std::vector<float> heights(static_cast<size_t>(steps) * columns), depths(steps);
  const auto at = [&](int step, int column) -> float& {
    return heights[static_cast<size_t>(step) * columns + column];
  };
  for (int step = 0; step < steps; ++step) {
    const float z = near * std::pow(far / near, static_cast<float>(step) / (steps - 1.0f));
    depths[step] = z;
    for (int column = 0; column < columns; ++column)
      at(step, column) = height((canvas.unit(column) - camera.centre) * z, z);
  }
  std::vector<float> top(steps);      // of each step, in rows
  std::vector<uint8_t> shown(steps);  // above everything nearer
  for (int column = 0; column < columns; ++column) {
    const float u = canvas.unit(column) - camera.centre;
    float skyline = n + 1;
    for (int step = 0; step < steps; ++step) {
      top[step] = (camera.horizon + (camera.height - at(step, column)) / depths[step]) * n;
      shown[step] = top[step] < skyline;
      skyline = std::min(skyline, top[step]);
    }
    const auto look = [&](int step, bool& object) {
      const float z = depths[step], spacing = z / n;
      const int left = std::max(column - 1, 0), right = std::min(column + 1, columns - 1);
      const int before = std::max(step - 1, 0), after = std::min(step + 1, steps - 1);
      const float slope_x =
          (at(step, right) - at(step, left)) / (static_cast<float>(right - left) * spacing);
      const float slope_z =
          (at(after, column) - at(before, column)) / (depths[after] - depths[before]) - slope_x * u;
      const float length = std::sqrt(1 + slope_x * slope_x + slope_z * slope_z);
      const Surface what = surface({u * z, at(step, column), z, 1 / length, -slope_x / length});
      object = what.object;
      const Color lit = mood.lit(what.albedo, -slope_x / length, 1 / length, slope_z / length);
      return mood.far_away(lit, z);
    };
    // From the far end on, each strip reaching a little under the next, so that no seam shows.
    for (int step = steps - 1; step >= 0; --step) {
      if (!shown[step]) continue;
      bool object = false, ignored = false;
      const Color here = look(step, object);
      const float low = step > 0 ? std::max(top[step - 1], top[step]) : n + 2;
      const Color below = step > 0 && low - top[step] > 1.5f ? look(step - 1, ignored) : here;
      const int first = std::max(static_cast<int>(std::floor(top[step])), 0);
      const int last = std::min(static_cast<int>(low + 1.5f), columns - 1);
      for (int row = first; row <= last; ++row) {
        const auto y = static_cast<float>(row);
        const float cover = clamp01(y + 1 - top[step]);
        const float along = clamp01((y + 0.5f - top[step]) / std::max(low - top[step], 1e-3f));
        canvas.blend(row, column, mix(here, below, along), cover,
                     object ? Layer::kObject : Layer::kBackdrop);
      }
    }
  }
}

// ---- Water --------------------------------------------------------------------------------------

void draw_mirror(Canvas& canvas, const Mood& mood, float top, float bottom, float calm,
                 Random& random) {
  const Noise noise = make_noise(random);
  const Color deep = any_color(random, {0.4f, 0.65f}, {0.3f, 0.7f}, {0.3f, 0.3f}) *
                     (mood.ambient + mood.sun * 0.3f);
  const float clear = uniform(random, 0.55f, 0.9f);
  canvas.visit(0, top, 1, bottom, [&](int row, int column, float y, float x) {
    const float near = (y - top) / 0.4f;
    const float ripple = noise.fractal(x * 6 / (near + 0.15f), 2.2f / (near + 0.06f), 3);
    const float shift = (1 - calm) * (0.02f + 0.1f * near) * ripple;
    const float mirrored = std::min(top - (y - top) * 1.05f + shift, top - canvas.pixel());
    Color c = canvas.sample(std::max(mirrored, 0.0f), x + 0.15f * shift);
    c = mix(deep, c, clear * mix(1.0f, 0.75f, clamp01(near)));
    canvas.blend(row, column, c * (1 + 0.25f * (1 - calm) * ripple), 1, Layer::kBackdrop);
  });
}

SeaStyle make_sea(Random& random) {
  return {.scale = uniform(random, 0.6f, 2.2f),
          .chop = uniform(random, 0.05f, 1),
          .deep = any_color(random, {0.42f, 0.66f}, {0.2f, 0.85f}, {0.2f, 0.6f})};
}

void draw_sea(Canvas& canvas, const Mood& mood, const Camera& camera, const SeaStyle& style,
              const std::function<float(float x)>& shore, Layer layer, Random& random) {
  const Noise noise = make_noise(random);
  const Color deep = style.deep * (mood.ambient + mood.sun * 0.45f);
  const Color foam = mood.lit_flat({0.95f, 0.95f, 0.95f});
  const float drift = uniform(random, -0.5f, 0.5f), glitter = uniform(random, 0, 1.2f);
  const float swell = uniform(random, 0.4f, 1);
  std::vector<float> edge(canvas.size());
  for (int i = 0; i < canvas.size(); ++i) edge[i] = shore(canvas.unit(i));
  canvas.visit(0, camera.horizon, 1, 1, [&](int row, int column, float y, float x) {
    const float cover = clamp01((edge[column] - y) / (2 * canvas.pixel()) + 0.5f);
    if (cover <= 0) return;
    const float z = camera.depth(y), across = (x - camera.centre) * z;
    const float footprint = z * z / camera.height * canvas.pixel();
    // The slope towards the viewer, gathered from waves of three lengths, the crests sharpened.
    float slope = 0, crest = 0;
    float frequency = 3.0f / style.scale, amplitude = swell;
    for (int i = 0; i < 3; ++i) {
      const float seen = amplitude * visible(frequency, footprint);
      if (seen > 0) {
        const float u = (across + drift * z) * frequency * 0.35f, v = z * frequency + 31.0f * i;
        const float here = 1 - 2 * std::abs(noise.at(u, v));
        const float behind = 1 - 2 * std::abs(noise.at(u, v + 0.12f));
        slope += seen * (here - behind) * 2.5f;
        crest += seen * here;
      }
      frequency *= 2.6f;
      amplitude *= 0.6f;
    }
    const float grazing = clamp01(1 - (y - camera.horizon) * 1.5f);
    const float fresnel = clamp01(0.12f + 0.75f * grazing * grazing * grazing - 0.45f * slope);
    const Color sky = mix(mood.horizon, mood.zenith, clamp01(0.35f + 0.6f * slope));
    Color c = mix(deep * (1 + 0.35f * slope), sky, fresnel);
    const float path = (x - mood.sun_at.x) / (0.06f + 0.25f * (y - camera.horizon));
    const float glint = glitter * std::exp(-path * path) * smooth(0.1f, 0.6f, -slope + 0.2f);
    c = mix(c, mix(mood.sun, {1, 1, 1}, 0.3f) * (mood.night ? 1.8f : 1.1f), clamp01(glint));
    const float white = smooth(1.45f - 0.6f * style.chop, 1.9f - 0.6f * style.chop,
                               crest + 0.5f * noise.at(across * 8, z * 12)) *
                        style.chop;
    c = mix(c, foam, white);
    c = mix(c, mood.haze, 0.6f * (1 - std::exp(-mood.haze_density * 0.5f * z)));
    // The last of the water runs up the shore in lines of foam, over ground that shows through.
    const float to_shore = (edge[column] - y) / (0.35f * (edge[column] - camera.horizon) + 0.03f);
    if (edge[column] < 0.99f && to_shore < 1) {
      const float lace = noise.fractal(x * 14, y * 30, 3);
      const float line = std::sin((to_shore + 0.12f * lace) * 14);
      c = mix(c, foam, smooth(0.35f, 0.95f, line + 0.4f * lace) * (1 - to_shore) * 0.9f);
      c = mix(c, foam, smooth(0.12f, 0.0f, to_shore + 0.05f * lace));
    }
    canvas.blend(row, column, c, cover, layer);
  });
}

// ---- Trees --------------------------------------------------------------------------------------

TreeStyle make_tree(const Mood& mood, Random& random) {
  TreeStyle style;
  style.conifer = chance(random, 0.45f);
  style.leaves = foliage(mood, random);
  style.bare = !style.conifer && mood.season == Season::kWinter && chance(random, 0.6f);
  if (style.conifer)
    style.leaves = mix(style.leaves, hsv(uniform(random, 0.25f, 0.5f), 0.35f, 0.3f), 0.6f);
  style.bark = any_color(random, {0.03f, 0.12f}, {0.1f, 0.5f}, {0.2f, 0.5f});
  style.snow = mood.season == Season::kWinter ? uniform(random, 0, 1) : 0;
  return style;
}

namespace {

void draw_conifer(Canvas& canvas, const Mood& mood, Point foot, float height,
                  const TreeStyle& style, Layer layer, Random& random) {
  const Noise noise = make_noise(random);
  const float width = height * uniform(random, 0.17f, 0.26f);
  const int tiers = height < 0.06f ? 4 : 8;
  std::vector<Point> left, outline;
  const float top = foot.y - height, lean = uniform(random, -0.03f, 0.03f) * height;
  outline.push_back({foot.x + lean, top});
  for (int i = 1; i <= tiers; ++i) {
    const float t = static_cast<float>(i) / static_cast<float>(tiers);
    const float y = top + 0.93f * height * t;
    for (const float side : {1.0f, -1.0f}) {
      auto& points = side > 0 ? outline : left;
      const float reach = width * t * uniform(random, 0.75f, 1.15f);
      points.push_back({foot.x + side * reach, y + 0.02f * height});
      points.push_back({foot.x + side * reach * 0.5f, y - 0.01f * height});
    }
  }
  outline.insert(outline.end(), left.rbegin(), left.rend());
  canvas.line({foot.x, foot.y}, {foot.x, foot.y - 0.15f * height}, 0.05f * height, 0.04f * height,
              layer, mix(mood.lit(style.bark, 0, 0.3f, 0.7f), mood.haze, style.haze));
  const float grain = 9 / height;
  canvas.polygon(outline, layer, [&](float x, float y) {
    const float side = std::clamp((x - foot.x) / width, -1.0f, 1.0f);
    const float clump = noise.fractal(x * grain, y * grain * 1.6f, 2);
    Color c =
        mood.lit(style.leaves, 0.8f * side, 0.45f + 0.5f * clump, 0.5f) * (0.8f + 0.45f * clump);
    c = mix(c, mood.lit_flat({0.9f, 0.92f, 0.96f}),
            style.snow * smooth(0.05f, 0.4f, clump + 0.25f * side * mood.light[0]));
    return mix(c, mood.haze, style.haze);
  });
}

void draw_branches(Canvas& canvas, Point from, float angle, float length, float width, int forks,
                   Layer layer, Color color, Random& random) {
  const Point to = {from.x + length * std::cos(angle), from.y - length * std::sin(angle)};
  canvas.line(from, to, width, width * 0.65f, layer, color);
  if (forks == 0) return;
  for (const float side : {-1.0f, 1.0f})
    draw_branches(canvas, to, angle + side * uniform(random, 0.2f, 0.65f),
                  length * uniform(random, 0.6f, 0.85f), width * 0.62f, forks - 1, layer, color,
                  random);
}

}  // namespace

void draw_tree(Canvas& canvas, const Mood& mood, Point foot, float height, const TreeStyle& style,
               Layer layer, Random& random) {
  if (style.conifer) return draw_conifer(canvas, mood, foot, height, style, layer, random);
  const Noise noise = make_noise(random);
  const Color bark =
      mix(mood.lit(style.bark, 0.3f * mood.light[0], 0.3f, 0.7f), mood.haze, style.haze);
  if (style.bare) {
    draw_branches(canvas, foot, kPi / 2 + uniform(random, -0.1f, 0.1f), height * 0.3f,
                  height * 0.06f, height < 0.1f ? 3 : 5, layer, bark, random);
    return;
  }
  const float wide = style.bush ? uniform(random, 0.6f, 0.9f) : uniform(random, 0.26f, 0.42f);
  const float tall = style.bush ? 0.5f : uniform(random, 0.3f, 0.4f);
  const float rx = height * wide, ry = height * tall;
  const Point middle = {foot.x + uniform(random, -0.04f, 0.04f) * height, foot.y - height + ry};
  if (!style.bush) canvas.line(foot, middle, 0.09f * height, 0.05f * height, layer, bark);
  const float lumps = 1.6f / rx, leaves = std::min(10 / rx, 0.3f / canvas.pixel());
  canvas.visit(
      middle.x - 1.4f * rx, middle.y - 1.4f * ry, middle.x + 1.4f * rx, middle.y + 1.4f * ry,
      [&](int row, int column, float y, float x) {
        const float dx = (x - middle.x) / rx, dy = (y - middle.y) / ry;
        const float radius = std::sqrt(dx * dx + dy * dy);
        const float lump = noise.fractal(x * lumps, y * lumps, 2);
        const float leaf = noise.fractal(x * leaves, y * leaves, 2);
        const float inside = 1 - radius + 0.35f * lump + 0.2f * leaf;
        const float cover = clamp01(inside * rx / canvas.pixel() * 0.7f + 0.5f);
        if (cover <= 0) return;
        const float up = std::clamp(-dy + 0.9f * lump, -1.0f, 1.0f);
        const float side = std::clamp(dx + 0.5f * lump, -1.0f, 1.0f);
        Color c = mood.lit(style.leaves, 0.7f * side, 0.7f * up, 0.35f) * (0.95f + 0.55f * leaf);
        c = mix(c, mood.lit_flat({0.9f, 0.92f, 0.96f}), style.snow * smooth(0.2f, 0.6f, up + leaf));
        canvas.blend(row, column, mix(c, mood.haze, style.haze), cover, layer);
      });
}

// ---- What people build --------------------------------------------------------------------------

Facade make_facade(const Mood& mood, Random& random) {
  Facade style;
  style.wall = chance(random, 0.5f) ? any_color(random, {0, 0.14f}, {0.05f, 0.6f}, {0.4f, 0.9f})
                                    : any_color(random, {0, 1}, {0, 0.25f}, {0.35f, 0.95f});
  style.trim =
      mix(style.wall,
          chance(random, 0.6f) ? Color{0.95f, 0.95f, 0.92f} : Color{0.15f, 0.15f, 0.16f}, 0.7f);
  style.glass = any_color(random, {0.5f, 0.65f}, {0.1f, 0.5f}, {0.15f, 0.4f});
  style.window_width = uniform(random, 0.35f, 0.65f);
  style.window_height = uniform(random, 0.45f, 0.7f);
  style.bands = chance(random, 0.22f);
  style.shop = chance(random, 0.4f);
  style.arched = !style.bands && chance(random, 0.15f);
  style.lit = mood.night ? uniform(random, 0.15f, 0.7f) : uniform(random, 0, 0.06f);
  style.seed = random.next();
  return style;
}

void draw_facade(Canvas& canvas, const Mood& mood, const Wall& wall, const Facade& style,
                 float brightness, float haze, Layer layer) {
  const Noise noise(style.seed);
  const float left = wall.foot0 - wall.top0, right = wall.foot1 - wall.top1;
  const Color light = (mood.ambient + mood.sun * brightness);
  const Color lamp = hsv(0.08f + 0.06f * noise.cell(3, 3), 0.4f, 1.0f);
  const float width = wall.x1 - wall.x0;
  const std::array<Point, 4> corners = {Point{wall.x0, wall.top0}, Point{wall.x1, wall.top1},
                                        Point{wall.x1, wall.foot1}, Point{wall.x0, wall.foot0}};
  canvas.polygon(corners, layer, [&](float x, float y) {
    const float t = clamp01((x - wall.x0) / width);
    const float tall = std::max(mix(left, right, t), 1e-4f);
    // Seen heights go as one over the distance, which sets where along the wall a column lies.
    const float along = t * right / tall;
    const float u = along * style.bays;
    const float v = (mix(wall.foot0, wall.foot1, t) - y) / tall * style.floors;  // floors up
    const float blur_v = canvas.pixel() * style.floors / tall;
    const float blur_u = canvas.pixel() * style.bays * left * right / (tall * tall) /
                         std::max(std::abs(width), 1e-4f);
    const int bay = static_cast<int>(std::floor(u)), floor = static_cast<int>(std::floor(v));
    const float du = u - static_cast<float>(bay) - 0.5f, dv = v - static_cast<float>(floor) - 0.5f;

    Color c = style.wall * (1 + 0.1f * noise.fractal(u * 3, v * 3, 2));
    c = mix(c, style.trim, 0.6f * band(dv + 0.5f, 0.04f, blur_v) * visible(0.5f, blur_v));
    c = c * mix(0.72f, 1.0f, smooth(0, 0.8f, v));  // dirt and shadow near the ground
    c = c * light;

    const bool shop = style.shop && floor == 0;
    float half_u = style.bands ? 0.46f : style.window_width / 2;
    float half_v = style.window_height / 2;
    if (shop) half_u = 0.42f, half_v = 0.36f;
    if (style.arched) half_v *= 1 - 0.25f * smooth(0.3f, 1, std::abs(du) / half_u) * (dv > 0);
    const bool door = floor == 0 && !shop && bay == static_cast<int>(style.bays) / 2;
    const float centre_v = door ? -0.15f : 0;
    if (door) half_v = 0.36f, half_u = std::min(half_u, 0.2f);
    const float frame = 0.05f;
    const float surround =
        band(du, half_u + frame, blur_u) * band(dv - centre_v, half_v + frame, blur_v);
    const float pane = band(du, half_u, blur_u) * band(dv - centre_v, half_v, blur_v);
    c = mix(c, style.trim * light, surround * 0.8f);

    const float chosen = noise.cell(bay, floor);
    Color glass = mix(style.glass * light, mix(mood.horizon, mood.zenith, chosen),
                      0.25f + 0.35f * noise.cell(bay + 77, floor));
    glass = glass * mix(0.65f, 1.15f, clamp01(0.5f - dv / (2 * half_v)));
    if (noise.cell(floor, bay + 200) > 0.75f && !shop)  // blinds
      glass = mix(glass, light * 0.75f, smooth(-0.1f, 0.05f, dv));
    if (chosen < style.lit || (shop && mood.night)) glass = mix(glass, lamp, 0.85f);
    if (door) glass = mix(style.trim, style.wall, 0.3f) * light * 0.55f;
    const float bar = std::max(band(du, 0.025f, blur_u), band(dv - 0.1f, 0.025f, blur_v));
    if (!style.bands && !door) glass = mix(glass, style.trim * light, bar * 0.7f);
    c = mix(c, glass, pane);
    return mix(c, mood.haze, haze);
  });
}

void draw_car(Canvas& canvas, const Mood& mood, const Camera& camera, float x, float z, float scale,
              bool towards, Layer layer, Random& random) {
  const Color paint =
      hsv(uniform(random, 0, 1), chance(random, 0.5f) ? 0.1f : 0.75f, uniform(random, 0.15f, 0.9f));
  const auto shade = [&](Color c, float up, float front) {
    return mood.far_away(mood.lit(c, 0, up, front), z);
  };
  const float w = 0.09f * scale, length = 0.42f * scale;
  const float body = 0.085f * scale, roof = 0.15f * scale, gap = 0.02f * scale;
  const auto at = [&](float dx, float dy, float dz) { return camera.project(x + dx, dy, z + dz); };
  const Color tyre = shade({0.07f, 0.07f, 0.08f}, 0.3f, 0.7f);
  const Point shadow = at(0, 0, length / 2);
  canvas.ellipse({shadow.x, at(0, 0, 0).y}, 1.25f * w / z, 0.02f * scale / z, layer,
                 {0.05f, 0.05f, 0.06f}, 0.7f);
  // The side that faces the middle of the picture, then the tail, then the cabin.
  const float side = x > 0 ? -w : w;
  canvas.polygon(
      {at(side, gap, 0), at(side, body, 0), at(side, body, length), at(side, gap, length)}, layer,
      shade(paint * 0.75f, 0.2f, 0.4f));
  canvas.polygon({at(side * 0.85f, body, length * 0.15f), at(side * 0.75f, roof, length * 0.3f),
                  at(side * 0.75f, roof, length * 0.75f), at(side * 0.85f, body, length * 0.95f)},
                 layer, shade({0.15f, 0.18f, 0.22f}, 0.3f, 0.5f));
  for (const float wheel : {-0.72f, 0.72f})
    canvas.polygon(
        {at(wheel * w - 0.2f * w, 0, 0), at(wheel * w + 0.2f * w, 0, 0),
         at(wheel * w + 0.2f * w, 0.04f * scale, 0), at(wheel * w - 0.2f * w, 0.04f * scale, 0)},
        layer, tyre);
  canvas.polygon({at(-w, gap, 0), at(w, gap, 0), at(w, body, 0), at(-w, body, 0)}, layer,
                 shade(paint, 0.2f, 0.8f));
  canvas.polygon({at(-w, body, 0), at(w, body, 0), at(0.78f * w, roof, length * 0.3f),
                  at(-0.78f * w, roof, length * 0.3f)},
                 layer, shade(paint, 0.7f, 0.5f));
  canvas.polygon(
      {at(-0.82f * w, body * 1.08f, length * 0.03f), at(0.82f * w, body * 1.08f, length * 0.03f),
       at(0.68f * w, roof * 0.96f, length * 0.27f), at(-0.68f * w, roof * 0.96f, length * 0.27f)},
      layer, shade(mix({0.12f, 0.14f, 0.18f}, mood.zenith, 0.3f), 0.6f, 0.6f));
  canvas.polygon({at(-0.78f * w, roof, length * 0.3f), at(0.78f * w, roof, length * 0.3f),
                  at(0.78f * w, roof, length * 0.75f), at(-0.78f * w, roof, length * 0.75f)},
                 layer, shade(paint * 1.1f, 1, 0));
  const Color light = towards ? Color{1, 0.97f, 0.85f} : Color{0.85f, 0.1f, 0.08f};
  const float glow = mood.night ? 1.0f : 0.75f;
  for (const float lamp : {-0.75f, 0.75f}) {
    const Point p = at(lamp * w, body * 0.78f, 0);
    const float r = 0.018f * scale / z;
    canvas.ellipse(p, r * 1.3f, r, layer, light * glow);
    if (mood.night) canvas.ellipse(p, r * 3.5f, r * 3, layer, light, 0.3f);
  }
  canvas.polygon({at(-0.25f * w, gap * 1.5f, 0), at(0.25f * w, gap * 1.5f, 0),
                  at(0.25f * w, gap * 2.4f, 0), at(-0.25f * w, gap * 2.4f, 0)},
                 layer, shade({0.85f, 0.85f, 0.8f}, 0.2f, 0.8f));
}

void draw_person(Canvas& canvas, const Mood& mood, Point foot, float height, Layer layer,
                 Random& random) {
  const auto cloth = [&] {
    return mood.lit(any_color(random, {0, 1}, {0.1f, 0.8f}, {0.1f, 0.8f}), 0, 0.4f, 0.7f);
  };
  const Color trousers = cloth(), coat = cloth();
  const float h = height, step = uniform(random, 0.02f, 0.12f) * h;
  for (const float leg : {-step, step})
    canvas.line({foot.x + leg, foot.y}, {foot.x, foot.y - 0.5f * h}, 0.09f * h, 0.12f * h, layer,
                trousers);
  canvas.ellipse({foot.x, foot.y - 0.65f * h}, 0.12f * h, 0.21f * h, layer, coat);
  canvas.ellipse({foot.x, foot.y - 0.92f * h}, 0.065f * h, 0.08f * h, layer,
                 mood.lit(hsv(0.07f, 0.4f, uniform(random, 0.35f, 0.85f)), 0, 0.5f, 0.7f));
}

void draw_lamp(Canvas& canvas, const Mood& mood, Point foot, float height, float side,
               Layer layer) {
  const Color metal = mood.lit({0.25f, 0.27f, 0.28f}, 0, 0.3f, 0.6f);
  const Point top = {foot.x, foot.y - height};
  const Point head = {foot.x + side * 0.18f * height, top.y - 0.02f * height};
  canvas.line(foot, top, 0.03f * height, 0.02f * height, layer, metal);
  canvas.line(top, head, 0.02f * height, 0.015f * height, layer, metal);
  canvas.ellipse(head, 0.05f * height, 0.015f * height, layer,
                 mood.night ? Color{1, 0.93f, 0.7f} : metal * 1.5f);
  if (mood.night)
    for (const float r : {0.1f, 0.2f})
      canvas.visit(head.x - r * height, head.y - r * height, head.x + r * height,
                   head.y + r * height, [&](int row, int column, float y, float x) {
                     const float d = std::hypot(x - head.x, y - head.y) / (r * height);
                     if (d < 1) canvas.veil(row, column, {1, 0.85f, 0.55f}, 0.25f * (1 - d));
                   });
}

}  // namespace glassnet::drawing
