// What takes time in superpixels: colours, smoothing, quickshift's density and links, SLIC's
// assignment and centres. xai/superpixels.h makes segments of them.
//
// The numbers are scikit-image's, in float64 on every device: segments are compared with its
// segments pixel by pixel, and where two candidates are close, the last bits decide. Sums are
// therefore made in the order in which scikit-image makes them, row by row and from left to right,
// which also makes every device and every number of threads give the same labels. Where it calls a
// library for a power, a root or an exponential, the last bit may differ.
//
// Colours are planes (3, h, w). Outputs are overwritten and may alias no input.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace glassnet::kernels {

// CIE L*a*b* (D65, 2 degrees) of sRGB colours. rgb (pixels, 3), lab (3, pixels). `levels` (256)
// says what each byte stands for, from 0 to 1.
//
//   linear = ((level + 0.055) / 1.055)^2.4, or level / 12.92 up to 0.04045
//   xyz = matrix * linear / white
//   f = cube root of xyz, or 7.787 xyz + 16 / 116 up to 0.008856
//   L = 116 f_y - 16,   a = 500 (f_x - f_y),   b = 200 (f_y - f_z)
void rgb_to_lab(Cpu, const double* levels, const uint8_t* rgb, double* lab, int64_t pixels);

// Gaussian smoothing of planes, first down the columns, then along the rows:
//
//   y[i] = sum over |k| <= r of weight[k] * x[i + k],   weight[k] ~ exp(-k² / (2 sigma²)), sum 1,
//
// with r = floor(4 sigma + 0.5); beyond its ends an image goes on as its mirror image (d c b a |
// a b c d | d c b a). x, y (planes, h, w), sigma > 0.
struct PlanesShape {
  int64_t planes, h, w;
};
void gaussian_smooth(Cpu, const double* x, double* y, double sigma, const PlanesShape& shape);

// Quickshift (Vedaldi and Soatto, ECCV 2008). The distance between two pixels is that of colour and
// place together:
//
//   D²(p, q) = |color_p - color_q|² + |place_p - place_q|²
//
// and the window of a pixel reaches ceil(3 kernel_size) pixels to each side, within the image.
struct QuickshiftShape {
  int64_t h, w;
  double kernel_size;  // > 0
};

// density (h, w) += sum over the window of exp(-D² / (2 kernel_size²)). What it holds before is
// noise that decides between pixels which would be equally dense.
void quickshift_density(Cpu, const double* colors, double* density, const QuickshiftShape& shape);
void quickshift_density(Cuda, const double* colors, double* density, const QuickshiftShape& shape);

// parent (h, w): the nearest (the first of them) of the window's pixels that are denser, as
// row * w + column; the pixel itself where none is, or where that one is farther than max_dist.
void quickshift_parents(Cpu, const double* colors, const double* density, double max_dist,
                        int64_t* parent, const QuickshiftShape& shape);
void quickshift_parents(Cuda, const double* colors, const double* density, double max_dist,
                        int64_t* parent, const QuickshiftShape& shape);

// SLIC (Achanta et al., TPAMI 2012): k-means of colour and place, in which a centre only reaches
// 2 steps of the grid that the centres come from.
struct SlicCenter {
  double y, x;
  double color[3];
};
struct SlicShape {
  int64_t h, w, centers;
  int64_t step_y, step_x;
  double spacing;  // S: the longer step of the first grid
};

// labels (h, w): the nearest (the first of them) of the centres within whose window the pixel lies,
//
//   D² = |place - center place|² / S² + |color - center color|²,
//
// and what it was before where there is none. centers (centers).
void slic_assign(Cpu, const double* colors, const SlicCenter* centers, int64_t* labels,
                 const SlicShape& shape);
void slic_assign(Cuda, const double* colors, const SlicCenter* centers, int64_t* labels,
                 const SlicShape& shape);

// centers: the mean place and colour of the pixels that have its label. NaN where there are none:
// then nothing is near it any more.
void slic_update(Cpu, const double* colors, const int64_t* labels, SlicCenter* centers,
                 const SlicShape& shape);
void slic_update(Cuda, const double* colors, const int64_t* labels, SlicCenter* centers,
                 const SlicShape& shape);

}  // namespace glassnet::kernels
