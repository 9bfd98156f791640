"""A network."""

from torch import nn

from robustsnn.models.classifier import Classifier, classifier
from robustsnn.models.time import Fold
from robustsnn.neurons import Neurons


def twig(*, image, classes, neuron, steps, rule, encoder, mean, std, channels: int = 4) -> Classifier:
    """One convolution, neurons, one linear layer."""
    body = nn.Sequential(
        Fold(nn.Conv2d(image[-3], channels, 3, padding=1)),
        Neurons(neuron, steps, rule),
        Fold(nn.AvgPool2d(2)),
        nn.Flatten(2),
        nn.Linear(channels * (image[-2] // 2) * (image[-1] // 2), classes),
    )
    return classifier(body, encoder, image, mean, std)
