"""Spiking networks, each a map from images to logits."""

from robustsnn.models.classifier import Classifier as Classifier
from robustsnn.models.encoded import Encoded as Encoded
from robustsnn.models.mixing import Mix as Mix
from robustsnn.models.pooling import HybridPool as HybridPool
from robustsnn.models.pooling import pool as pool
from robustsnn.models.resnet import Connect as Connect
from robustsnn.models.resnet import Residual as Residual
from robustsnn.models.resnet_sew import sew_resnet as sew_resnet
from robustsnn.models.resnet_sew import sew_resnet18 as sew_resnet18
from robustsnn.models.resnet_sew import sew_resnet34 as sew_resnet34
from robustsnn.models.resnet_sew import sew_resnet50 as sew_resnet50
from robustsnn.models.resnet_spiking import spiking_resnet as spiking_resnet
from robustsnn.models.resnet_spiking import spiking_resnet18 as spiking_resnet18
from robustsnn.models.resnet_spiking import spiking_resnet34 as spiking_resnet34
from robustsnn.models.resnet_spiking import spiking_resnet50 as spiking_resnet50
from robustsnn.models.resnet_wide import WideBlock as WideBlock
from robustsnn.models.resnet_wide import wide_resnet as wide_resnet
from robustsnn.models.resnet_wide import wide_resnet16 as wide_resnet16
from robustsnn.models.twin import relu_twin as relu_twin
from robustsnn.models.vggs import Plan as Plan
from robustsnn.models.vggs import vgg as vgg
