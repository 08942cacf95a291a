// The figure of confusion evolution: what every test image was predicted as after every epoch, for
// a page of a paper.
//
// Below curves of accuracy, prediction flux and test loss lies a picture with a row an image and a
// column an epoch, coloured by the predicted class; rows are grouped by true class and, in a group,
// go from seldom to often misclassified, then by their predictions. Right of it bars tell each
// row's frequency, variability and misclassification rate (training/evolution.h), below lie the
// confusion matrix of the window's last epoch (of up to 12 classes) and the legend.
#pragma once

#include <string>

#include "data/image.h"
#include "training/evolution.h"
#include "training/history.h"

namespace glassnet {

struct EvolutionFigureOptions {
  std::string title = "Confusion evolution";  // left out when empty
  int scale = 1;  // of the picture: 2 has twice as many pixels each way, for print
};

// 1000 pixels wide and less than 1400 high, times `scale`, whatever the log. Where there are more
// images or epochs than pixels, a pixel has the class most frequent in it, the lowest of equals,
// and bars are means. `evolution` is the history's.
Image evolution_figure(const History& history, const Evolution& evolution,
                       const EvolutionFigureOptions& options = {});
// The same as an SVG document (report/svg_canvas.h); the heatmap lies in it as a picture.
std::string evolution_figure_svg(const History& history, const Evolution& evolution,
                                 const EvolutionFigureOptions& options = {});

}  // namespace glassnet
