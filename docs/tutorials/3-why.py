# %%
# # Why is it robust: the trail
#
# A network may stand against gradient attacks because it *is* robust, or because its gradient is full of exact zeros
# and tells the attack nothing. The trail follows these zeros through every operation.

import torch

import robustsnn
from robustsnn.data.digits import digits
from robustsnn.studies.trail.measure import trail

data = digits()
torch.manual_seed(0)
neuron = robustsnn.neurons.IF()
model = robustsnn.models.vgg("vgg_small", image=(1, 8, 8), classes=10, neuron=neuron, steps=4, width=0.25)
optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
robustsnn.fit(model, data.train, robustsnn.objectives.Natural(), optimiser, epochs=4, batch_size=64)
model.eval()

# %%
# ## Follow the zeros
#
# For each operation: the share of exact zeros in the gradient at its input, and how many of them it *added*. The rest
# came from behind. The gradient runs from the last row to the first.

found = trail(model, data.test.take(32), batch_size=32)
print(f"{'operation':40} {'zeros':>7} {'added':>7}")
for operation in found.operations:
    side = operation.input
    added = operation.added / (side.entries * side.zeros.n)
    print(f"{operation.name[:40]:40} {side.sparsity:7.1%} {added:7.1%}")

# %%
# Here the neurons add the zeros: their surrogate slope is zero far from the threshold. The convolution before them
# mixes them away, and average pooling adds none (max-pooling would: it sends its gradient to one entry per window).
# What counts for an attack on pixels is the first row: it sees no zeros at all.
#
# ## Does it matter?
#
# Compare an attack by the network's own gradient with a suite that has other kinds of gradients.

x, y = data.test.take(32).floats()
own = robustsnn.evaluate(model, (x, y), suite=["fgsm", robustsnn.attacks.pgd(eps="16/255", steps=10)], eps="16/255")
all_kinds = robustsnn.evaluate(model, (x, y), suite="quick", eps="16/255")
print("by its own gradient  ", own.worst_case)
print("by several kinds     ", all_kinds.worst_case)

# %%
# The difference between the two is robustness that was never there: the gradient was not zero, and still misled the
# attack.
#
# Next: [the trail, and what we found](../explanation/trail.md), [robust, or attacked
# badly?](../explanation/blind-attacks.md), [flags](../explanation/flags.md).
