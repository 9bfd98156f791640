"""Training objectives: natural, adversarial, and regularisers of gradients, logits and membranes."""

from robustsnn.objectives.adversarial import Adversarial as Adversarial
from robustsnn.objectives.constraints import Constraint as Constraint
from robustsnn.objectives.constraints import ConvexShortcuts as ConvexShortcuts
from robustsnn.objectives.constraints import OrthogonalRetraction as OrthogonalRetraction
from robustsnn.objectives.hire import Hire as Hire
from robustsnn.objectives.mart import MART as MART
from robustsnn.objectives.membrane import MembraneGuard as MembraneGuard
from robustsnn.objectives.natural import Natural as Natural
from robustsnn.objectives.natural import Objective as Objective
from robustsnn.objectives.one_step import OneStep as OneStep
from robustsnn.objectives.pairing import AdversarialLogitPairing as AdversarialLogitPairing
from robustsnn.objectives.pairing import CleanLogitPairing as CleanLogitPairing
from robustsnn.objectives.perturbed import WeightPerturbed as WeightPerturbed
from robustsnn.objectives.regularised import GradientRegularised as GradientRegularised
from robustsnn.objectives.schedule import ByValidation as ByValidation
from robustsnn.objectives.schedule import Constant as Constant
from robustsnn.objectives.schedule import Cosine as Cosine
from robustsnn.objectives.schedule import Scheduled as Scheduled
from robustsnn.objectives.schedule import WarmUp as WarmUp
from robustsnn.objectives.sparsity import SparsityRegularised as SparsityRegularised
from robustsnn.objectives.trades import TRADES as TRADES
