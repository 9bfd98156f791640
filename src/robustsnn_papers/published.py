"""What the papers report: accuracies in percent, as printed in their tables. Facts, with their place."""

from __future__ import annotations

PAPERS = {
    "p1": "Training Adversarially Robust SNNs with Gradient Sparsity Regularization, the version under review of "
    "Y. Liu, T. Bu, J. Ding, Z. Hao, T. Huang, Z. Yu, Enhancing Adversarial Robustness in SNNs with Sparse Gradients, "
    "ICML 2024, arXiv 2405.20355",
    "p2": "N. T. Luu, D. T. Luu, N. N. Pham, T. C. Truong, Accuracy-robustness trade-off via spiking neural network "
    "gradient sparsity trail",
}
SR_PAPER, TRAIL_PAPER = "the SR paper", "the trail paper"

WHITE = ("PGD10", "PGD30", "PGD50", "APGD10")
BLACK = tuple(f"BB {column}" for column in WHITE)

SR_TABLE_1: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("CIFAR-10", "VGG-11"): {
        "RAT": (90.44, 11.53, 7.08, 6.41, 3.26, 43.29, 40.17, 40.16, 47.50),
        "AT": (89.97, 18.18, 14.79, 14.63, 10.36, 44.02, 43.38, 43.40, 52.90),
        "SR*": (85.91, 30.54, 28.06, 27.66, 21.91, 51.21, 50.85, 51.06, 59.87),
    },
    ("CIFAR-10", "WRN-16"): {
        "RAT": (92.70, 10.52, 5.14, 4.33, 2.19, 38.35, 31.04, 30.40, 36.42),
        "AT": (90.97, 17.88, 14.89, 14.62, 9.13, 43.99, 42.09, 41.55, 52.10),
        "SR*": (85.63, 39.18, 37.04, 36.74, 29.03, 50.84, 50.23, 49.97, 57.93),
    },
    ("CIFAR-100", "WRN-16"): {
        "RAT": (69.10, 5.72, 3.58, 3.26, 2.08, 22.61, 18.77, 18.26, 25.23),
        "AT": (67.37, 10.07, 8.12, 7.86, 4.88, 25.17, 23.76, 23.50, 35.96),
        "SR*": (60.37, 19.76, 18.39, 18.11, 13.32, 28.38, 28.01, 27.94, 36.69),
    },
}
"""Table 1: clean, `WHITE`, `BLACK`."""

SR_TABLE_2_COLUMNS = ("FGSM", "RFGSM", "PGD30", "PGD50", "APGD10")
SR_TABLE_2: dict[str, dict[str, tuple[float, ...]]] = {
    "CIFAR-10": {
        "vanilla": (93.89, 5.23, 3.43, 0.00, 0.00, 0.00),
        "AT": (90.97, 33.49, 58.19, 14.89, 14.62, 9.13),
        "SR": (86.57, 34.79, 55.96, 12.27, 11.70, 8.25),
        "SR*": (85.63, 48.47, 64.65, 37.04, 36.74, 29.03),
    },
    "CIFAR-100": {
        "vanilla": (74.59, 3.51, 1.37, 0.00, 0.00, 0.00),
        "AT": (67.37, 19.07, 33.19, 8.12, 7.68, 4.88),
        "SR": (67.67, 11.15, 18.18, 0.87, 0.84, 0.47),
        "SR*": (60.37, 25.76, 36.93, 18.39, 18.11, 13.32),
    },
}
"""Table 2, WRN-16: clean, `SR_TABLE_2_COLUMNS`."""

SR_TABLE_4 = {"vanilla": 65.0, "AT": 459.0, "RAT": 134.0, "SR": 193.0, "SR*": 583.0}
"""Table 4: seconds per epoch of VGG-11 on CIFAR-10."""

TRAIL_TABLES_1_2: dict[str, dict[tuple[str, str], tuple[float, float, float]]] = {
    "CIFAR-10": {
        ("RAT", "VGG-11"): (45.23, 21.16, 90.74),
        ("RAT", "WRN-16"): (50.78, 22.71, 92.69),
        ("vanilla", "SEW-ResNet18"): (46.99, 34.33, 73.78),
        ("vanilla", "SEW-ResNet34"): (49.20, 36.98, 74.16),
        ("vanilla", "SEW-ResNet50"): (51.09, 40.55, 73.34),
    },
    "CIFAR-100": {
        ("discretised", "VGG-11"): (15.50, 6.30, 64.40),
        ("HIRE", "VGG-11"): (22.00, 7.50, 65.10),
        ("vanilla", "VGG-11"): (5.30, 0.02, 73.33),
        ("RAT", "VGG-11"): (25.86, 10.38, 70.89),
        ("RAT", "WRN-16"): (28.08, 11.31, 69.32),
        ("vanilla", "SEW-ResNet18"): (20.81, 13.47, 42.19),
        ("vanilla", "SEW-ResNet34"): (19.91, 13.25, 41.81),
        ("vanilla", "SEW-ResNet50"): (21.27, 16.03, 38.91),
        ("vanilla", "Spiking-ResNet18"): (13.36, 11.15, 23.23),
        ("vanilla", "Spiking-ResNet34"): (2.43, 1.64, 21.20),
        ("vanilla", "Spiking-ResNet50"): (3.32, 2.44, 20.56),
    },
    "CIFAR10-DVS": {
        ("RAT", "VGG-11"): (36.22, 19.02, 71.77),
        ("RAT", "WRN-16"): (40.16, 17.11, 76.12),
        ("vanilla", "SEW-ResNet18"): (47.19, 21.47, 75.18),
        ("vanilla", "SEW-ResNet34"): (49.03, 18.65, 75.29),
        ("vanilla", "SEW-ResNet50"): (48.52, 22.34, 76.53),
    },
}
"""Tables 1 (CIFAR-100, all rows) and 2: FGSM, PGD, clean."""

TRAIL_TABLE_3: dict[str, dict[str, tuple[float, float, float]]] = {
    "CIFAR-10": {"18": (45.71, 25.72, 75.76), "34": (48.72, 29.82, 76.17), "50": (49.88, 33.29, 75.28)},
    "CIFAR-100": {"18": (17.93, 8.65, 43.32), "34": (20.07, 10.37, 44.58), "50": (22.02, 13.37, 43.40)},
    "CIFAR10-DVS": {"18": (46.27, 13.94, 77.77), "34": (47.66, 12.54, 76.43), "50": (47.01, 14.30, 78.35)},
}
"""Table 3, average pooling, by depth of the SEW-ResNet: FGSM, PGD, clean."""

TRAIL_ZEROS = {"max": {"max-pool": 37.88, "neurons": 29.01}, "average": {"average-pool": 0.0, "neurons": 16.52}}
"""Section 4.3.1: zeros of the gradient in percent in figures 3 and 5, as far as the text names them."""
