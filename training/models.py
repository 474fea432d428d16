"""A classifier by name: normalisation → backbone → head.

`simple` lives here; `torchvision/NAME` and `timm/NAME` are the libraries' models without their classifier, imported
only when asked for. What the pixels are is `manifests.pixels`; checkpoints are `training.checkpoints`.
"""

import math
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract, Statistics
from manifests.recipe import Train, Transform
from training import freezing
from training.catalog import check
from training.folders import default_normalise
from training.weights import fetched, load_file, load_strictly, timm_address

AUXILIARY_WEIGHT = 0.4  # of an auxiliary output's loss: Szegedy et al., https://arxiv.org/abs/1512.00567
AUXILIARY_MAP = 17  # pixels of the map that Inception v3's auxiliary output is made for; at 299 it gets exactly that


class Normalise(nn.Module):
    """(B, H, W, C) as stored → (B, C, H, W) float32, channels last in memory, so that no pixel moves.

    uint8 in [0, 255] becomes (value / 255 - mean) / deviation; floats are stored normalised and only change type.

    On the CPU every call gives the same memory: it holds until the next call, and where a backward pass still needs
    what was there before, torch says so. Measured on two cores (AMD EPYC, batches of 32 at 224×224×3, µs an image):
    11.4, by two steps instead of addcmul 19.5, the conversion alone 10.8 (n = 25). By two steps and gathering included:
    44 in the same memory, 60 in fresh memory, 166 channel by channel (n = 12).
    """

    def __init__(self, name: str, statistics: Statistics, *, is_stored: bool) -> None:
        super().__init__()
        self.name = name
        self.statistics = statistics
        self.is_stored = is_stored
        mean, deviation = (torch.tensor(part, dtype=torch.float64).view(-1, 1, 1) for part in statistics)
        self.register_buffer("scale", (1 / (255 * deviation)).float(), persistent=False)
        self.register_buffer("shift", (-mean / deviation).float(), persistent=False)
        self._room = torch.empty(0)  # of the largest batch so far

    scale: Tensor
    shift: Tensor

    def forward(self, images: Tensor) -> Tensor:
        if self.is_stored:
            return images.permute(0, 3, 1, 2).float()
        lines = images.flatten(2)  # (B, H, W·C): channels in the innermost place would be three numbers at a time
        scale, shift = (part.flatten().repeat(images.shape[2]) for part in (self.scale, self.shift))
        if images.device.type != "cpu" or images.requires_grad or torch.compiler.is_compiling():
            values = torch.addcmul(shift, lines.float(), scale)
        else:
            values = self._same_memory(lines).copy_(lines)
            torch.addcmul(shift, values, scale, out=values)
        return values.view(images.shape).permute(0, 3, 1, 2)

    def _same_memory(self, lines: Tensor) -> Tensor:
        if self._room.numel() < lines.numel():
            with torch.inference_mode(False):  # what is made in that mode can be used in no other
                self._room = torch.empty(lines.numel())
        return self._room[: lines.numel()].view(lines.shape)


class Classifier(nn.Module):
    """Images (B, H, W, C) as stored in shards → logits (B, classes)."""

    head: nn.Sequential

    def __init__(
        self,
        normalise: Normalise,
        backbone: nn.Module,
        head: nn.Sequential,
        *,
        classes: tuple[str, ...],
        contract: PixelContract,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.head = head
        self.classes = classes
        self.contract = contract
        self.frozen: list[nn.Module] = []  # parts of the backbone that stay as they are

    @property
    def is_frozen(self) -> bool:
        """Whether nothing but the head learns."""
        return self.frozen[:1] == [self.backbone]

    @property
    def learning(self) -> int:
        """How many parameters learn."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def freeze(self, asked: str | int) -> "Classifier":
        """`backbone`, `none`, or a number of blocks: see `training.freezing`. UserError where there are not so many."""
        self.frozen = freezing.chosen(self.backbone, asked)
        freezing.hold(self.backbone, self.frozen)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":
        """What is frozen stays in eval mode: its statistics are frozen too."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """(B, H, W, C) → (B, features)."""
        return self._seen(images)[0]

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits, and while the backbone trains those of its auxiliary outputs, if it has any."""
        features, *auxiliary = self._seen(images)
        return self.head(features), *auxiliary

    def head_outputs(self, features: Tensor) -> tuple[Tensor]:
        """Logits of features that are known already: (B, features) → ((B, classes),)."""
        return (self.head(features),)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    def _seen(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.backbone(self.normalise(images))
        return (found,) if isinstance(found, Tensor) else tuple(found)


def normalise_name(settings: Train, contract: PixelContract) -> str:
    """What a run normalises by: its own choice for uint8 shards, what was stored for float shards."""
    if contract.dtype == "uint8":
        return settings.normalise or default_normalise(contract)
    if settings.normalise is not None:
        raise UserError(
            f"normalise = {settings.normalise!r}: the shards are {contract.dtype}, stored normalised by "
            f"{contract.normalise}; leave it out here, or use transform --normalise {settings.normalise}.",
            Exit.RECIPE,
        )
    return default_normalise(contract)


def build(
    settings: Train, *, classes: Iterable[str], contract: PixelContract, statistics: Statistics, load: bool = True
) -> Classifier:
    """The classifier that the settings ask for, in train mode, its memory channels last.

    `statistics` are the numbers of `normalise_name`. `load=False` leaves the weights random, for a checkpoint that
    brings its own. Draws from torch's global generator. Raises UserError for an unknown model, weights that do not fit
    it, and pixels that it cannot take.
    """
    classes = tuple(classes)
    channels = contract.shape[2]
    name = normalise_name(settings, contract)
    normalise = Normalise(name, statistics, is_stored=contract.dtype != "uint8")
    backbone = _backbone(settings, channels, load)
    if hasattr(backbone, "transform_input"):  # Inception and GoogLeNet learned from half: they turn imagenet into it
        setattr(backbone, "transform_input", settings.weights != "none" and channels == 3 and name == "imagenet")  # noqa: B010 # a module's attributes are tensors to the type checker
    _set_auxiliary(backbone, len(classes))
    features = _feature_count(normalise, backbone.eval(), contract, settings)
    head = _head(features, len(classes), settings)
    model = Classifier(normalise, backbone, head, classes=classes, contract=contract)
    if settings.unfreeze_after is not None:
        freezing.refuse_more(backbone, settings.freeze, settings.unfreeze_to)
    model.freeze(settings.freeze)
    return model.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue] # torch's stubs lack this form for modules


def try_on(settings: Train, pixels: Transform) -> None:
    """Raise UserError where the model cannot take such pixels, or has not so many blocks: before anything is made.

    Tried without memory or arithmetic (on torch's meta device) where the model allows it, else for real.
    """
    bare = settings.model_copy(update={"weights": "none", "normalise": None})
    height, width = pixels.size
    contract = PixelContract(
        height=height, width=width, resize=pixels.resize, interpolation=pixels.interpolation,
        channels=pixels.channels, dtype="uint8", decoder="none",
    )  # fmt: skip
    channels = contract.shape[2]
    plain = (0.0,) * channels, (1.0,) * channels
    made = partial(build, bare, classes=("one", "other"), contract=contract, statistics=plain, load=False)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                made()
        except Exception:  # not every model can be made of nothing; what is wrong is then said by a real one
            made()


def _backbone(settings: Train, channels: int, load: bool) -> nn.Module:
    check(settings if load else settings.model_copy(update={"weights": "none"}))
    library, _, name = settings.model.partition("/")
    if library == "simple":
        return _simple(settings, channels)
    return LIBRARIES[library](name, settings, channels, settings.weights if load else "none")


def _simple(settings: Train, channels: int) -> nn.Module:
    """Blocks of convolution, batch norm, ReLU and pooling, each halving the map; flat unless average is asked for:
    three small blocks see little of a picture, and where they see it says much."""
    layers: list[nn.Module] = []
    for width in settings.widths:
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1)] if settings.pool == "average" else []
    return nn.Sequential(*layers, nn.Flatten())


def _torchvision(name: str, settings: Train, channels: int, weights: str) -> nn.Module:
    from torchvision import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of Inception and GoogLeNet, about how they will be initialised
        net = models.get_model(name, weights=None)
    if weights == "default":
        best: Any = models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue] # each model's own enum has it
        tensors = fetched(partial(best.get_state_dict, progress=False, check_hash=True), settings, str(best.url))
        load_strictly(net, tensors, f"the library's weights of {settings.model}")
    elif weights != "none":
        load_file(net, weights, settings)
    if channels == 1:
        _sum_colours(net, settings)
    _cut_classifier(net, settings)
    return net


def _timm(name: str, settings: Train, channels: int, weights: str) -> nn.Module:
    import timm

    if weights in {"none", "default"}:
        create: Callable[[], Any] = partial(timm.create_model, name, pretrained=weights == "default", in_chans=channels)
        net: Any = create() if weights == "none" else fetched(create, settings, timm_address(name))
    else:
        net = timm.create_model(name)
        load_file(net, weights, settings)
        if channels == 1:
            _sum_colours(net, settings)
    try:
        net.reset_classifier(0, **({"global_pool": ""} if settings.pool == "flatten" else {}))
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise _pools_inside(settings) from error
    return nn.Sequential(net, nn.Flatten()) if settings.pool == "flatten" else net


LIBRARIES: dict[str, Callable[[str, Train, int, str], nn.Module]] = {"torchvision": _torchvision, "timm": _timm}


def _sum_colours(net: nn.Module, settings: Train) -> None:
    """One input channel: the first convolution summed over its colours gives what a grey picture in colour gave."""
    for first in net.modules():
        if isinstance(first, nn.Conv2d):
            if first.in_channels != 3 or first.groups != 1:
                break
            first.weight = nn.Parameter(first.weight.detach().sum(1, keepdim=True))
            first.in_channels = 1
            return
    raise UserError(f"model = {settings.model!r}: cannot take one channel; use transform --channels rgb.", Exit.RECIPE)


def _cut_classifier(net: nn.Module, settings: Train) -> None:
    """Take off a torchvision classifier, from its first linear layer or convolution on; dropout goes too."""
    name, last = list(net.named_children())[-1]
    layers = [last] if isinstance(last, nn.Linear) else list(last.children())
    first = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d))
    kept = [layer for layer in layers[:first] if not isinstance(layer, nn.Dropout)]
    pool = nn.Identity() if settings.pool == "flatten" else nn.AdaptiveAvgPool2d(1)
    if isinstance(getattr(net, "avgpool", None), nn.AdaptiveAvgPool2d):
        net.avgpool = pool
    elif any(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in layers[first:]):
        kept.append(pool)
    elif settings.pool == "flatten":
        raise _pools_inside(settings)
    setattr(net, name, nn.Sequential(*kept))
    for name, child in net.named_children():
        if isinstance(child, nn.Dropout):
            setattr(net, name, nn.Identity())


def _pools_inside(settings: Train) -> UserError:
    return UserError(
        f"model = {settings.model!r}: pools inside; pool = 'flatten' cannot be had, use average.", Exit.RECIPE
    )


def _set_auxiliary(net: nn.Module, classes: int) -> None:
    """Auxiliary classifiers of the library's thousand classes become ones of ours."""
    for name, auxiliary in list(net.named_children()):
        if name.lower().startswith("aux"):
            layer, last = [(n, m) for n, m in auxiliary.named_modules() if isinstance(m, nn.Linear)][-1]
            setattr(auxiliary, layer, nn.Linear(last.in_features, classes))
            if not hasattr(auxiliary, "fc2"):  # GoogLeNet's pool adaptively themselves; Inception's needs its 17 × 17
                setattr(net, name, nn.Sequential(nn.AdaptiveAvgPool2d(AUXILIARY_MAP), auxiliary))


def _feature_count(normalise: Normalise, backbone: nn.Module, contract: PixelContract, settings: Train) -> int:
    """Found by a dry pass of one black picture; in eval mode, so that no statistics move."""
    picture = torch.zeros((1, *contract.shape), dtype=getattr(torch, contract.dtype))
    place = f"model = {settings.model!r}"
    size = f"{contract.height}×{contract.width}"
    try:
        with torch.no_grad():
            features = backbone(normalise(picture))
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{place}: does not take pictures of {size} ({reason}); use transform --size.", Exit.RECIPE
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2 or not features.numel():
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"{place}: gives {found} instead of one row of features; it is no classifier.", Exit.RECIPE)
    return math.prod(features.shape)


def _head(features: int, classes: int, settings: Train) -> nn.Sequential:
    """Dropout, hidden layer and ReLU for each width, then the classes."""
    layers: list[nn.Module] = []
    for width in (*settings.head, classes):
        layers += [nn.Dropout(settings.dropout)] if settings.dropout else []
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True)]
        features = width
    return nn.Sequential(*layers[:-1])
