// What landscapes are made of: weather, sky, hills, terrain, ground, water, trees, houses, cars.
// Each draws itself on a Canvas in the light of a Mood; scenes.cpp composes them.
#pragma once

#include <functional>

#include "data/canvas.h"
#include "tensor/random.h"

namespace glassnet::drawing {

float uniform(Random& random, float low, float high);
struct Range {
  float low, high;
};
// Drawn in the order of the arguments, which a call of hsv() with three draws would not promise.
Color any_color(Random& random, Range hue, Range saturation, Range value);
bool chance(Random& random, float probability);
Noise make_noise(Random& random);
// How much of a detail of this frequency is left when a pixel covers `footprint` of the world.
float visible(float frequency, float footprint);

enum class Season { kSummer, kAutumn, kWinter, kDry };

// The hour, the weather and the season, drawn in the same way for every kind of landscape, so that
// none of them can be told by its light.
struct Mood {
  Season season = Season::kSummer;
  bool night = false;
  Color zenith, horizon;  // of the sky
  Color sun, ambient;     // light on a surface that faces the sun, and on every surface
  Color cloud_light, cloud_shade;
  Color haze;
  float haze_density = 0;      // per unit of distance
  float cloud_cover = 0;       // [0, 1]
  float cloud_stretch = 1;     // 1: heaps, larger: bands
  Point sun_at;                // on the picture
  float light[3] = {0, 1, 0};  // to the sun: right, up, to the viewer; of length 1

  Color lit(Color albedo, float right, float up, float front) const {
    const float cosine = right * light[0] + up * light[1] + front * light[2];
    return albedo * (ambient + sun * std::max(0.0f, cosine));
  }
  Color lit_flat(Color albedo) const { return lit(albedo, 0, 1, 0); }
  Color far_away(Color near, float distance) const {
    return mix(near, haze, 1 - std::exp(-haze_density * distance));
  }
};
Mood draw_mood(Random& random);

Color foliage(const Mood& mood, Random& random);

// A viewer `height` above the plane Y = 0, looking level. World: X right, Y up, Z away.
struct Camera {
  float horizon = 0.5f, height = 0.3f, centre = 0.5f;
  Point project(float x, float y, float z) const {
    return {centre + x / z, horizon + (height - y) / z};
  }
  // Distance of the plane's point seen at y below the horizon.
  float depth(float y) const { return height / std::max(y - horizon, 1e-4f); }
};

void draw_sky(Canvas& canvas, const Mood& mood, float horizon, Random& random);
// Bare or wooded skylines one before the other, up to `height` over the horizon.
void draw_hills(Canvas& canvas, const Mood& mood, float horizon, float height, int layers,
                Random& random);

enum class Ground { kGrass, kSnow, kSand, kGravel, kAsphalt, kPaving };
Ground any_ground(const Mood& mood, Random& random);
struct GroundStyle {
  Ground kind = Ground::kGrass;
  Color color;
  uint32_t seed = 0;
};
GroundStyle make_ground(const Mood& mood, Ground kind, Random& random);
// At a point of the plane, of which a pixel covers `footprint`: without light, and lit.
Color ground_albedo(const GroundStyle& style, float x, float z, float footprint);
Color ground_color(const GroundStyle& style, const Mood& mood, float x, float z, float footprint);
// From the row `top` (at or under the camera's horizon) to the bottom.
void draw_ground(Canvas& canvas, const Mood& mood, const Camera& camera, const GroundStyle& style,
                 float top);

// What stands at a point of a terrain.
struct Surface {
  Color albedo;
  bool object = false;
};
struct Spot {
  float x, y, z;   // in the world
  float up, side;  // of the normal, which has length 1
};
// A height field from `near` to `far`, nearest the viewer last.
void draw_terrain(Canvas& canvas, const Mood& mood, const Camera& camera, float near, float far,
                  const std::function<float(float x, float z)>& height,
                  const std::function<Surface(const Spot&)>& surface);

// Still water under the row `top`: what is drawn above, upside down, rippled and darkened.
void draw_mirror(Canvas& canvas, const Mood& mood, float top, float bottom, float calm,
                 Random& random);

struct SeaStyle {
  float scale = 1;    // length of the waves
  float chop = 0.5f;  // [0, 1]: from smooth to foaming
  Color deep;
};
SeaStyle make_sea(Random& random);
// Waves from the horizon down to the curve `shore(x)`, with its foam.
void draw_sea(Canvas& canvas, const Mood& mood, const Camera& camera, const SeaStyle& style,
              const std::function<float(float x)>& shore, Layer layer, Random& random);

// A tree whose foot is at `foot`, `height` tall; `haze` in [0, 1] fades it into the distance.
struct TreeStyle {
  bool conifer = false;
  bool bare = false;
  bool bush = false;  // leaves down to the ground
  Color leaves, bark;
  float haze = 0;
  float snow = 0;
};
TreeStyle make_tree(const Mood& mood, Random& random);
void draw_tree(Canvas& canvas, const Mood& mood, Point foot, float height, const TreeStyle& style,
               Layer layer, Random& random);

struct Facade {
  Color wall, trim, glass;
  float floors = 4, bays = 5;
  float window_width = 0.5f, window_height = 0.55f;  // shares of a bay and of a floor
  float lit = 0;                                     // share of the windows with a lamp on
  bool bands = false;                                // windows run through, as in offices
  bool shop = false;                                 // a ground floor of shop windows
  bool arched = false;
  uint32_t seed = 0;
};
Facade make_facade(const Mood& mood, Random& random);
// An upright wall seen in perspective, from its left edge (x0; y from top0 to foot0) to its right.
struct Wall {
  float x0, top0, foot0, x1, top1, foot1;
};
void draw_facade(Canvas& canvas, const Mood& mood, const Wall& wall, const Facade& style,
                 float brightness, float haze, Layer layer);

// On the ground at (x, z), seen from behind or from the front.
void draw_car(Canvas& canvas, const Mood& mood, const Camera& camera, float x, float z, float scale,
              bool towards, Layer layer, Random& random);
void draw_person(Canvas& canvas, const Mood& mood, Point foot, float height, Layer layer,
                 Random& random);
void draw_lamp(Canvas& canvas, const Mood& mood, Point foot, float height, float side, Layer layer);

}  // namespace glassnet::drawing
