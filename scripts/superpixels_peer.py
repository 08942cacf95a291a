#!/usr/bin/env python3
"""The superpixels of scripts/bench's peer: scikit-image's quickshift of the scene that LIME explains.

    scripts/superpixels_peer.py FOLDER      (sources.npy of bench/models_bench.cpp)

Prints a line when it is ready, and answers "step" by the milliseconds of one more segmentation.
"""
import pathlib
import sys
import time

import numpy
from skimage.segmentation import quickshift

normalised = numpy.load(pathlib.Path(sys.argv[1], "sources.npy"))[0]
picture = numpy.clip(normalised * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406), 0, 1)


def step():
    begin = time.perf_counter()
    quickshift(picture, ratio=0.2, kernel_size=4, max_dist=200)
    return 1000 * (time.perf_counter() - begin)


print(step(), flush=True)
for line in sys.stdin:
    print(step(), flush=True)
