"""Networks as NIR graphs (neuroir.org, Pedersen et al. 2024): read into ours, written from ours.

NIR gives neurons as differential equations; a step of dt makes of them, by the explicit Euler rule,

    IF          v[t] = v[t-1] + r dt I[t]                                           tau = 1
    LIF         v[t] = (1 - dt/tau_m) v[t-1] + (r dt/tau_m) I[t]                    tau = 1 - dt/tau_m
    CubaLIF     i[t] = (1 - dt/tau_s) i[t-1] + (w dt/tau_s) I[t], then LIF of i[t]

with tau the factor of `neurons.LIF`. So do snnTorch and SpikingJelly, whose dt is 1e-4. The gain of the current, r dt
or r dt/tau_m, is 1 or (for `decay_input`) 1 - tau; any other g is taken into the threshold, theta = v_threshold / g,
which leaves the spikes as they are but for rounding. A potential equal to the threshold fires here and in SpikingJelly,
and does not in NIR's equations and snnTorch. All reset to zero; v_leak and v_reset are 0.

Graphs are chains of Linear, Affine, Conv2d, SumPool2d, AvgPool2d, Flatten, IF, LIF and CubaLIF, whose neurons have
one value of each parameter per layer; anything else is refused by name. Files are HDF5: numbers and names, read by
h5py, and nothing in them is run.
"""

from robustsnn.interop.nir.reading import read_nir as read_nir
from robustsnn.interop.nir.writing import write_nir as write_nir
