"""Looking into a network: where its gradient becomes sparse on the way from the loss to the pixels."""

from robustsnn.analysis.tally import Tally as Tally
from robustsnn.analysis.trail import trail as trail
from robustsnn.analysis.values import Operation as Operation
from robustsnn.analysis.values import Trail as Trail
from robustsnn.analysis.values import merge as merge
from robustsnn.analysis.weights import Weight as Weight
