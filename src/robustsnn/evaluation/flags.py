"""Flags: what a check of an evaluation can raise, why it matters and what to do. Words only, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """A check by name.

    Args:
        masking: whether it is a sign that the robustness reported may be an artefact of the attack; the
            others are notes on the evaluation itself.
        raised_if: the exact condition.
        why: what it means.
        todo: what to do about it.
    """

    name: str
    masking: bool
    raised_if: str
    why: str
    todo: str


@dataclass(frozen=True)
class Check:
    """One check that was made: what was found, and whether it raised its flag.

    `raised` and `value` may be given as numbers of numpy or tensors of one element. They are kept as Python's own,
    since all attacks have run before they are written as JSON. A value that is not finite is not kept.
    """

    flag: Flag
    raised: bool
    message: str
    value: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "raised", bool(self.raised))
        if self.value is not None:
            value = float(self.value)
            object.__setattr__(self, "value", value if math.isfinite(value) else None)

    def report(self) -> dict[str, Any]:
        """As in `checks` of results.json."""
        flag = self.flag
        return {
            "name": flag.name,
            "masking": flag.masking,
            "raised": self.raised,
            "value": self.value,
            "message": self.message,
            "raised_if": flag.raised_if,
            "why": flag.why,
            "todo": flag.todo,
        }


_ALL = (
    Flag(
        "zero-gradient",
        True,
        "more than 5 % of the probed images have an input gradient of exactly zero under every gradient rule and "
        "loss of the suite",
        "A gradient attack cannot see where to go: such images look robust whatever they are. Narrow surrogates, "
        "saturated neurons and over-confident logits do this.",
        "Use rules with wide or adaptive slopes and a loss on logits differences (suite reliable), and a "
        "gradient-free attack.",
    ),
    Flag(
        "tiny-gradient",
        True,
        "more than 5 % of the probed images have no gradient entry above 1e-12 under any gradient rule and loss of "
        "the suite, and yet not all are zero",
        "Gradients this small are rounding and underflow as much as direction, most of all for steps that divide "
        "by them.",
        "Attack the margin or DLR instead of the cross-entropy; use the suite reliable.",
    ),
    Flag(
        "nan-gradient",
        True,
        "any gradient of any attack or probe holds NaN or infinity",
        "Such entries are taken as zero, so the attack moves blindly there; without that, NaN images can even count "
        "as robust.",
        "Find the operation (a square root or division at zero, a logarithm of zero) and guard it.",
    ),
    Flag(
        "nan-logits",
        True,
        "any clean image gets a NaN logit",
        "They count as errors here; in other evaluations argmax turns NaN into class 0.",
        "Find the operation and guard it.",
    ),
    Flag(
        "gradient-mismatch",
        True,
        "moving along the steepest direction of the margin's gradient gives a smaller margin than moving against it, "
        "for more than 35 % of the probed images that move at all and at least 2, under every rule of the suite "
        "(majority of the steps eps/4, eps/2 and eps; not if fewer than an eighth of the images move)",
        "The gradient that the attack follows is not that of the function that is judged.",
        "Check the model's backward pass, its surrogate, and what is detached; use other gradient rules.",
    ),
    Flag(
        "unrelated-gradient",
        True,
        "at the images, near the boundary, at a corner of the threat, or after a step without gradients, the mean "
        "correlation of central differences of the margin along 32 random corners with what the gradient foresees is "
        "below 0.1 for the own gradient and each reference rule; or where the margin is smooth on steps of half a grey "
        "level, below 0.5 there; or for more than seven eighths of the images, 8 or more, there is a gradient and yet "
        "the margin at the images stays the same along all 32",
        "The gradient belongs to another function than the one that is judged, at least where attacks go: it was "
        "taken from another image, network or noise, turned round near the boundary, or its surrogate sees nothing.",
        "Check the model's backward pass and hooks; attack by transfer from a model without them, and without "
        "gradients.",
    ),
    Flag(
        "misplaced-gradient",
        True,
        "along a gradient that is moved by a pixel, mirrored or has its axes exchanged the margin rises by more than "
        "1.2 of what it does along any gradient itself, of the own and the reference rules (mean over 8 images or "
        "more, steps of eps, in Linf at least 16/255)",
        "The gradient arrives at other pixels than those it belongs to. It foresees much, since neighbours are alike, "
        "and so attacks by it look sound and break less than they could.",
        "Look for an offset, a flip or exchanged axes in a custom backward pass or in the encoder's substitute.",
    ),
    Flag(
        "lost-entries",
        True,
        "moving only the entries of the images whose gradient is below a thousandth of the largest (under the own and "
        "each reference rule, at a corner of the threat and at the opposite one), or only such coefficients of the "
        "images' cosine transform, or only directions of blocks of 8x8 pixels that no gradient has a part in (1e-4 of "
        "the largest), changes the margin by more than half of what moving all does, for 8 images or more",
        "An attack leaves alone what it has no gradient for, so the budget there is not spent.",
        "Look for masks, detached branches, dropped gradients and rounded transforms (JPEG is one) between the image "
        "and the first layer.",
    ),
    Flag(
        "unsteady-gradient",
        True,
        "for more than 10 % of the probed images and at least 2, the input gradient changes by more than 30 % when it "
        "is asked for again, in another order or batch, with parameters that ask for a gradient, or because the "
        "backward pass is not linear in what the loss hands it",
        "A gradient is a linear map that depends on the image alone. One that depends on who asks, or how often, sends "
        "attacks astray although each single look at it may be right.",
        "Look for hooks and custom backward passes with a memory, a threshold or an eye on the batch.",
    ),
    Flag(
        "rules-disagree",
        True,
        "the own gradient of a spiking network has a mean cosine below 0.1 with that of every reference rule "
        "(arctan 2, RGA, ASSG)",
        "Surrogates differ in scale and width, but on a healthy network they point to the same side. An own "
        "gradient that agrees with none is useless to an attacker who trusts it.",
        "Do not report attacks by the own gradient alone; use the suite reliable.",
    ),
    Flag(
        "rules-without-effect",
        True,
        "a neuron layer that the logits depend on, or all of them, leaves the input gradient as it is when its rule is "
        "replaced by one of the opposite sign, at the images or at a corner of the threat (not if another layer that "
        "reacts has the same spikes)",
        "The layer differentiates by something else than the rule it is given, for example in a forward pass of its "
        "own, or has no part in the gradient, which is then another network's. All rules of a suite are then one "
        "attack, and agreement among them says nothing.",
        "Let subclasses of Neurons call its forward, or attack without gradients.",
    ),
    Flag(
        "blind-rules",
        True,
        "the own gradient and at least one of the reference rules (arctan 2, RGA, ASSG), or all of these, have a mean "
        "correlation below 0.1 with differences of the margin at all points of `unrelated-gradient`",
        "Fixed surrogates fit potentials of the size of the threshold. Where most rules see nothing, for example "
        "because of other units, a suite has fewer attacks than it seems.",
        "Trust only the rules that see; use the suite reliable, and scale the surrogates to the potentials.",
    ),
    Flag(
        "one-step-beats-iterative",
        True,
        "one step breaks more of the probed images than 20 steps by the same gradient, that of the suite's first rule: "
        "by more than 3 % of them, and at least 2",
        "With a useful gradient 20 small steps do at least as well as one large one. Where they do not, they are "
        "caught in noise that the model adds to its loss surface.",
        "Use EOT if the model is random, adaptive slopes, restarts, and a gradient-free attack.",
    ),
    Flag(
        "black-box-beats-white-box",
        True,
        "a search over corners with 300 queries (in L2 Square) and 50 random points break more of the probed images "
        "than 50 steps of APGD on the margin by the suite's first 4 rules: by more than 5 % of the images, and at "
        "least 3",
        "Who sees the gradient knows more than who does not, so a gradient attack that loses is being misled.",
        "Take the black-box figure as the better bound, and look for other gradient rules.",
    ),
    Flag(
        "loss-not-increasing",
        True,
        "PGD with 10 steps by the suite's first rule breaks fewer of the probed images at eps than at eps/2, or at "
        "2 eps than at eps: by more than 3 % of them, and at least 2",
        "A larger ball holds the smaller one, so the worst case can only get worse; the attack fails to find it.",
        "Check step sizes and gradients; use the suite reliable.",
    ),
    Flag(
        "unbounded-attack-fails",
        True,
        "with a radius that allows every image, more than 5 % of the probed images stand against PGD with 30 steps by "
        "the first 8 gradient rules of the suite",
        "With no limit at all every classifier can be broken. If the attack cannot, its gradients lead nowhere.",
        "The figures of this suite are no evidence of robustness; use other rules and gradient-free attacks.",
    ),
    Flag(
        "not-converged",
        False,
        "longer runs and new starts break more than 2 % of the images that the suite left standing (at most 64 are "
        "tried), and at least 2: twice the suite's largest number of gradient steps; SA-PGD from three starts with "
        "three times that number, at most 300, under ASSG with a detached reset and under the own rule; and a search "
        "over corners of ten times as many queries",
        "The accuracy reported is still falling with the effort of the attack.",
        "Use more steps and restarts, or the suite reliable; read the figure as at most.",
    ),
    Flag(
        "random",
        True,
        "two passes over the same images in eval mode differ under different random seeds, and not under equal ones",
        "Single gradients are noise and single draws are no judgement. The figures here take gradients as means of "
        "10 draws and judge by the majority of 21; a defence must not be credited with its noise.",
        "Read the spread over draws beside the figures; raise the number of draws in your own attacks.",
    ),
    Flag(
        "state",
        True,
        "passes over the same images in eval mode differ although all random seeds are equal: two in a row, seven "
        "after all other checks, or the margins of more than 10 % of them, and at least 2, before and after the "
        "attacks, or at random points of the ball those of a copy that was made before the first call",
        "Something is carried from one call to the next, such as membranes that were not reset, or numbers are drawn "
        "elsewhere than in torch. The attack then differentiates another function than the one that is judged.",
        "Reset the model at the start of each forward pass. One that does not even repeat itself at once is refused, "
        "unless it is given as robustsnn.attacks.Stateful(model).",
    ),
    Flag(
        "coupled",
        True,
        "the logits of an image, or of a corner of its threat, change when the other images of its batch, which are "
        "near it, are replaced by black and white ones (not looked at where the flags random or state are raised)",
        "Its result depends on its neighbours, for example by batch statistics in eval mode or an encoder that scales "
        "by the batch's extremes. An attack on a batch then uses, or is hindered by, what a user never sees.",
        "Call model.eval() effectively; take statistics per sample.",
    ),
    Flag(
        "call-dependent",
        True,
        "for more than 10 % of the probed images and at least 2, the logits change with the way of asking: while a "
        "gradient is recorded, with parameters that ask for a gradient, after a backward pass or a change of "
        "mode, in another order, or in smaller batches (not looked at where the flags random or state are raised)",
        "The attack talks to another function than the judge.",
        "Look for branches on autograd, mode, batch size or counters.",
    ),
    Flag(
        "no-gradient",
        True,
        "in eval mode the logits are not connected to the input",
        "Detached or discrete parts stop every gradient attack, which is no protection.",
        "Only gradient-free attacks were run. Hand a network of another spiking framework to robustsnn.wrap; spiking "
        "neurons need a surrogate in eval mode too; what rounds the image belongs into robustsnn.encoders.BPDA.",
    ),
    Flag(
        "foreign-gradient",
        True,
        "the model has layers of spiking neurons of another framework that no gradient rule reaches",
        "They are attacked by the one surrogate that they came with, or by none. Where that is narrow or saturated, "
        "the figure may be twenty points too high: the attacks that break such networks need other rules.",
        "Hand the network to robustsnn.wrap, which replaces or records its neurons, and look at what it says in `how`; "
        "read the figure as at most.",
    ),
    Flag(
        "probabilities",
        True,
        "all outputs of all probed images lie in [0, 1] and sum to 1",
        "The losses here expect logits. A second softmax flattens the cross-entropy and its gradient.",
        "Return logits: leave out the last softmax.",
    ),
    Flag(
        "coarse-logits",
        True,
        "fewer than half of the margins of the probed images at random corners of the threat are different numbers, "
        "for 8 images or more",
        "Outputs that are rounded, counts or decisions do not tell an attack that it comes nearer, with gradients or "
        "without.",
        "Attack the values before they are rounded; read out currents or potentials instead of counts.",
    ),
    Flag(
        "erratic",
        True,
        "at random corners of the threat, steps of a millionth of the data range change the margin by more than 0.3 of "
        "what steps of eps do (root mean squares over 8 directions and 8 images or more)",
        "The model adds noise that hangs on the image's last bits: it repeats, so it is not seen as random, and yet no "
        "gradient or comparison of neighbours tells an attack where to go.",
        "Take the noise out, or draw it by torch's generator so that attacks can average over it.",
    ),
    Flag(
        "ties",
        False,
        "more than 1 % of the images have two largest logits that are exactly equal",
        "Outputs that are counts of spikes tie often. A tie counts as an error here; elsewhere argmax gives it to the "
        "first class, which credits some classes with undecided images.",
        "Read out the mean current or potential of the last layer instead of counts.",
    ),
    Flag(
        "single-surrogate",
        False,
        "the network has spiking layers and all gradient attacks of the suite share one gradient rule, or it has none, "
        "its margin is constant on small steps, and yet there is a gradient",
        "How strong an attack on spikes is depends on the surrogate more than on its steps. One rule gives an upper "
        "bound that another rule often halves.",
        "Use the suite reliable, or paper-sr for the ensemble of four.",
    ),
)
FLAGS = {flag.name: flag for flag in _ALL}
"""All flags by name."""
