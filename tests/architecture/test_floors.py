"""Imports go downwards only, and a few things that break users' machines stay out of the pack."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP_FLOOR = 8

# Longest matching prefix wins. "train" and "pipeline" share a floor and must not see each other.
FLOORS: dict[str, float] = {
    "sam3/__init__.py": 0,
    "sam3/config": 0,
    "sam3/errors.py": 0,
    "sam3/precision.py": 0,
    "sam3/perflib": 0,
    "sam3/assets": 0,
    "sam3/layers": 1,
    "sam3/model/__init__.py": 1,
    "sam3/model/box_ops.py": 1,
    "sam3/model/position_encoding.py": 1,
    "sam3/model/data_misc.py": 1,
    "sam3/model/act_ckpt_utils.py": 1,
    "sam3/model/edt.py": 1,
    "sam3/model/sam3_tracker_utils.py": 1,
    "sam3/model/frames.py": 1,
    "sam3/model/io_utils.py": 1,
    "sam3/model/video_frames": 1,
    "sam3/model/utils": 1,
    "sam3/model": 2,
    "sam3/sam": 2,
    "sam3/model/sam3_image.py": 3,
    "sam3/model/sam3_tracker_base.py": 3,
    "sam3/model/tracker": 3,
    "sam3/model/sam3_image_processor.py": 4,
    "sam3/model/sam1_task_predictor.py": 4,
    "sam3/model/sam3_tracking_predictor.py": 4,
    "sam3/model/sam3_image_multi_gpu.py": 3,
    "sam3/model/video": 4,
    "sam3/model/sam3_video_base.py": 4,
    "sam3/model/sam3_video_inference.py": 4,
    "sam3/model/sam3_video_predictor.py": 4,
    "sam3/checkpoint": 5,
    "sam3/model_builder.py": 5,
    "sam3/builders": 5,
    "sam3/eval": 5,
    "sam3/pipeline": 6,
    "sam3/train": 6,
    "sam3/cli": 7,
    "sam3/__main__.py": 7,
    "nodes": TOP_FLOOR,
    "AILab_SAM3Segment.py": TOP_FLOOR,
    "__init__.py": TOP_FLOOR,
}
# The only places that may spell the CUDA device: capability checks, and the published defaults of
# the builder and the trainer.
CUDA_ALLOWED = (
    "sam3/perflib",
    "sam3/precision.py",
    "sam3/model_builder.py",
    "sam3/train/loop/environment.py",
    "sam3/train/trainer.py",
)
FORBIDDEN_MODULES = {"subprocess", "pip", "cv2"}
COMFY_MODULES = {"comfy", "folder_paths", "comfy_api", "comfy_execution", "server", "nodes"}


def pack_files() -> list[Path]:
    """Every Python file that users run: the library, the nodes and the root modules."""
    folders = [ROOT / "sam3", ROOT / "nodes"]
    files = [p for folder in folders for p in folder.rglob("*.py")]
    return sorted(files + list(ROOT.glob("*.py")))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def floor_of(name: str) -> float:
    """Floor of a file given by its path from the root."""
    found = [k for k in FLOORS if name == k or name.startswith(k.removesuffix("/") + "/")]
    assert found, f"{name} stands on no floor: add it to FLOORS in {Path(__file__).name}"
    return FLOORS[max(found, key=len)]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def type_checking_nodes(tree: ast.Module) -> set[ast.AST]:
    """Nodes below ``if TYPE_CHECKING:``; they never run."""
    hidden: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                hidden.update(ast.walk(child))
    return hidden


def module_file(parts: list[str]) -> str | None:
    """Path from the root of the module with these name parts, if it is one of ours."""
    base = ROOT.joinpath(*parts)
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if parts and candidate.exists():
            return relative(candidate)
    return None


def internal_imports(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, file) for every relative import in ``path`` that resolves inside the pack."""
    package = list(path.relative_to(ROOT).parts[:-1])
    skip = type_checking_nodes(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or node in skip:
            continue
        keep = len(package) - (node.level - 1)
        assert keep >= 0, f"{relative(path)}:{node.lineno} imports from above the pack"
        base = package[:keep] + (node.module.split(".") if node.module else [])
        for alias in node.names:
            target = module_file([*base, alias.name]) or module_file(base)
            assert target, f"{relative(path)}:{node.lineno}: no module for {alias.name}"
            yield node.lineno, target


FILES = pack_files()
IDS = [relative(p) for p in FILES]


def per_file(check: Callable[[Path], None]) -> Callable[[], None]:
    """One test that runs ``check`` on every file and lists everything that is wrong."""

    def test() -> None:
        problems = []
        for path in FILES:
            try:
                check(path)
            except AssertionError as error:
                problems.append(str(error))
        assert not problems, "\n".join(problems)

    test.__name__, test.__doc__ = check.__name__, check.__doc__
    return test


def test_the_scan_sees_the_library() -> None:
    assert {"sam3/__init__.py", "sam3/errors.py"} <= set(IDS)


@per_file
def test_imports_go_downwards(path: Path) -> None:
    name = relative(path)
    own = floor_of(name)
    wrong = []
    for line, target in internal_imports(path, tree_of(path)):
        below = floor_of(target)
        crossing = own == below == 6 and name.split("/")[1] != target.split("/")[1]
        if below > own or crossing:
            wrong.append(f"{name}:{line} (floor {own}) imports {target} (floor {below})")
    assert not wrong, "\n".join(wrong)


@per_file
def test_imports_are_relative_and_host_free(path: Path) -> None:
    """No absolute ``sam3`` import, no ComfyUI below the nodes, no forbidden module anywhere."""
    name, tree = relative(path), tree_of(path)
    is_library = name.startswith("sam3/")
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        else:
            continue
        for module in modules:
            top = module.split(".")[0]
            if top == "sam3":
                wrong.append(f"{name}:{node.lineno} imports {module} absolutely")
            if is_library and top in COMFY_MODULES:
                wrong.append(f"{name}:{node.lineno} imports the host's {module}")
            if module in FORBIDDEN_MODULES or top in FORBIDDEN_MODULES:
                wrong.append(f"{name}:{node.lineno} imports {module}")
    assert not wrong, "\n".join(wrong)


def module_level_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run at import, also those inside if/try/with/class bodies."""
    queue: list[ast.stmt] = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            queue.extend(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            queue.extend(handler.body)


@per_file
def test_triton_is_never_imported_at_module_level(path: Path) -> None:
    tree = tree_of(path)
    skip = type_checking_nodes(tree)
    for node in module_level_statements(tree):
        if node in skip:
            continue
        modules = []
        if isinstance(node, ast.Import):
            modules = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        bad = [m for m in modules if m.split(".")[0] == "triton"]
        assert not bad, f"{relative(path)}:{node.lineno} imports {bad[0]} at module level"


def docstrings(tree: ast.Module) -> set[ast.AST]:
    """Every string that stands alone as a statement."""
    alone = (n for n in ast.walk(tree) if isinstance(n, ast.Expr))
    return {n.value for n in alone if isinstance(n.value, ast.Constant)}


@per_file
def test_cuda_is_spelled_only_in_capability_checks(path: Path) -> None:
    """``"cuda"`` as a value picks a device for the user; comparing ``device.type`` does not."""
    name, tree = relative(path), tree_of(path)
    if name.startswith(CUDA_ALLOWED):
        return
    allowed = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            allowed.update(ast.walk(node))
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in allowed:
            if node.value == "cuda" or node.value.startswith("cuda:"):
                wrong.append(f"{name}:{node.lineno} spells {node.value!r}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "cuda":
                wrong.append(f"{name}:{node.lineno} calls .cuda()")
    assert not wrong, "\n".join(wrong)


@per_file
def test_of_pickle_only_the_error_is_used(path: Path) -> None:
    """A pickle can run code; files are read with ``torch.load(weights_only=True)`` alone."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "dill", "cloudpickle"):
            used = {a.name for a in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            used = {node.attr}
        else:
            continue
        assert used == {"UnpicklingError"}, f"{relative(path)}:{node.lineno} uses pickle"


def call_name(node: ast.Call) -> str:
    return ast.unparse(node.func)


@per_file
def test_no_unsafe_or_noisy_calls(path: Path) -> None:
    """No print, eval, exec, shell; ``torch.load`` only with ``weights_only=True``."""
    name = relative(path)
    wrong = []
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        called = call_name(node)
        if called in {
            "print",
            "eval",
            "exec",
            "os.system",
            "os.popen",
            "__import__",
        } or called.endswith("spec_from_file_location"):
            wrong.append(f"{name}:{node.lineno} calls {called}")
        if called == "torch.load":
            safe = [
                k
                for k in node.keywords
                if k.arg == "weights_only"
                and isinstance(k.value, ast.Constant)
                and k.value.value is True
            ]
            if not safe:
                wrong.append(f"{name}:{node.lineno} torch.load without weights_only=True")
    assert not wrong, "\n".join(wrong)


@per_file
def test_sys_path_is_left_alone(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        touches = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
        assert not touches, f"{relative(path)}:{node.lineno} touches sys.path"
