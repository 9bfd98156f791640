"""Spiking networks, each a map from images to logits."""

from robustsnn.models.classifier import Classifier as Classifier
from robustsnn.models.encoded import Encoded as Encoded
from robustsnn.models.vgg import Plan as Plan
from robustsnn.models.vgg import vgg as vgg
from robustsnn.models.wide_resnet import WideBlock as WideBlock
from robustsnn.models.wide_resnet import wide_resnet as wide_resnet
from robustsnn.models.wide_resnet import wide_resnet16 as wide_resnet16
