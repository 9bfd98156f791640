"""What theorem 4.4 and its proof take for granted, and whether a network has it."""

from __future__ import annotations

from torch import Tensor, nn

from robustsnn.ground.widest import wide
from robustsnn.neurons import STBP, Arctan, GradientRule, neuron_layers
from robustsnn.studies.shared.fanout import Weighted
from robustsnn.studies.theory.record import Assumption


def of_network(
    model: nn.Module, first: Weighted, rule: GradientRule | None, spikes: bool, two: tuple[Tensor, Tensor] | None
) -> list[Assumption]:
    """The theorem's conditions on network and input; `spikes` says whether the input is."""
    layers = neuron_layers(model)
    integrate = [n.neuron.tau == 1 and n.neuron.reset == "hard" for n in layers]
    rules = [n.rule if rule is None else rule for n in layers]
    arctan = [isinstance(r, STBP) and r.surrogate == Arctan() for r in rules]
    square = two is not None and all(weight.shape[0] == weight.shape[1] for weight in two)
    return [
        Assumption("the input of the first weight layer is spikes, 0 or one other value", spikes),
        Assumption("two linear layers", two is not None),
        Assumption("neurons integrate and fire with hard reset", bool(layers) and all(integrate)),
        Assumption("neurons are differentiated by arctan's slope", bool(layers) and all(arctan)),
        Assumption("weights are square matrices", square),
        Assumption("the first weight has a non-zero entry", bool((first.weight != 0).any())),
    ]


def of_weights(w1: Tensor, w2: Tensor) -> list[Assumption]:
    """The two bounds on probabilities in the proof (equations 15 and 16), over all entries of W2 `[K, n]`, W1 `[n, d]`.

    k_W2 is taken over rows and k_W1 over columns; with the paper's d for n both are k_W2 k_W1 / n^2.
    """
    a, b = wide(w2 != 0), wide(w1 != 0)
    inner = w1.shape[0]
    claimed = float(a.sum(1).max() * b.sum(0).max()) / inner**2
    pair = float((a.sum(0) * b.sum(1)).sum()) / (a.shape[0] * inner * b.shape[1])
    entry = float(wide((wide(w2) @ wide(w1)) != 0).mean())
    apart, spread = float(a.mean() * b.mean()), _spread(a.sum(0), b.sum(1)) / (a.shape[0] * inner * b.shape[1])
    element, sums = "Pr(W2_in W1_nj is not 0)", "Pr((W2 W1)_ij is not 0)"
    bound, chance = "is at most k_W2 k_W1 / d^2", "is the product of both densities, up to 1.96 standard errors"
    return [
        Assumption(f"{element} {bound} (equation 15)", pair <= claimed, pair, claimed),
        Assumption(f"{sums} {bound} (equation 16)", entry <= claimed, entry, claimed),
        Assumption(f"{element} {chance} (independence)", abs(pair - apart) <= 1.96 * spread + 1e-12, pair, apart),
    ]


def _spread(a: Tensor, b: Tensor) -> float:
    """Standard deviation of sum_n a_n b_p(n) over permutations p: of counts that do not know of each other."""
    if len(a) < 2:
        return 0.0
    products = (a - a.mean()).square().sum() * (b - b.mean()).square().sum()
    return float((products / (len(a) - 1)).sqrt())
