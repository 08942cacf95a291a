"""The networks of models/resnet.h in PyTorch: torchvision's, and the ResNets for CIFAR, which it
lacks, after He et al., "Deep residual learning for image recognition", section 4.2.
"""
import torchvision
from torch import nn
from torch.nn import functional

CIFAR = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}
NAMES = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
         "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", *CIFAR]


class CifarBlock(nn.Module):
    def __init__(self, entering, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(entering, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stride, self.zeros = stride, channels - entering

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        before = self.zeros // 2
        shortcut = functional.pad(x[:, :, ::self.stride, ::self.stride],
                                  (0, 0, 0, 0, before, self.zeros - before))
        return self.relu(y + shortcut)


class CifarResNet(nn.Module):
    """Option A of the paper: shortcuts without parameters. `blocks` a stage, of three stages."""

    def __init__(self, blocks, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        entering = 16
        for stage, count in enumerate(blocks):
            channels, layers = 16 << stage, []
            for block in range(count):
                layers.append(CifarBlock(entering, channels, 2 if stage > 0 and block == 0 else 1))
                entering = channels
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.stages = len(blocks)
        self.fc = nn.Linear(entering, classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


def make(name, classes=None):
    if name in CIFAR:
        return CifarResNet([CIFAR[name]] * 3, classes or 10)
    return getattr(torchvision.models, name)(num_classes=classes or 1000)
