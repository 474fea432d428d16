"""Which part of a backbone learns: none, all, or what comes after its first blocks.

Freezing means statistics too: a frozen block stays in eval mode, so that batch norm's running means do not move.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from manifests.errors import Exit, UserError

CONTAINERS = (nn.Sequential, nn.ModuleList)


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """The parts of a backbone that have parameters, from the picture to the features.

    Plain containers are opened, and so is a part that holds over half of all parameters, such as a transformer's
    encoder: so N blocks are N layers of a VGG, N residual blocks of a ResNet (and its stem's two), N layers of a ViT.
    Auxiliary classifiers are no part of the way.
    """
    return _opened(backbone, _size(backbone) / 2)


def _opened(module: nn.Module, large: float) -> list[nn.Module]:
    found: list[nn.Module] = []
    for name, child in module.named_children():
        if name.lower().startswith("aux") or not _size(child):
            continue
        opens = type(child) in CONTAINERS or (_size(child) > large and any(True for _ in child.children()))
        found += _opened(child, large) if opens else [child]
    return found


def chosen(backbone: nn.Module, asked: str | int) -> list[nn.Module]:
    """The modules that stay: all of the backbone, its first N blocks, or all but its last -N; UserError if too many."""
    if asked == "none":
        return []
    if asked == "backbone":
        return [backbone]
    there, count = blocks(backbone), int(asked)
    if not 0 < abs(count) < len(there):
        raise UserError(
            f"freeze = {asked}: the backbone has {len(there)} blocks; ask for 1 to {len(there) - 1}, "
            f"or -1 to -{len(there) - 1} for all but the last so many, or backbone for all of them.",
            Exit.RECIPE,
        )
    return there[:count]


def refuse_more(backbone: nn.Module, first: str | int, then: str | int) -> None:
    """Raise UserError where the second phase would freeze what learns in the first: it can only let more learn."""
    held = [{id(part) for module in chosen(backbone, asked) for part in module.parameters()} for asked in (first, then)]
    if not held[1] <= held[0]:
        raise UserError(
            f"unfreeze_to = {then}: would freeze what freeze = {first} lets learn; "
            "the second phase can only let more learn.",
            Exit.RECIPE,
        )


def hold(backbone: nn.Module, frozen: Sequence[nn.Module]) -> None:
    """Let learn what is not frozen. Parameters that belong to no block (a class token) are the first to be frozen."""
    backbone.requires_grad_(not frozen)
    if frozen and frozen[0] is not backbone:
        held = {id(part) for module in frozen for part in module.parameters()}
        inside = {id(part) for module in blocks(backbone) for part in module.parameters()}
        auxiliary = {
            id(part)
            for name, child in backbone.named_children()
            if name.lower().startswith("aux")
            for part in child.parameters()
        }
        for parameter in backbone.parameters():
            free = id(parameter) in inside and id(parameter) not in held
            parameter.requires_grad_(free or id(parameter) in auxiliary)


def statistics(frozen: Sequence[nn.Module]) -> list[Tensor]:
    """Copies of the buffers that must not move."""
    return [buffer.detach().clone() for module in frozen for buffer in module.buffers()]


def refuse_moved(frozen: Sequence[nn.Module], before: Sequence[Tensor]) -> None:
    """Raise UserError where a frozen part has changed its statistics: a model that does so in eval mode."""
    names = [name for module in frozen for name, _ in module.named_buffers()]
    for name, now, then in zip(names, statistics(frozen), before, strict=True):
        if not now.equal(then):
            raise UserError(
                f"freeze: {name} of the frozen part has changed during an epoch, though it was in eval mode; "
                "this model cannot be frozen, use freeze = none."
            )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
