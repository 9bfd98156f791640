"""Encoders: images `[B, C, H, W]` with pixels in [0, 1] in, input currents `[T or 1, B, C, H, W]` out.

None has state or looks at other samples of a batch. Those without a gradient name the one they are given.
"""

from robustsnn.encoders.bpda import BPDA as BPDA
from robustsnn.encoders.direct import Direct as Direct
from robustsnn.encoders.direct import Frames as Frames
from robustsnn.encoders.discretise import Discretise as Discretise
from robustsnn.encoders.frequency import Frequency as Frequency
from robustsnn.encoders.latency import Latency as Latency
from robustsnn.encoders.phase import Phase as Phase
from robustsnn.encoders.rate import Poisson as Poisson
from robustsnn.encoders.rate import Rate as Rate
from robustsnn.encoders.smoothed import Rounding as Rounding
from robustsnn.encoders.smoothed import Smoothed as Smoothed
from robustsnn.encoders.smoothed import rounds as rounds
from robustsnn.encoders.smoothed import smoothing as smoothing
