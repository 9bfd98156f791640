# %%
# # Train a robust spiking network
#
# Three ways of training, on the 8x8 digits that come with the package, each in some seconds: ordinary training,
# sparsity regularisation (SR), and adversarial training (AT). Then all three are attacked alike.

import torch

import robustsnn
from robustsnn.attacks import pgd
from robustsnn.data.digits import digits
from robustsnn.objectives import Adversarial, Natural, SparsityRegularised

data = digits()
test = data.test.take(24)
print(len(data.train), "training images,", len(data.test), "test images")

# %%
# ## What an objective is
#
# An objective says what training makes small. *Natural* is cross-entropy. *SR* adds the sum of magnitudes of the
# gradient of the true class's probability with respect to the image \(x\),
#
# \[ \ell(f(x), y) + \lambda \, \lVert \nabla_x f_y(x) \rVert_1 , \]
#
# which is computed by a finite difference with step \(h\). *AT* trains on images that were attacked a moment before.

attack = pgd(eps="16/255", steps=3)
objectives = {"vanilla": Natural(), "SR": SparsityRegularised(lam=0.1, h=0.1), "AT": Adversarial(attack)}
print(attack)


# %%
# ## Train
#
# The network is a small convolutional one with integrate-and-fire neurons and T = 4 time steps. Nothing of it has to
# be reset by hand: each call begins with fresh membranes.


def trained(objective):
    torch.manual_seed(0)
    neuron = robustsnn.neurons.IF()
    model = robustsnn.models.vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=neuron, steps=4, width=0.25)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    robustsnn.fit(model, data.train, objective, optimiser, epochs=5, batch_size=64)
    return model


models = {name: trained(objective) for name, objective in objectives.items()}

# %%
# ## Attack all of them alike
#
# Robust accuracy without the attack that gave it says nothing. `quick` is a suite of several kinds of attacks; its
# worst case counts an image as right only if it is right under all.

for name, model in models.items():
    result = robustsnn.evaluate(model, test, suite="quick", eps="16/255")
    print(f"{name:8} clean {result.clean}   worst case {result.worst_case}")

# %%
# Intervals overlap with 24 images and one seed: this is a tour, not a result. For results train several seeds, attack
# all test images with `reliable`, and compare on the same images.
#
# ## The same from the command line
#
# ```text
# robustsnn train --objective.name sparsity --objective.lam 0.1 --out runs/sr
# robustsnn evaluate runs/sr --suite reliable --eps 16/255
# robustsnn report runs/sr --out report.html
# ```
#
# Next: [train on your own data](../how-to/train-on-your-own-data.md), [what the objectives
# are](../explanation/objectives.md), [defences compared](../explanation/defences.md).
