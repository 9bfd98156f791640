# %%
# # Judge your network in ten minutes
#
# You have a trained spiking network, and want to know how much of its accuracy is left when somebody attacks it. You
# need to know PyTorch; nothing about this project.
#
# A network here is any `torch.nn.Module` that maps images with pixels in [0, 1] to logits. A small one of this package
# stands in for yours, which may come from SpikingJelly, snnTorch, Sinabs or Norse.

import torch
from torch import nn

import robustsnn
from robustsnn.data.digits import digits

data = digits()
x, y = data.test.take(32).floats()
print("images", tuple(x.shape), "pixels from", x.min().item(), "to", x.max().item())

# %%
# The network, and a short training.

torch.manual_seed(0)
net = robustsnn.models.vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=robustsnn.neurons.IF(), steps=4, width=0.5)
optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
robustsnn.fit(net, data.train, robustsnn.objectives.Natural(), optimiser, epochs=6, batch_size=64)
print("is a torch module:", isinstance(net, nn.Module))

# %%
# ## 1. Attack it
#
# You say what an attacker may do. Here each pixel may change by up to 24/255 (`eps`, norm Linf). And you say how hard
# it is attacked: `quick` is a suite of attacks for a first look, `reliable` is for the number that you report.

result = robustsnn.evaluate(net, (x, y), suite="quick", eps="24/255")
print("clean     ", result.clean)
print("worst case", result.worst_case)

# %%
# *Worst case* counts an image as right only if it is right under every attack of the suite. The brackets are a 95 %
# interval: with 32 images it is wide. Take more images for a narrower one.
#
# ## 2. See which attack did it
#
# A network that stands against its own gradient may fall to another one. So a suite has several kinds, the cheapest
# first, and each is tried on the images that the ones before it left standing.

for attack in result.to_dict()["attacks"].values():
    if attack["broken"]:
        print(f"{attack['broken']:3} of {attack['attacked']:3} fall to {attack['label']}")

# %%
# ## 3. Ask whether to believe it
#
# Flags are checks for a gradient that misleads attacks ("gradient masking"). Each says why, and what to do.

for flag in result.flags:
    print(f"{flag['name']}: {flag['message']}\n  to do: {flag['todo']}")
print(len(result.flags), "flags")

# %%
# ## 4. With a network of another framework
#
# ```text
# model = robustsnn.wrap(net, steps=4, readout="mean")   # SpikingJelly: layers that are shown the image step by step
# model = robustsnn.wrap(net)                            # any of the four, if the loop over time is inside the network
# print(robustsnn.evaluate(model, (x, y), ["fgsm"], eps="8/255").clean, model.how)   # is it the accuracy that you know?
# result = robustsnn.evaluate(model, (x, y), suite="reliable", eps="8/255")
# robustsnn.report(result, "page.html")
# ```
#
# Images are pixels in [0, 1], as tensors, numpy arrays, a `Dataset` or a `DataLoader`. If the network expects
# normalised ones, say so: `wrap(net, mean=..., std=...)`; attacks and radii stay in [0, 1]. All cases are in
# [judge your network](../how-to/judge-your-network.md). What eps should be, and which suite:
# [choose](../how-to/choose.md).
