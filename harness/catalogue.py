"""Every part that a study can name, and every knob that it can turn. Knows no torch.

    part("optimizer", "sgd").build             # "harness.training.optim:SGD"; `load(...)` imports it
    knob("lr").default                         # 1e-3
    names("activation")                        # ("relu", "leaky_relu", ...)

A part is one entry: its kind and name, one line of doc, where it is built ("module:name", imported only when it is
trained with), and the knobs that come with it. What a study file may say, nearest names, Optuna's distributions, what
the models of a stack must share, the table of hyperparameters in docs/recipes.md and the parameters of the tests are
derived from it.
"""

import hashlib
import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeGuard

from harness.errors import UserError, listed, nearest, one_of

Value = bool | int | float | str | tuple[int, ...]
"""What a hyperparameter can be set to."""

TABLE_FILES = (".csv", ".tsv", ".parquet", ".feather")
"""How the names of files end that have columns."""

MOST = 1_000_000  # of anything that is counted: a slip of the keyboard must not take all memory


@dataclass(frozen=True)
class Knob:
    """A hyperparameter: its type and default, what values it takes, and whether it may differ inside a stack.

    `type` is that of a value; a tuple is of whole numbers, each within the bounds, and at least `shortest` of them.
    `default` is None where there is none, and `required` where one must then be given.
    `choices` are the words that it takes; with `kind` they are the names of the parts of that kind.
    `in_stack` says whether the models of a stack must agree on it ("same"), need not ("free"), or must agree only on
    what `depth`, `width` and `taper` come to together, the hidden widths ("hidden").
    """

    name: str
    type: type
    default: Value | None
    doc: str
    above: float | None = None  # excluded
    low: float | None = None
    high: float | None = None
    below: float | None = None  # excluded
    shortest: int = 0
    choices: tuple[str, ...] = ()
    kind: str = ""
    in_stack: Literal["same", "free", "hidden"] = "same"
    required: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it takes; empty where it takes numbers."""
        return names(self.kind) if self.kind else self.choices

    @property
    def is_tunable_by_range(self) -> bool:
        """Whether Optuna may search it between two bounds."""
        return self.type in (int, float)

    def values(self) -> str:
        """What it can be set to, in words."""
        if self.words:
            return listed(self.words)
        what = {bool: "true or false", int: "whole number", float: "number", str: "word"}
        bounds = (
            ("above {:g}", self.above),
            ("from {:g}", self.low),
            ("below {:g}", self.below),
            ("to {:g}", self.high),
        )
        rules = [rule.format(bound) for rule, bound in bounds if bound is not None and bound != MOST]
        return " ".join([what.get(self.type, "list of whole numbers"), *rules])


@dataclass(frozen=True)
class Part:
    """What a study can be made of, by name.

    `knobs` are those that mean nothing without it. `like` is the class of torch that it must equal, as the tests check.
    `idle` are knobs that have no effect on it where the network has no hidden layer, `idle_alone` those that have none
    where it has fewer than two.
    """

    kind: str
    name: str
    build: str
    doc: str
    knobs: tuple[Knob, ...] = ()
    like: str = ""
    idle: tuple[str, ...] = ()
    idle_alone: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnModel(Part):
    """A part of the kind "model" that a user wrote: a class in a file beside the study, named "net.py:Wide".

    Its knobs are the keyword parameters of the class. `source` is the text of the file: what is trained, recorded and
    compared is this text, so that it cannot change in between. `shaped` says whether the class wants the shape of an
    input (channels, height, width), or only how many numbers it has.
    """

    source: str = ""
    shaped: bool = False

    @property
    def file(self) -> str:
        """The file's name, below the study's folder."""
        return self.name.rpartition(":")[0]

    @property
    def class_name(self) -> str:
        """The name of the class in it."""
        return self.name.rpartition(":")[2]

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def words(self) -> str:
        """What it is, as people read it: "Wide of net.py (sha256 1a2b3c4d5e6f)"."""
        return f"{self.class_name} of {self.file} (sha256 {self.sha256[:12]})"

    def __hash__(self) -> int:
        return hash((self.name, self.source))  # what all else is read from


@dataclass(frozen=True)
class Dataset(Part):
    """A part of the kind "dataset": what can be learned of it, and whether its rows are images or rows of a table."""

    task: str = "classification"
    things: str = "images"


@dataclass(frozen=True)
class Activation(Part):
    """A part of the kind "activation". `gain` is the name under which `torch.nn.init.calculate_gain` knows how weights
    before it are scaled.
    """

    gain: str = "linear"


@dataclass(frozen=True)
class Unit:
    """How a figure is written: times `factor` with `digits` behind the point; `gap` is the unit of a difference.

    A `relative` figure's differences are judged as a share of it: a loss has no natural scale. With `significant` a
    figure has so many digits in all, whatever its size, where `digits` is the most behind the point.
    """

    symbol: str
    factor: float
    digits: int
    gap: str
    relative: bool = False
    significant: int = 0
    thousands: bool = False  # whether they are set apart


SHARE = Unit("%", 100.0, 2, "points")
NATS = Unit("nats", 1.0, 4, "nats", relative=True)
SCORES = Unit("", 1.0, 4, "", relative=True)  # of the loss of standard scores
TARGET = Unit(
    "", 1.0, 6, "", relative=True, significant=4, thousands=True
)  # that of a regression's target, which a study names
RATIO = Unit("", 1.0, 4, "")  # of R2, which may be negative
SECONDS = Unit("s", 1.0, 1, "s")
EPOCHS = Unit("epochs", 1.0, 1, "epochs")
RATE = Unit("", 1.0, 8, "", significant=4)
COUNT = Unit("", 1.0, 0, "", thousands=True)


@dataclass(frozen=True)
class Measure(Part):
    """A part of the kind "measure": what is measured of a model on some images, its unit, and which way is better."""

    tasks: tuple[str, ...] = ("classification",)  # whose models it measures
    unit: Unit = SHARE
    better: Literal["higher", "lower"] = "higher"
    label: str = ""  # as sentences and axes say it
    binomial: bool = False  # whether it is a share of images each of which counts or does not

    @property
    def words(self) -> str:
        """Its name as people read it."""
        return self.label or self.name.replace("_", " ")

    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.better == "higher" else -1


@dataclass(frozen=True)
class Task(Part):
    """A part of the kind "task": how predictions become a loss with its slope, and what is measured.

    `metric` is the measure that selects unless the study names another, `running` are those that cost nothing during
    training and are figures of each epoch. `stratified` says that folds should have equal shares of its classes.
    """

    metric: str = ""
    running: tuple[str, ...] = ()
    stratified: bool = False
    loss_unit: Unit = NATS
    losses: tuple[str, ...] = ()  # what the knob `loss` can be; the first is meant where nothing is said

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of all that a finished model is measured by."""
        return tuple(one.name for one in PARTS if isinstance(one, Measure) and self.name in one.tasks)


HIDDEN = (
    Knob(
        "depth",
        int,
        2,
        "linear layers: 1 is input-classes, 2 has a hidden layer",
        low=1,
        high=1000,
        in_stack="hidden",
    ),
    Knob("width", int, 128, "units of the first hidden layer", low=1, high=MOST, in_stack="hidden"),
    Knob("taper", str, "constant", "how the widths go on", choices=("constant", "halving"), in_stack="hidden"),
    Knob("widths", tuple, None, "every hidden width, as [500, 400], instead of the three above", low=1, high=MOST),
)
"""The dense layers of a network: of a cnn those behind its convolutions."""

ACTIVATION = Knob("activation", str, "relu", "after every hidden layer", kind="activation")
DROPOUT = Knob("dropout", float, 0.0, "share dropped after every hidden layer", low=0, below=1, in_stack="free")
INPUT_DROPOUT = Knob("input_dropout", float, 0.0, "share dropped of the inputs", low=0, below=1)
NORM = Knob(
    "norm",
    str,
    "none",
    "between every hidden layer and its activation: batch, layer or root mean square normalisation; rms: not of a cnn",
    choices=("none", "batch", "layer", "rms"),
)
RESIDUAL = Knob(
    "residual",
    bool,
    False,
    "adds the input of every hidden layer but the first to what comes of it; wants one width. Of a cnn also of "
    "convolutions that keep channels and sides",
)
INITIALISATION = Knob(
    "initialisation",
    str,
    "default",
    "of weights, with the gain of the activation behind them; biases begin at 0, but with default",
    kind="initialisation",
    in_stack="free",
)
MOMENTUM = Knob("momentum", float, 0.0, "of sgd and rmsprop", low=0, below=1, in_stack="free")
BETA1 = Knob(
    "beta1", float, None, "of the mean of gradients; if not said, as torch has it: 0.9", low=0, below=1, in_stack="free"
)
BETA2 = Knob(
    "beta2",
    float,
    None,
    "of the mean of their squares; if not said, as torch has it: 0.999, of lion 0.99",
    low=0,
    below=1,
    in_stack="free",
)
EPS = Knob(
    "eps",
    float,
    None,
    "added to what the optimizer divides by; if not said, as torch has it: 1e-8, of adagrad 1e-10, of adadelta 1e-6",
    above=0,
    in_stack="free",
)
AMSGRAD = Knob(
    "amsgrad", bool, False, "of adam and adamw: divide by the highest mean of squares so far (Reddi et al., 2018)"
)
LR_DECAY = Knob(
    "lr_decay",
    float,
    0.1,
    "factor of the learning rate: of schedule step and multistep each time, of exponential an epoch",
    above=0,
    high=1,
    in_stack="free",
)
FINAL_LR_SHARE = Knob(
    "final_lr_share",
    float,
    0.0,
    "share of the learning rate at the end of schedule cosine, cosine_restarts, linear and onecycle",
    low=0,
    high=1,
    in_stack="free",
)

GENERAL = (
    Knob("dataset", str, "mnist", "what is learned", kind="dataset"),
    Knob("task", str, "classification", "how it is learned; told by the data where nothing is said", kind="task"),
    Knob("model", str, "mlp", "what learns it", kind="model"),
    Knob("metric", str, "accuracy", "what selects the winner, and what the tables lead with", kind="measure"),
)
"""What a study names at its top."""

TRAINING = (
    Knob("optimizer", str, "adam", "the rule of a step", kind="optimizer"),
    Knob("lr", float, 1e-3, "learning rate", above=0, in_stack="free"),
    MOMENTUM,
    Knob("weight_decay", float, 0.0, "L2 penalty; of adamw, lion and muon decoupled decay", low=0, in_stack="free"),
    Knob("decay_biases", bool, True, "weight decay acts on biases and scales too, not on weights alone"),
    Knob("schedule", str, "constant", "how the learning rate goes on", kind="schedule", in_stack="free"),
    Knob(
        "schedule_every",
        str,
        "step",
        "whether it changes at each step or each epoch",
        choices=("step", "epoch"),
        in_stack="free",
    ),
    Knob(
        "warmup",
        float,
        0.0,
        "epochs, or a part of one, in which the learning rate rises in a straight line; the schedule has the rest",
        low=0,
        high=MOST,
        in_stack="free",
    ),
    Knob("clip_norm", float, 0.0, "the largest norm of a model's gradient; 0: any", low=0, in_stack="free"),
    Knob("clip_value", float, 0.0, "the largest entry of a gradient, behind clip_norm; 0: any", low=0, in_stack="free"),
    Knob(
        "max_norm",
        float,
        0.0,
        "the largest norm of a unit's incoming weights after a step (Srivastava et al., 2014); 0: any",
        low=0,
        in_stack="free",
    ),
    Knob(
        "ema",
        float,
        0.0,
        "decay a step of a moving average of the weights, which is what is judged and kept; 0: the weights themselves",
        low=0,
        below=1,
        in_stack="free",
    ),
    Knob("batch_size", int, 256, "images a step", low=1, high=MOST),
    Knob("accumulate", int, 1, "batches whose mean gradient makes a step", low=1, high=MOST),
    Knob("drop_last", bool, False, "the last step of an epoch is left out if it has fewer images than the others"),
    Knob("epochs", int, 20, "the most epochs of a training", low=1, high=MOST, in_stack="free"),
    Knob("patience", int, 10, "epochs to wait for a lower validation loss", low=1, high=MOST, in_stack="free"),
    Knob(
        "validation",
        float,
        0.2,
        "share of the training images held out; 0: nothing stops early and the last epoch counts",
        low=0,
        below=1,
    ),
    Knob(
        "split",
        str,
        "fixed",
        "fixed: the data set's own test images; pooled: each seed draws them anew, from all images",
        choices=("fixed", "pooled"),
    ),
    Knob("test_fraction", float, 1 / 7, "share of the test images with split = pooled", above=0, below=1),
    Knob(
        "normalisation",
        str,
        "scale",
        "of pixels: scale to [0, 1]; half to [-1, 1]; standard to mean 0 and deviation 1",
        choices=("scale", "half", "standard"),
    ),
    Knob(
        "scaling",
        str,
        "standard",
        "of a table's numbers, by the training rows: standard to mean 0 and deviation 1; quantile to a normal "
        "distribution; minmax to [0, 1]; none",
        choices=("standard", "quantile", "minmax", "none"),
    ),
    Knob(
        "stratify",
        bool,
        None,
        "every class has its share of training, validation and test rows; if not said, of tables only",
    ),
    Knob(
        "loss",
        str,
        None,
        "what is minimised: cross_entropy of classes; of numbers mse (if not said), mae or huber, of standard scores",
        choices=("cross_entropy", "mse", "mae", "huber"),
    ),
    Knob("huber_delta", float, 1.0, "of loss = huber: where square becomes straight", above=0, in_stack="free"),
    Knob(
        "label_smoothing",
        float,
        0.0,
        "share of every label that is spread evenly over the classes",
        low=0,
        below=1,
        in_stack="free",
    ),
    Knob(
        "class_weight",
        str,
        "none",
        "balanced: every class counts alike in the loss that is trained, however many rows it has",
        choices=("none", "balanced"),
    ),
    Knob("augment_shift", int, 0, "training images move by up to so many pixels each way", low=0, high=MOST),
    Knob("augment_flip", bool, False, "half of the training images are mirrored, left to right"),
    Knob(
        "augment_crop",
        float,
        0.0,
        "up to this share of a training image's sides is cut away, and the rest enlarged",
        low=0,
        below=1,
    ),
    Knob("precision", str, "fp32", "of matrix products; tf32 on GPUs only", choices=("fp32", "tf32", "bf16")),
)
"""How any network is trained."""

PARTS: tuple[Part, ...] = (
    Dataset("dataset", "mnist", "harness.parts.images:mnist", "60,000 + 10,000 images of digits, 28x28"),
    Dataset(
        "dataset", "fashion_mnist", "harness.parts.images:fashion_mnist", "60,000 + 10,000 images of clothes, 28x28"
    ),
    Dataset("dataset", "digits", "harness.parts.images:digits", "scikit-learn's 1,797 images of digits, 8x8"),
    Dataset(
        "dataset",
        "kmnist",
        "harness.parts.images:kmnist",
        "60,000 + 10,000 images of cursive Japanese characters, 28x28",
    ),
    Dataset(
        "dataset",
        "emnist_balanced",
        "harness.parts.images:emnist_balanced",
        "112,800 + 18,800 images of letters and digits, 47 classes, 28x28",
    ),
    Dataset(
        "dataset",
        "emnist_byclass",
        "harness.parts.images:emnist_byclass",
        "697,932 + 116,323 images of letters and digits, 62 classes, 28x28",
    ),
    Dataset(
        "dataset",
        "emnist_bymerge",
        "harness.parts.images:emnist_bymerge",
        "697,932 + 116,323 images of letters and digits, 47 classes, 28x28",
    ),
    Dataset(
        "dataset", "emnist_digits", "harness.parts.images:emnist_digits", "240,000 + 40,000 images of digits, 28x28"
    ),
    Dataset(
        "dataset",
        "emnist_letters",
        "harness.parts.images:emnist_letters",
        "124,800 + 20,800 images of letters, 26 classes, 28x28",
    ),
    Dataset("dataset", "emnist_mnist", "harness.parts.images:emnist_mnist", "60,000 + 10,000 images of digits, 28x28"),
    Dataset("dataset", "cifar10", "harness.parts.images:cifar10", "50,000 + 10,000 colour images of 10 classes, 32x32"),
    Dataset(
        "dataset", "cifar100", "harness.parts.images:cifar100", "50,000 + 10,000 colour images of 100 classes, 32x32"
    ),
    Dataset(
        "dataset", "svhn", "harness.parts.images:svhn", "73,257 + 26,032 colour images of house numbers' digits, 32x32"
    ),
    Dataset(
        "dataset",
        "iris",
        "harness.parts.bundled:iris",
        "scikit-learn's 150 flowers of 3 species, 4 numbers each",
        things="rows",
    ),
    Dataset(
        "dataset",
        "wine",
        "harness.parts.bundled:wine",
        "scikit-learn's 178 wines of 3 growers, 13 numbers each",
        things="rows",
    ),
    Dataset(
        "dataset",
        "breast_cancer",
        "harness.parts.bundled:breast_cancer",
        "scikit-learn's 569 tumours, benign or malignant, 30 numbers each",
        things="rows",
    ),
    Dataset(
        "dataset",
        "diabetes",
        "harness.parts.bundled:diabetes",
        "scikit-learn's 442 patients, progress after a year, 10 numbers each",
        things="rows",
        task="regression",
    ),
    Part(
        "model",
        "mlp",
        "harness.parts.models:mlp",
        "linear layers with activation and dropout between",
        knobs=(*HIDDEN, ACTIVATION, DROPOUT, INPUT_DROPOUT, NORM, RESIDUAL, INITIALISATION),
        idle=("width", "taper", "activation", "dropout", "norm"),
        idle_alone=("residual",),
    ),
    Part(
        "model",
        "cnn",
        "harness.parts.models:cnn",
        "convolutions with max-pooling and activation, before the layers of an mlp",
        knobs=(
            *HIDDEN,
            Knob("channels", tuple, (64, 128), "of each convolution", low=1, high=MOST, shortest=1),
            Knob("kernel", int, 3, "side of every convolution's kernel", low=1, high=MOST),
            Knob("pool", int, 2, "side of the max-pooling after every convolution", low=1, high=MOST),
            Knob(
                "convs_per_pool", int, 1, "convolutions of each of `channels`, before its max-pooling", low=1, high=100
            ),
            Knob("stride", int, 1, "of the first convolution of each of `channels`", low=1, high=MOST),
            Knob(
                "padding",
                str,
                "valid",
                "valid: none; same: zeros, so that with stride 1 sides stay the same (odd kernels only)",
                choices=("valid", "same"),
            ),
            Knob(
                "global_pool",
                bool,
                False,
                "the mean of each channel instead of all its pixels goes to the dense layers",
            ),
            ACTIVATION,
            DROPOUT,
            INPUT_DROPOUT,
            NORM,
            RESIDUAL,
            INITIALISATION,
        ),
    ),
    Activation("activation", "relu", "torch.nn:ReLU", "max(x, 0)", gain="relu"),
    Activation("activation", "leaky_relu", "torch.nn:LeakyReLU", "x, below 0 a hundredth of it", gain="leaky_relu"),
    Activation("activation", "tanh", "torch.nn:Tanh", "the hyperbolic tangent", gain="tanh"),
    Activation(
        "activation",
        "gelu",
        "torch.nn:GELU",
        "x times the normal distribution's share below x, exact form",
        gain="relu",
    ),
    Activation("activation", "silu", "torch.nn:SiLU", "x times sigmoid(x)", gain="relu"),
    Activation("activation", "elu", "torch.nn:ELU", "x, below 0 exp(x) - 1 (Clevert et al., 2016)"),
    Activation(
        "activation",
        "selu",
        "torch.nn:SELU",
        "elu, scaled to keep mean 0, variance 1 (Klambauer et al., 2017)",
        gain="selu",
    ),
    Activation("activation", "sigmoid", "torch.nn:Sigmoid", "1 / (1 + exp(-x))", gain="sigmoid"),
    Activation("activation", "softplus", "torch.nn:Softplus", "log(1 + exp(x))"),
    Activation("activation", "softsign", "torch.nn:Softsign", "x / (1 + |x|)"),
    Activation("activation", "mish", "torch.nn:Mish", "x times tanh(softplus(x)) (Misra, 2020)", gain="relu"),
    Activation(
        "activation",
        "hardswish",
        "torch.nn:Hardswish",
        "x times min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)",
        gain="relu",
    ),
    Activation("activation", "identity", "torch.nn:Identity", "x itself: the network is linear"),
    Part("initialisation", "default", "harness.parts.initialisation:default", "torch.nn's own, of weights and biases"),
    Part(
        "initialisation",
        "xavier_uniform",
        "harness.parts.initialisation:xavier_uniform",
        "by inputs and outputs (Glorot and Bengio, 2010)",
    ),
    Part(
        "initialisation",
        "xavier_normal",
        "harness.parts.initialisation:xavier_normal",
        "the same, normally distributed",
    ),
    Part(
        "initialisation",
        "kaiming_uniform",
        "harness.parts.initialisation:kaiming_uniform",
        "by inputs (He et al., 2015)",
    ),
    Part(
        "initialisation",
        "kaiming_normal",
        "harness.parts.initialisation:kaiming_normal",
        "the same, normally distributed",
    ),
    Part(
        "initialisation",
        "lecun_normal",
        "harness.parts.initialisation:lecun_normal",
        "by inputs, with gain 1 (LeCun et al., 1998)",
    ),
    Part(
        "initialisation",
        "orthogonal",
        "harness.parts.initialisation:orthogonal",
        "a random rotation (Saxe et al., 2014)",
    ),
    Part(
        "initialisation",
        "truncated_normal",
        "harness.parts.initialisation:truncated_normal",
        "deviation 0.02, cut at twice that, with gain 1 (Devlin et al., 2019)",
    ),
    Part(
        "optimizer",
        "sgd",
        "harness.training.optim:SGD",
        "stochastic gradient descent with momentum",
        knobs=(
            MOMENTUM,
            Knob("nesterov", bool, False, "of sgd: momentum looks ahead (Sutskever et al., 2013)"),
            Knob(
                "dampening",
                float,
                0.0,
                "of sgd: share of a gradient that momentum leaves out",
                low=0,
                high=1,
                in_stack="free",
            ),
        ),
        like="torch.optim:SGD",
    ),
    Part(
        "optimizer",
        "adam",
        "harness.training.optim:Adam",
        "Adam (Kingma and Ba, 2015)",
        knobs=(BETA1, BETA2, EPS, AMSGRAD),
        like="torch.optim:Adam",
    ),
    Part(
        "optimizer",
        "adamw",
        "harness.training.optim:AdamW",
        "Adam with decoupled weight decay (Loshchilov and Hutter, 2019)",
        knobs=(BETA1, BETA2, EPS, AMSGRAD),
        like="torch.optim:AdamW",
    ),
    Part(
        "optimizer",
        "rmsprop",
        "harness.training.optim:RMSprop",
        "RMSprop (Tieleman and Hinton, 2012), with momentum",
        knobs=(
            MOMENTUM,
            Knob(
                "alpha",
                float,
                None,
                "of rmsprop's mean of squares; if not said, as torch has it: 0.99",
                low=0,
                below=1,
                in_stack="free",
            ),
            EPS,
            Knob("centered", bool, False, "of rmsprop: squares are those of deviations from the mean gradient"),
        ),
        like="torch.optim:RMSprop",
    ),
    Part(
        "optimizer",
        "nadam",
        "harness.training.rules:NAdam",
        "Adam with Nesterov's momentum (Dozat, 2016)",
        knobs=(BETA1, BETA2, EPS),
        like="torch.optim:NAdam",
    ),
    Part(
        "optimizer",
        "radam",
        "harness.training.rules:RAdam",
        "Adam whose first steps are rectified (Liu et al., 2020)",
        knobs=(BETA1, BETA2, EPS),
        like="torch.optim:RAdam",
    ),
    Part(
        "optimizer",
        "adamax",
        "harness.training.rules:Adamax",
        "Adam by the largest gradient (Kingma and Ba, 2015)",
        knobs=(BETA1, BETA2, EPS),
        like="torch.optim:Adamax",
    ),
    Part(
        "optimizer",
        "adagrad",
        "harness.training.rules:Adagrad",
        "by the sum of squares (Duchi et al., 2011)",
        knobs=(EPS,),
        like="torch.optim:Adagrad",
    ),
    Part(
        "optimizer",
        "adadelta",
        "harness.training.rules:Adadelta",
        "Adadelta (Zeiler, 2012); torch's learning rate is 1",
        knobs=(
            Knob(
                "rho",
                float,
                None,
                "of adadelta's means of squares; if not said, as torch has it: 0.9",
                low=0,
                below=1,
                in_stack="free",
            ),
            EPS,
        ),
        like="torch.optim:Adadelta",
    ),
    Part(
        "optimizer",
        "lion",
        "harness.training.rules:Lion",
        "the sign of momentum, with decoupled weight decay (Chen et al., 2023)",
        knobs=(BETA1, BETA2),
    ),
    Part(
        "optimizer",
        "muon",
        "harness.training.muon:Muon",
        "momentum made orthogonal, of weights; all else by adamw (Jordan et al., 2024)",
        knobs=(
            Knob("muon_momentum", float, 0.95, "of muon, Nesterov's", low=0, below=1, in_stack="free"),
            Knob("adamw_lr", float, 3e-4, "learning rate of what muon leaves to adamw", above=0, in_stack="free"),
            BETA1,
            BETA2,
            EPS,
        ),
        like="torch.optim:Muon",
    ),
    Part("schedule", "constant", "harness.training.schedule:constant", "the learning rate stays as it is"),
    Part(
        "schedule",
        "step",
        "harness.training.schedule:step",
        "falls by a factor at equal distances",
        knobs=(
            LR_DECAY,
            Knob("step_every", int, 10, "epochs between the falls of schedule step", low=1, high=MOST, in_stack="free"),
        ),
        like="torch.optim.lr_scheduler:StepLR",
    ),
    Part(
        "schedule",
        "multistep",
        "harness.training.schedule:multistep",
        "falls by a factor at some epochs",
        knobs=(
            LR_DECAY,
            Knob(
                "milestones",
                tuple,
                (),
                "epochs behind the warm-up after which schedule multistep falls",
                low=1,
                high=MOST,
                in_stack="free",
            ),
        ),
        like="torch.optim.lr_scheduler:MultiStepLR",
    ),
    Part(
        "schedule",
        "exponential",
        "harness.training.schedule:exponential",
        "falls by a factor an epoch",
        knobs=(LR_DECAY,),
        like="torch.optim.lr_scheduler:ExponentialLR",
    ),
    Part(
        "schedule",
        "cosine",
        "harness.training.schedule:cosine",
        "falls along half a cosine (Loshchilov and Hutter, 2017)",
        knobs=(FINAL_LR_SHARE,),
        like="torch.optim.lr_scheduler:CosineAnnealingLR",
    ),
    Part(
        "schedule",
        "cosine_restarts",
        "harness.training.schedule:cosine_restarts",
        "the same, time and again",
        knobs=(
            FINAL_LR_SHARE,
            Knob(
                "restart_every",
                int,
                10,
                "epochs before the first restart of schedule cosine_restarts",
                low=1,
                high=MOST,
                in_stack="free",
            ),
            Knob(
                "restart_growth",
                int,
                1,
                "how many times as long each further one takes",
                low=1,
                high=100,
                in_stack="free",
            ),
        ),
        like="torch.optim.lr_scheduler:CosineAnnealingWarmRestarts",
    ),
    Part(
        "schedule",
        "linear",
        "harness.training.schedule:linear",
        "falls in a straight line",
        knobs=(FINAL_LR_SHARE,),
        like="torch.optim.lr_scheduler:LinearLR",
    ),
    Part(
        "schedule",
        "onecycle",
        "harness.training.schedule:onecycle",
        "rises to the learning rate and falls again, along cosines (Smith and Topin, 2018)",
        knobs=(
            FINAL_LR_SHARE,
            Knob(
                "initial_lr_share",
                float,
                0.04,
                "share of the learning rate at the beginning of schedule onecycle",
                above=0,
                high=1,
                in_stack="free",
            ),
            Knob(
                "peak_at",
                float,
                0.3,
                "share of the training after which schedule onecycle is at its highest",
                above=0,
                below=1,
                in_stack="free",
            ),
        ),
        like="torch.optim.lr_scheduler:OneCycleLR",
    ),
    Part(
        "schedule",
        "inverse_sqrt",
        "harness.training.schedule:inverse_sqrt",
        "1 / sqrt(1 + epochs / timescale) (Vaswani et al., 2017)",
        knobs=(
            Knob(
                "timescale",
                float,
                1.0,
                "epochs, of schedule inverse_sqrt; as much as the warm-up is the published form",
                above=0,
                in_stack="free",
            ),
        ),
    ),
    Part(
        "schedule",
        "inverse_scaling",
        "harness.training.schedule:inverse_scaling",
        "1 / t ** lr_power, t = 1, 2, ... (scikit-learn's invscaling)",
        knobs=(Knob("lr_power", float, 0.5, "exponent of schedule inverse_scaling", low=0, high=10, in_stack="free"),),
    ),
    Task(
        "task",
        "classification",
        "harness.parts.tasks:Classification",
        "one of several classes, by cross-entropy",
        metric="accuracy",
        running=("loss", "accuracy"),
        stratified=True,
        losses=("cross_entropy",),
    ),
    Task(
        "task",
        "regression",
        "harness.parts.tasks:Regression",
        "numbers, learned as standard scores and reported in their own unit",
        metric="rmse",
        running=("loss",),
        loss_unit=SCORES,
        losses=("mse", "mae", "huber"),
    ),
    Measure(
        "measure",
        "loss",
        "harness.parts.measures:Loss",
        "mean cross-entropy (log loss); of a regression the mean loss of standard scores",
        tasks=("classification", "regression"),
        unit=NATS,
        better="lower",
    ),
    Measure(
        "measure", "accuracy", "harness.parts.measures:Accuracy", "share of images put into their class", binomial=True
    ),
    Measure(
        "measure",
        "macro_f1",
        "harness.parts.measures:MacroF1",
        "mean over classes of F1 (harmonic mean of precision and recall)",
        label="macro-F1",
    ),
    Measure(
        "measure", "balanced_accuracy", "harness.parts.measures:BalancedAccuracy", "mean over classes of the recall"
    ),
    Measure(
        "measure",
        "top5",
        "harness.parts.measures:Top5",
        "share of images whose class is among the five most probable ones",
        label="top-5 accuracy",
        binomial=True,
    ),
    Measure(
        "measure",
        "ece",
        "harness.parts.measures:ExpectedCalibrationError",
        "expected calibration error, 15 bins of equal width (Guo et al., 2017)",
        better="lower",
        label="calibration error",
    ),
    Measure(
        "measure",
        "auc",
        "harness.parts.measures:AreaUnderCurve",
        "area under the ROC curve; of more than two classes the mean of each against the rest",
        label="AUC",
    ),
    Measure(
        "measure",
        "rmse",
        "harness.parts.measures:RootMeanSquaredError",
        "root of the mean squared error, in the target's unit",
        tasks=("regression",),
        unit=TARGET,
        better="lower",
        label="RMSE",
    ),
    Measure(
        "measure",
        "mae",
        "harness.parts.measures:MeanAbsoluteError",
        "mean absolute error, in the target's unit",
        tasks=("regression",),
        unit=TARGET,
        better="lower",
        label="MAE",
    ),
    Measure(
        "measure",
        "median_absolute_error",
        "harness.parts.measures:MedianAbsoluteError",
        "median absolute error, in the target's unit",
        tasks=("regression",),
        unit=TARGET,
        better="lower",
    ),
    Measure(
        "measure",
        "r2",
        "harness.parts.measures:Determination",
        "coefficient of determination: 1 is perfect, 0 as good as the mean",
        tasks=("regression",),
        unit=RATIO,
        label="R2",
    ),
    Part("tracker", "mlflow", "harness.tracking.mlflow.store:MlflowStore", "MLflow, where MLFLOW_TRACKING_URI says"),
    Part("sampler", "tpe", "harness.journal.sampling:tpe", "tree-structured Parzen estimators, multivariate"),
    Part("sampler", "gp", "harness.journal.sampling:gp", "Gaussian processes"),
    Part("sampler", "random", "harness.journal.sampling:random", "independent draws"),
    Part("sampler", "qmc", "harness.journal.sampling:qmc", "a scrambled Sobol sequence (Owen, 1998)"),
    Part("sampler", "grid", "harness.journal.sampling:grid", "every point of a grid, in a random order"),
    Part("pruner", "median", "optuna.pruners:MedianPruner", "stops what is worse than the median at that epoch"),
    Part("pruner", "hyperband", "optuna.pruners:HyperbandPruner", "successive halving in brackets (Li et al., 2018)"),
    Part("pruner", "wilcoxon", "optuna.pruners:WilcoxonPruner", "stops what a signed-rank test finds worse"),
    Part("pruner", "none", "optuna.pruners:NopPruner", "stops nothing"),
    Part("crew", "local", "harness.crews.local:Local", "this process: one stack, or several side by side"),
    Part("crew", "ray", "harness.crews.ray:Cluster", "Ray's processes, here or on a cluster (--workers, --ray)"),
)
"""Every part, once."""

KINDS = tuple(dict.fromkeys(part.kind for part in PARTS))


@dataclass(frozen=True)
class Figure:
    """A number of a run by its name, as `test_accuracy`: on which images it was measured, by what, in which unit."""

    name: str
    unit: Unit
    words: str  # as people read it
    measure: str = ""  # empty where it is no measure's


IMAGES = ("train", "val", "test", "untrained")
"""What a measure is taken on; `untrained` is that of the initial weights on the test images."""

OTHER_FIGURES = {
    figure.name: figure
    for figure in (
        Figure("running_train_loss", NATS, "running train loss", "loss"),
        Figure("best_epoch", EPOCHS, "best epoch"),
        Figure("epochs", EPOCHS, "epochs"),
        Figure("seconds", SECONDS, "seconds"),
        Figure("parameters", COUNT, "parameters"),
        Figure("learning_rate", RATE, "learning rate"),
    )
}
"""What is known of a run besides its measures."""


@cache
def _parts(kind: str) -> dict[str, Part]:
    if kind not in KINDS:
        raise one_of(kind, KINDS)
    return {part.name: part for part in PARTS if part.kind == kind}


def names(kind: str) -> tuple[str, ...]:
    """The names of the parts of a kind, in the catalogue's order. Raises UserError for a kind that there is not."""
    return tuple(_parts(kind))


def part(kind: str, name: str) -> Part:
    """The part of that name. Raises UserError, which names the nearest, if there is none."""
    try:
        return _parts(kind)[name]
    except KeyError:
        raise one_of(name, names(kind)) from None


def task(name: str = "classification") -> Task:
    """The task of that name."""
    found = part("task", name)
    assert isinstance(found, Task)
    return found


def measure(name: str) -> Measure:
    """The measure of that name. Raises UserError if there is none."""
    found = part("measure", name)
    assert isinstance(found, Measure)
    return found


@cache
def load(where: str) -> Any:
    """What "module:name" is, imported now."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def built_by(kind: str, name: str) -> Any:
    """What builds the part of that name, imported now."""
    return load(part(kind, name).build)


def _knobs(own: OwnModel | None) -> Iterator[Knob]:
    yield from GENERAL
    for model in (own,) if own else _parts("model").values():
        yield from model.knobs
    yield from training_knobs()


def training_knobs() -> Iterator[Knob]:
    """The knobs of training, of all optimizers and of all schedules: those of any model."""
    yield from TRAINING
    for one in (*_parts("optimizer").values(), *_parts("schedule").values()):
        yield from one.knobs


@cache
def knobs(own: OwnModel | None = None) -> dict[str, Knob]:
    """Every knob by its name: those of the study, of all models (or of one that a user wrote), of training, of all
    optimizers and schedules.
    """
    return {knob.name: knob for knob in _knobs(own)}


def knob(name: str, own: OwnModel | None = None) -> Knob:
    """The knob of that name. Raises UserError, which names the nearest, if there is none."""
    known = knobs(own)
    if name not in known:
        raise UserError(f"{name}: unknown hyperparameter{nearest(name, tuple(known))}")
    return known[name]


@cache
def hyperparameters(own: OwnModel | None = None) -> tuple[str, ...]:
    """The names of what [compare], [tune] and [fixed] may hold: every knob but what a study names at its top."""
    return tuple(name for name in knobs(own) if name not in {knob.name for knob in GENERAL})


def owners(name: str, kind: str) -> tuple[str, ...]:
    """The parts of a kind that a knob belongs to; empty where it belongs to none of them."""
    return tuple(one.name for one in _parts(kind).values() if name in {knob.name for knob in one.knobs})


@cache
def figure(name: str) -> Figure:
    """The figure of that name. Raises UserError if there is none."""
    if name in OTHER_FIGURES:
        return OTHER_FIGURES[name]
    images, _, what = name.partition("_")
    if images not in IMAGES or what not in names("measure"):
        raise UserError(f"{name}: unknown figure{nearest(name, figure_names())}")
    found = measure(what)
    return Figure(name, found.unit, f"{images} {found.words}", what)


@cache
def figure_names() -> tuple[str, ...]:
    """The names of all figures of all tasks' runs."""
    return (*(f"{images}_{name}" for images in IMAGES for name in names("measure")), *OTHER_FIGURES)


def rows(kind: str | None = None) -> list[dict[str, str]]:
    """The catalogue as a table: a row for each part, and one for each of its knobs below it.

    `kind` picks those of a kind, or with "training" the knobs of every training. Raises UserError for another word.
    """
    if kind not in (None, *KINDS, "training"):
        raise one_of(kind, (*KINDS, "training"))
    table = []
    for one in PARTS:
        if kind in (None, one.kind):
            table.append({"kind": one.kind, "part": one.name, **_row("", "", "", one.doc)})
            table += [{"kind": one.kind, "part": one.name, **knob_row(knob)} for knob in one.knobs]
    if kind in (None, "training"):
        table += [{"kind": "training", "part": "", **knob_row(knob)} for knob in TRAINING]
    return table


def knob_row(one: Knob) -> dict[str, str]:
    """A knob in words: its name, default, values and meaning."""
    return _row(one.name, "" if one.default is None else show(one.default), one.values(), one.doc)


def hyperparameter_table() -> str:
    """Every hyperparameter in a Markdown table: docs/recipes.md has it as it is, and a test keeps it so."""
    lines = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name in hyperparameters():
        one = knobs()[name]
        row = knob_row(one)
        owners_of = owners(name, "model")
        of = f" (model = {' or '.join(owners_of)})" if owners_of and set(owners_of) != set(names("model")) else ""
        lines.append(f"| `{name}` | {row['values']} | {row['default']} | {one.doc}{of} |")
    return "\n".join(lines)


def _row(knob: str, default: str, values: str, meaning: str) -> dict[str, str]:
    return {"knob": knob, "default": default, "values": values, "meaning": meaning}


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it has neighbours: true and false are numbers to Python alone."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_order(values: Iterable[object]) -> bool:
    """Whether values lie along an axis and lines may join them: all are numbers."""
    return all(map(is_number, values))


def show(value: object) -> str:
    """A value as people read it: 500-400 for a tuple, four digits for a float, true and false as in TOML."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
