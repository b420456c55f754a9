"""From the names in a file to the names of the image model, every key accounted for.

``detect_layout`` recognises prefixes and versions; ``plan_image_load`` decides for each stored
tensor whether it is used, dropped on purpose or unexpected, and for each model tensor where it
comes from. No data is read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from . import huggingface, sam31
from .recipe import Recipe
from .tensor_info import TensorInfo

DETECTOR = "detector."
TRACKER = "tracker."
PREDICTOR = "inst_interactive_predictor."
PREDICTOR_MODEL = PREDICTOR + "model."
COMPUTED_SUFFIXES = (".freqs_cis", ".freqs_cis_real", ".freqs_cis_imag")
_WRAPPERS = ("module.", "_orig_mod.")  # data-parallel training, torch.compile
_INTERNAL = {"sam3_model.": DETECTOR, "sam2_predictor.": TRACKER}
_MASK_HEAD = "segmentation_head."  # models that only find boxes are built without it
_IMAGE_ROOTS = (
    "backbone.",
    "transformer.",
    "geometry_encoder.",
    _MASK_HEAD,
    "dot_prod_scoring.",
)


@dataclass(frozen=True)
class Layout:
    """The recognised naming scheme of a file.

    Attributes:
        kind: ``sam3``, ``huggingface``, ``huggingface-video`` or ``unknown``.
        version: ``"3.0"``, ``"3.1"`` or None (image-only file, or unknown).
        image: image-model names -> recipes (all of them, also of necks that may be dropped).
        tracker: names without ``tracker.`` -> stored names.
        unknown: stored names that fit nowhere.
        twice: image-model names that two stored tensors claim.
    """

    kind: str
    version: str | None
    image: dict[str, Recipe] = field(default_factory=dict)
    tracker: dict[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()

    @property
    def neck_levels(self) -> int:
        """Number of levels of the main neck (``convs.N``): 4 in 3.0, 3 in 3.1, 0 if none."""
        prefix = sam31.NECK + "convs."
        return len({n[len(prefix) :].split(".")[0] for n in self.image if n.startswith(prefix)})


@dataclass
class LoadPlan:
    """Where each tensor of a model comes from.

    Attributes:
        recipes: model name -> recipe.
        zeros: model names the file may lack; they become zeros.
        computed: model names of tables the model computes itself.
        missing: model names the file should have but has not.
        dropped: stored names left out on purpose.
        unexpected: stored names without a place.
    """

    recipes: dict[str, Recipe] = field(default_factory=dict)
    zeros: list[str] = field(default_factory=list)
    computed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def is_computed(name: str) -> bool:
    """Whether a model tensor is a table the model can compute itself (rotary embeddings)."""
    return name.endswith(COMPUTED_SUFFIXES)


def _without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Clean name -> stored name, without training wrappers that every name carries."""
    clean = {name: name for name in names}
    stripped = True
    while clean and stripped:
        stripped = False
        for wrapper in _WRAPPERS:
            if all(name.startswith(wrapper) for name in clean):
                clean = {name[len(wrapper) :]: stored for name, stored in clean.items()}
                stripped = True
    return clean


def detect_layout(infos: Mapping[str, TensorInfo]) -> Layout:
    """Recognise the naming scheme and version of a file from its names and shapes."""
    clean = _without_wrappers(infos)
    if huggingface.is_huggingface(clean):
        return _huggingface_layout(clean)
    version = sam31.file_version({name: infos[stored] for name, stored in clean.items()})
    prefixed = any(name.startswith((DETECTOR, *_INTERNAL)) for name in clean)
    image: dict[str, Recipe] = {}
    tracker: dict[str, str] = {}
    unknown: list[str] = []
    twice: list[str] = []
    for name, stored in clean.items():
        for internal, public in _INTERNAL.items():
            if name.startswith(internal):
                name = public + name[len(internal) :]
        target = name.removeprefix(DETECTOR)
        if name.startswith(TRACKER):
            tracker[name[len(TRACKER) :]] = stored
        elif name.startswith(PREDICTOR_MODEL):
            tracker[name[len(PREDICTOR_MODEL) :]] = stored
        elif target.startswith(_IMAGE_ROOTS) and (not prefixed or name.startswith(DETECTOR)):
            if target in image:
                twice.append(target)
            image[target] = Recipe((stored,))
        else:
            unknown.append(stored)
    kind = "sam3" if image or tracker else "unknown"
    return Layout(kind, version, image, tracker, tuple(unknown), tuple(twice))


def _huggingface_layout(clean: Mapping[str, str]) -> Layout:
    video = huggingface.IMAGE_PREFIX + huggingface.MARKER in clean
    tracker = {}
    names: dict[str, str] = {}
    unknown: list[str] = []
    for name, stored in clean.items():
        if video and name.startswith(huggingface.OTHER_PREFIXES):
            tracker[name] = stored
        elif video and not name.startswith(huggingface.IMAGE_PREFIX):
            unknown.append(stored)
        else:
            names[name.removeprefix(huggingface.IMAGE_PREFIX)] = stored
    recipes, foreign = huggingface.recipes_from_huggingface(names)
    unknown += [names[name] for name in foreign]
    image = {
        target: Recipe(tuple(names[source] for source in recipe.sources), recipe.operation)
        for target, recipe in recipes.items()
    }
    kind = "huggingface-video" if video else "huggingface"
    return Layout(kind, "3.0", image, tracker, tuple(unknown))


def plan_image_load(layout: Layout, expected: Mapping[str, TensorInfo]) -> LoadPlan:
    """Match a file's layout with the tensors an image model expects.

    Args:
        layout: what ``detect_layout`` found.
        expected: the model's ``state_dict`` names with shapes.
    """
    plan = LoadPlan(unexpected=list(layout.unknown))
    offers = dict(layout.image)
    has_masks = any(name.startswith(_MASK_HEAD) for name in expected)
    for name, recipe in layout.image.items():
        if name in expected:
            continue
        if sam31.is_sibling_neck(name):
            renamed = sam31.interactive_name(name)
            if renamed is not None and renamed in expected:
                offers[renamed] = recipe
            else:
                plan.dropped += recipe.sources
        elif is_computed(name) or (name.startswith(_MASK_HEAD) and not has_masks):
            plan.dropped += recipe.sources
        else:
            plan.unexpected += recipe.sources
    _offer_tracker(layout, expected, offers, plan)
    for name in expected:
        if name in offers:
            plan.recipes[name] = offers[name]
        elif is_computed(name):
            plan.computed.append(name)
        elif _may_be_zero(name, layout):
            plan.zeros.append(name)
        else:
            plan.missing.append(name)
    return plan


def _offer_tracker(
    layout: Layout, expected: Mapping[str, TensorInfo], offers: dict[str, Recipe], plan: LoadPlan
) -> None:
    """Put tracker tensors under instance-predictor names; drop them if the model has none."""
    wanted = any(name.startswith(PREDICTOR_MODEL) for name in expected)
    for name, stored in layout.tracker.items():
        ours: str | None = name
        if layout.version == "3.1":
            ours = sam31.interactive_name(name)
        if wanted and ours is not None and PREDICTOR_MODEL + ours in expected:
            offers[PREDICTOR_MODEL + ours] = Recipe((stored,))
        elif wanted and ours is not None and layout.kind == "sam3" and not is_computed(name):
            plan.unexpected.append(stored)
        else:
            plan.dropped.append(stored)


def _may_be_zero(name: str, layout: Layout) -> bool:
    if layout.version == "3.1":
        return bool(sam31.may_be_absent([name]))
    # Sam3Model has no point prompts, so its files have no weights for them.
    return layout.kind.startswith("huggingface") and name.startswith(huggingface.POINT_PREFIX)
