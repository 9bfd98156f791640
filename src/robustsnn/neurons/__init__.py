"""Spiking neurons: dynamics, surrogates, gradient rules, and the layer that joins them."""

from robustsnn.neurons.adaptive import ASSG as ASSG
from robustsnn.neurons.adaptive import PDSG as PDSG
from robustsnn.neurons.flow import ResetFlow as ResetFlow
from robustsnn.neurons.fused import compilation as compilation
from robustsnn.neurons.fused import fire as fire
from robustsnn.neurons.integrate import IF as IF
from robustsnn.neurons.integrate import LIF as LIF
from robustsnn.neurons.layer import Memory as Memory
from robustsnn.neurons.layer import Neurons as Neurons
from robustsnn.neurons.layer import gradient_rule as gradient_rule
from robustsnn.neurons.layer import neuron_layers as neuron_layers
from robustsnn.neurons.record import Record as Record
from robustsnn.neurons.record import recording as recording
from robustsnn.neurons.rules import BPTR as BPTR
from robustsnn.neurons.rules import HART as HART
from robustsnn.neurons.rules import RGA as RGA
from robustsnn.neurons.rules import STBP as STBP
from robustsnn.neurons.rules import GradientRule as GradientRule
from robustsnn.neurons.surrogate import Arctan as Arctan
from robustsnn.neurons.surrogate import Exponential as Exponential
from robustsnn.neurons.surrogate import Gaussian as Gaussian
from robustsnn.neurons.surrogate import Identity as Identity
from robustsnn.neurons.surrogate import Rectangle as Rectangle
from robustsnn.neurons.surrogate import Sigmoid as Sigmoid
from robustsnn.neurons.surrogate import Surrogate as Surrogate
from robustsnn.neurons.surrogate import Triangle as Triangle
