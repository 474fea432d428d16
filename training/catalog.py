"""Which models there are, by name: asked before any work, so that a name nobody knows costs nothing."""

from pathlib import Path

from manifests.errors import Exit, UserError, known
from manifests.recipe import Train


def check(settings: Train, place: str = "") -> None:
    """Raise UserError (exit 3) for a model that no library has, or weights that are not there. Loads that library.

    `place` leads the message: which run of a recipe is meant.
    """
    library, _, name = settings.model.partition("/")
    if settings.model == "simple":
        if settings.weights != "none":
            raise UserError(
                f"{place}weights = {settings.weights!r}: simple has no pretrained weights; use none.", Exit.RECIPE
            )
    elif library == "torchvision":
        from torchvision import models

        names = models.list_models(module=models)
        if name not in names:
            _refuse(place, settings.model, "torchvision knows no such classifier", name, names)
    else:
        import timm

        if not timm.is_model(name):
            _refuse(place, settings.model, "timm knows no such model", name, timm.list_models())
    if settings.weights not in {"none", "default"} and not Path(settings.weights).is_file():
        raise UserError(
            f"{place}weights = {settings.weights!r}: there is no such file. "
            "Known: none, default, or FILE (.safetensors, .pth).",
            Exit.RECIPE,
        )


def _refuse(place: str, model: str, why: str, name: str, names: list[str]) -> None:
    raise UserError(f"{place}model = {model!r}: {why}. {known(name, names)}", Exit.RECIPE)
