"""Which paper each part of a run comes from. A line is a fact of publication; nothing is looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from robustsnn.report.reading import Run

PAPERS = {
    "sr": "Y. Liu, T. Bu, J. Ding, Z. Hao, T. Huang, Z. Yu. Enhancing Adversarial Robustness in SNNs with Sparse "
    "Gradients. ICML 2024. arXiv 2405.20355",
    "trail": "N. T. Luu, D. T. Luu, N. N. Pham, T. C. Truong. Accuracy-robustness trade-off via spiking neural network "
    "gradient sparsity trail",
    "madry": "A. Madry et al. Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018. "
    "arXiv 1706.06083",
    "finlay": "C. Finlay, A. Oberman. Scaleable input gradient regularization for adversarial robustness. 2019. "
    "arXiv 1905.11468",
    "trades": "H. Zhang et al. Theoretically Principled Trade-off between Robustness and Accuracy. ICML 2019. "
    "arXiv 1901.08573",
    "pairing": "H. Kannan, A. Kurakin, I. Goodfellow. Adversarial Logit Pairing. 2018. arXiv 1803.06373",
    "tgo": "TGO. ICLR 2026. arXiv 2602.20548",
    "hire": "S. Kundu, M. Pedram, P. A. Beerel. HIRE-SNN: Harnessing the Inherent Robustness of Energy-Efficient Deep "
    "Spiking Neural Networks by Training with Crafted Input Noise. ICCV 2021",
    "rat": "J. Ding et al. SNN-RAT: Robustness-enhanced Spiking Neural Network through Regularized Adversarial "
    "Training. NeurIPS 2022",
    "feel": "M. Xu et al. FEEL-SNN: Robust Spiking Neural Networks with Frequency Encoding and Evolutionary Leak "
    "Factor. NeurIPS 2024",
    "vgg": "K. Simonyan, A. Zisserman. Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015. "
    "arXiv 1409.1556",
    "wide": "S. Zagoruyko, N. Komodakis. Wide Residual Networks. BMVC 2016. arXiv 1605.07146",
    "sew": "W. Fang et al. Deep Residual Learning in Spiking Neural Networks. NeurIPS 2021. arXiv 2102.04159",
    "spiking_resnet": "Y. Hu, H. Tang, G. Pan. Spiking Deep Residual Networks. IEEE Transactions on Neural Networks "
    "and Learning Systems, 34(8), 2023",
    "cifar": "A. Krizhevsky. Learning Multiple Layers of Features from Tiny Images. 2009",
    "dvs": "H. Li et al. CIFAR10-DVS: An Event-Stream Dataset for Object Classification. Frontiers in Neuroscience, "
    "2017",
    "digits": "E. Alpaydin, C. Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, "
    "1998",
    "fgsm": "I. Goodfellow, J. Shlens, C. Szegedy. Explaining and Harnessing Adversarial Examples. ICLR 2015. "
    "arXiv 1412.6572",
    "rfgsm": "F. Tramèr et al. Ensemble Adversarial Training: Attacks and Defenses. ICLR 2018. arXiv 1705.07204",
    "autoattack": "F. Croce, M. Hein. Reliable evaluation of adversarial robustness with an ensemble of diverse "
    "parameter-free attacks. ICML 2020. arXiv 2003.01690",
    "rays": "J. Chen, Q. Gu. RayS: A Ray Searching Method for Hard-label Adversarial Attack. KDD 2020.",
    "square": "M. Andriushchenko et al. Square Attack: a query-efficient black-box adversarial attack via random "
    "search. ECCV 2020. arXiv 1912.00049",
    "fmn": "M. Pintor et al. Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints. NeurIPS 2021. "
    "arXiv 2102.12827",
    "momentum": "Y. Dong et al. Boosting Adversarial Attacks with Momentum. CVPR 2018. arXiv 1710.06081",
    "assg": "Adaptive sharpness surrogate gradient (ASSG) and stable adaptive PGD (SA-PGD). arXiv 2512.22522",
    "pdsg": "L. Lun et al. Towards Effective and Sparse Adversarial Attack on Spiking Neural Networks via Breaking "
    "Invisible Surrogate Gradients. CVPR 2025",
    "rga": "T. Bu, J. Ding, Z. Hao, Z. Yu. Rate Gradient Approximation Attack Threats Deep Spiking Neural Networks. "
    "CVPR 2023",
    "hart": "Z. Hao et al. Threaten Spiking Neural Networks through Combining Rate and Temporal Information. ICLR 2024",
}
OBJECTIVES = {
    "adversarial": "madry",
    "sparsity": "sr",
    "gradient": "finlay",
    "trades": "trades",
    "adversarial_pairing": "pairing",
    "clean_pairing": "pairing",
    "membrane": "tgo",
    "hire": "hire",
}
NETWORKS = {"vgg": "vgg", "wide_resnet": "wide", "sew_resnet": "sew", "spiking_resnet": "spiking_resnet"}
DATA = {
    "digits": "digits",
    "turned_digits": "digits",
    "digit_events": "digits",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "cifar10_dvs": "dvs",
}
SUITES = {"paper-sr": "sr", "paper-trail": "trail", "autoattack": "autoattack"}
ATTACKS = {
    r"\bGradientStep\(.*\bSignNoise\(": "rfgsm",
    r"\bGradientStep\((?!.*\bSignNoise\().*\bsteps=1\b": "fgsm",
    r"\bGradientStep\((?!.*\bsteps=1\b)": "madry",
    r"\bMomentum\(": "momentum",
    r"\bAPGD\(": "autoattack",
    r"\bSAPGD\(|\bASSG\(": "assg",
    r"\bMinimumNorm\(": "fmn",
    r"\bSquare\(": "square",
    r"\bRayS\(": "rays",
    r"\bSparseFlips\(|\bPDSG\(": "pdsg",
    r"\bRGA\(": "rga",
    r"\bBPTR\(": "rat",
    r"\bHART\(": "hart",
}
"""What the whole text of an attack holds, and where that comes from."""


def citations(run: Run) -> list[tuple[str, list[str]]]:
    """(paper, what of the run it is cited for), each paper once; of a part without a line here, nothing."""
    found: dict[str, dict[str, None]] = {}

    def cite(paper: str | None, part: str) -> None:
        if paper is not None:
            found.setdefault(PAPERS[paper], {})[part] = None

    objective = str(run.setting("objective", "name") or "")
    cite(OBJECTIVES.get(objective), f"objective {objective}")
    if run.setting("objective", "attack") is not None:
        cite("madry", "training on attacked images")
    if run.setting("objective", "retraction") is not None:
        cite("rat", "retraction")
    if run.setting("model", "encoder", "name") == "frequency":
        cite("feel", "encoder frequency")
    _cite_by_start(NETWORKS, str(run.setting("model", "name") or "").replace("-", "_"), "network", cite)
    data = str(run.setting("data", "name") or "")
    cite(DATA.get(data), f"data {data}")
    for result in run.results.models.values():
        _cite_by_start(SUITES, result.suite, "suite", cite)
        for attack in result.attacks:
            for pattern, paper in ATTACKS.items():
                if re.search(pattern, attack.name):
                    cite(paper, "attacks")
    return [(paper, list(parts)) for paper, parts in found.items()]


def _cite_by_start(table: Mapping[str, str], name: str, what: str, cite: Any) -> None:
    for start, paper in table.items():
        if name.startswith(start):
            cite(paper, f"{what} {name}")
