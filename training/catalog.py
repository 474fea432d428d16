"""Which models there are, by name: asked before any work, so that a name nobody knows costs nothing."""

from pathlib import Path

from manifests.errors import Exit, UserError, known
from manifests.recipe import Train

FORMS = ("simple", "torchvision/NAME", "timm/NAME")


def check(settings: Train) -> None:
    """Raise UserError (exit 3) for a model that no library has, or weights that are not there. Loads that library."""
    library, _, name = settings.model.partition("/")
    if settings.model == "simple":
        if settings.weights != "none":
            raise UserError(f"weights = {settings.weights!r}: simple has no pretrained weights; use none.", Exit.RECIPE)
    elif library == "torchvision" and name:
        from torchvision import models

        names = models.list_models(module=models)
        if name not in names:
            _refuse(settings.model, "torchvision knows no such classifier", name, names)
    elif library == "timm" and name:
        import timm

        if not timm.is_model(name):
            _refuse(settings.model, "timm knows no such model", name, timm.list_models())
    else:
        _refuse(settings.model, "unknown", settings.model, list(FORMS))
    if settings.weights not in {"none", "default"} and not Path(settings.weights).is_file():
        raise UserError(
            f"weights = {settings.weights!r}: there is no such file. Known: none, default, or FILE.safetensors.",
            Exit.RECIPE,
        )


def _refuse(model: str, why: str, name: str, names: list[str]) -> None:
    raise UserError(f"model = {model!r}: {why}. {known(name, names)}", Exit.RECIPE)
