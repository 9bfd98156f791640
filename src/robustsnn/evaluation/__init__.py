"""Evaluation: suites run on labelled images, judged anew, counted per sample, and checked for masking."""

from robustsnn.data.given import Data as Data
from robustsnn.evaluation.effort import Effort as Effort
from robustsnn.evaluation.judge import Judge as Judge
from robustsnn.evaluation.measure import evaluate as evaluate
from robustsnn.evaluation.measure import run_radii as run_radii
from robustsnn.evaluation.moved import moved_statistics as moved_statistics
from robustsnn.evaluation.result import Evaluation as Evaluation
from robustsnn.evaluation.running import run_suite as run_suite
from robustsnn.evaluation.samples import input_gradient as input_gradient
from robustsnn.evaluation.samples import pictures as pictures
from robustsnn.evaluation.shards import Shard as Shard
