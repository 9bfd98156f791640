# %%
# # Events
#
# An event camera reports changes of brightness, pixel by pixel. A recording is cut into T parts, and each becomes a
# frame with two channels: brighter and darker. Here digits are moved before a simulated camera, so nothing is
# downloaded.

import torch

import robustsnn
from robustsnn.attacks import flips
from robustsnn.data.digit_events import digit_events

data = digit_events(frames=4, seed=0)
x, y = data.test.take(24).floats()
print("frames [N, T, 2, H, W]:", tuple(x.shape), "values", sorted(set(x.flatten().tolist())))

# %%
# The first recording, frame by frame: `+` brighter, `-` darker.

for row in range(0, x.shape[-2], 2):
    line = []
    for frame in x[0]:
        brighter, darker = frame[0, row], frame[1, row]
        line.append("".join("+" if b > d else "-" if d else "." for b, d in zip(brighter, darker, strict=True)))
    print("  ".join(line))

# %%
# ## Train
#
# Frame t is the input of time step t: the encoder is `Frames`, and T is the number of frames.

torch.manual_seed(0)
model = robustsnn.models.vgg(
    "vgg_small",
    image=data.train.shape,
    classes=10,
    neuron=robustsnn.neurons.IF(),
    steps=4,
    width=0.25,
    encoder=robustsnn.encoders.Frames(steps=4),
)
optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
robustsnn.fit(model, data.train, robustsnn.objectives.Natural(), optimiser, epochs=10, batch_size=64)

# %%
# ## Attack
#
# A grey value between 0 and 1 is no event. So the attacker may switch whole entries, at most `eps` of them: the norm
# is L0, the suite `flips`.

for eps in (1, 4):
    result = robustsnn.evaluate(model, (x, y), suite=flips, eps=eps)
    print(f"at most {eps} switched entries of {x[0].numel()}: clean {result.clean}, worst case {result.worst_case}")

# %%
# Next: [train on events](../how-to/train-on-events.md), with N-MNIST, DVS128 Gesture, CIFAR10-DVS or your own
# recordings.
