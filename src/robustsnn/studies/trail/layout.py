"""Where the samples of a batch lie in a gradient, so that zeros and norms can be told sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """The dimension that holds the samples, with k entries of each (time steps folded into the batch, say).

    Args:
        dim: the dimension; None is a batch of one sample, wherever it lies.
        together: the k entries of a sample stand side by side, instead of k whole batches one after the other.
    """

    dim: int | None
    together: bool = False

    def rows(self, tensor: Tensor, n: int) -> Tensor:
        """`[n, ...]`: the entries of each sample."""
        if self.dim is None:
            return tensor.reshape(1, -1)
        k = tensor.shape[self.dim] // n
        split = tensor.unflatten(self.dim, (n, k) if self.together else (k, n))
        return split.movedim(self.dim + (not self.together), 0).flatten(1)

    def spread(self, values: Tensor, like: Tensor) -> Tensor:
        """A value per sample, `[n]`, in a shape that broadcasts with `like`."""
        if self.dim is None:
            return values.reshape([1] * like.ndim)
        k = like.shape[self.dim] // len(values)
        folded = values.repeat_interleave(k) if self.together else values.repeat(k)
        return folded.reshape([-1 if dim == self.dim else 1 for dim in range(like.ndim)])


def layout_of(two: Tensor, three: Tensor) -> Layout | None:
    """The layout of a gradient, from that of batches of two and of three samples; None if it is not evident.

    In `three` the loss of the first sample alone was differentiated, so that the others' entries are zero.
    Where the order of samples and steps makes no difference to that, whole batches follow each other.
    """
    if two.ndim != three.ndim:
        return None
    grown = [dim for dim in range(two.ndim) if two.shape[dim] != three.shape[dim]]
    if len(grown) != 1 or 2 * three.shape[grown[0]] != 3 * two.shape[grown[0]]:
        return None
    for layout in (Layout(grown[0]), Layout(grown[0], together=True)):
        if not bool(layout.rows(three, 3)[1:].any()):
            return layout
    return None
