"""Training: one loop, what it does with each batch, what it is judged by, and the folder that it is kept in."""

from robustsnn.training.saving import RunFolder as RunFolder
from robustsnn.training.step import TrainingStep as TrainingStep
from robustsnn.training.validation import Validation as Validation
