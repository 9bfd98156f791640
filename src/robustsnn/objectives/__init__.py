"""Training objectives: natural, adversarial, gradient sparsity regularisation."""

from robustsnn.objectives.adversarial import Adversarial as Adversarial
from robustsnn.objectives.natural import Natural as Natural
from robustsnn.objectives.natural import Objective as Objective
from robustsnn.objectives.sparsity import SparsityRegularised as SparsityRegularised
