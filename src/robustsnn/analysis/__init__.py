"""Looking into a network: where its gradient becomes sparse on the way from the loss to the pixels."""

from robustsnn.analysis.density import DensityBound as DensityBound
from robustsnn.analysis.density import density_bound as density_bound
from robustsnn.analysis.difference import FiniteDifference as FiniteDifference
from robustsnn.analysis.difference import finite_difference as finite_difference
from robustsnn.analysis.energy import Energy as Energy
from robustsnn.analysis.energy import energy as energy
from robustsnn.analysis.gradients import Gradients as Gradients
from robustsnn.analysis.gradients import gradients as gradients
from robustsnn.analysis.levels import Level as Level
from robustsnn.analysis.levels import Vulnerability as Vulnerability
from robustsnn.analysis.sharing import Sharing as Sharing
from robustsnn.analysis.sharing import sharing as sharing
from robustsnn.analysis.signal import signal_to_noise as signal_to_noise
from robustsnn.analysis.signal_values import SignalToNoise as SignalToNoise
from robustsnn.analysis.tally import Tally as Tally
from robustsnn.analysis.timesteps import running_for as running_for
from robustsnn.analysis.trail import trail as trail
from robustsnn.analysis.two_layer import sparse_weight as sparse_weight
from robustsnn.analysis.two_layer import two_layer as two_layer
from robustsnn.analysis.values import Operation as Operation
from robustsnn.analysis.values import Trail as Trail
from robustsnn.analysis.values import merge as merge
from robustsnn.analysis.vulnerability import vulnerability as vulnerability
from robustsnn.analysis.weights import Weight as Weight
