"""A network seen from behind its encoder, for attacks on what the encoder hands over."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustsnn.ground.errors import UserError
from robustsnn.ground.types import Images, Logits
from robustsnn.models.classifier import Classifier
from robustsnn.neurons import neuron_layers


class Encoded(nn.Module):
    """Encoded inputs `[B, T, C, H, W]` -> logits: a `Classifier` without its encoder.

    `Encoded(model)(Encoded(model).encode(x))` is `model(x)`. An input that is constant in time is repeated to
    all T steps, so that each can be perturbed on its own: a budget of eps per pixel and step, which is T times
    as many numbers as an image has, and no image shows them. Such attacks say what event data or a faulty
    encoder could do, and reproduce papers that attack the encoded tensor.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, Classifier):
            raise UserError(
                f"{type(model).__name__} has no encoded space: that is defined for robustsnn.models.Classifier; "
                f"attack it in pixel space"
            )
        self.model = model

    @property
    def steps(self) -> int:
        """T of its neurons; 1 for a network without any."""
        return next((layer.steps for layer in neuron_layers(self.model)), 1)

    @torch.no_grad()
    def encode(self, x: Images) -> Tensor:
        """Images -> `[B, T, C, H, W]`; a random encoder draws once."""
        code = self.model.encoder(x)
        steps = self.steps if code.shape[0] == 1 else code.shape[0]
        return code.expand(steps, *code.shape[1:]).transpose(0, 1).contiguous()

    def forward(self, code: Tensor) -> Logits:
        needed = (self.steps, *self.model.image[-3:])
        if code.shape[2:] != needed[1:] or needed[0] not in (1, code.shape[1]):
            raise UserError(f"encoded images of shape {tuple(code.shape[1:])} given to a network made for {needed}")
        return self.model.read(code.transpose(0, 1))
