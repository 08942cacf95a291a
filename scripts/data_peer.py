#!/usr/bin/env python3
"""The peer of bench/data_bench.cpp: torchvision's ImageFolder and PyTorch's DataLoader, whose workers
are processes that stay from pass to pass.

    scripts/data_peer.py FOLDER augmented|resized SIZE BATCH WORKERS

Answers as that program does.
"""
import resource
import sys
import time

import numpy
import torch
from torchvision import datasets, transforms

folder, what, size, batch, workers = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
FIT = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
NORMALIZE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STEPS = {"augmented": [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(),
                       transforms.ToTensor(), NORMALIZE],
         "resized": [*FIT, NORMALIZE]}


def loader_of(steps, shuffle, keep):
    images = datasets.ImageFolder(folder, transforms.Compose(steps))
    return torch.utils.data.DataLoader(images, batch, shuffle, num_workers=workers,
                                       persistent_workers=keep)


loader = loader_of(STEPS[what], what == "augmented", True)


def step():
    begin = time.perf_counter()
    for _ in loader:
        pass
    return 1000 * (time.perf_counter() - begin)


def mean_colors():
    return numpy.concatenate([255 * images.double().mean((2, 3)).numpy()
                              for images, _ in loader_of(FIT, False, False)])


def answer(words):
    if words[0] == "step":
        return step()
    if words[0] == "result":
        numpy.save(words[1], mean_colors())
        return 0
    if words[0] == "images":
        return len(loader.dataset)
    if words[0] == "memory":
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024
    return sys.exit(f"'{words[0]}' is no question")


print(step(), flush=True)
for line in sys.stdin:
    print(answer(line.split()), flush=True)
