"""Attacks on classifiers: one loop, composed of threat, start, step rule, gradient rule and loss."""

from robustsnn.attacks.attack import Attack as Attack
from robustsnn.attacks.attack import Attacker as Attacker
from robustsnn.attacks.attack import Attempt as Attempt
from robustsnn.attacks.presets import apgd as apgd
from robustsnn.attacks.presets import fgsm as fgsm
from robustsnn.attacks.presets import pgd as pgd
from robustsnn.attacks.presets import rfgsm as rfgsm
from robustsnn.attacks.suites import Suite as Suite
from robustsnn.attacks.suites import paper_sr as paper_sr
from robustsnn.attacks.suites import paper_sr_10 as paper_sr_10
from robustsnn.attacks.threat import L2 as L2
from robustsnn.attacks.threat import Linf as Linf
from robustsnn.attacks.threat import Threat as Threat
