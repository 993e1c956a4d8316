"""The house rules that can be counted: sizes, parameters, exceptions, unsafe calls, words that do not belong in a repository."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fourfold"
LINES_OF_A_FUNCTION, PARAMETERS, LINES_OF_A_FILE = 100, 8, 400

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
FORBIDDEN_NAMES = {"eval", "exec", "compile"}
FORBIDDEN_ATTRIBUTES = {("torch", "load"), ("torch", "save")}


def _python(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def functions_too_big(tree: ast.AST) -> Iterator[str]:
    """What of a file breaks the limits of a function."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        names = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] if a.arg not in ("self", "cls", "ctx")]
        if lines > LINES_OF_A_FUNCTION:
            yield f"{node.lineno}: {node.name} has {lines} lines, at most {LINES_OF_A_FUNCTION}"
        if len(names) > PARAMETERS and not any(
            ast.unparse(decorator) == "triton.jit" for decorator in node.decorator_list
        ):  # a GPU takes no dataclass
            yield f"{node.lineno}: {node.name} has {len(names)} parameters, at most {PARAMETERS}"


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Bare excepts, and whatever can run code out of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{node.lineno}: bare except"
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] in FORBIDDEN_MODULES for alias in node.names):
            yield f"{node.lineno}: imports {node.names[0].name}"
        names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES and names != {"UnpicklingError"}:
            yield f"{node.lineno}: imports {node.module}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not (isinstance(node.value, ast.Constant) and node.value.value is False):
            yield f"{node.value.lineno}: allow_pickle is not False"
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in FORBIDDEN_NAMES:
                yield f"{node.lineno}: calls {function.id}"
            if (
                isinstance(function, ast.Attribute)
                and isinstance(function.value, ast.Name)
                and (function.value.id, function.attr) in FORBIDDEN_ATTRIBUTES
                and not _tensors_only(node)
            ):
                yield f"{node.lineno}: calls {function.value.id}.{function.attr}"


def _tensors_only(call: ast.Call) -> bool:
    """`torch.load(..., weights_only=True)` runs nothing."""
    return any(k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords)


@pytest.mark.parametrize("rule", [functions_too_big, unsafe_calls])
def test_source_keeps(rule):
    wrong = [f"{path.relative_to(ROOT)}:{line}" for path in _python(SOURCE) for line in rule(ast.parse(path.read_text(encoding="utf-8")))]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_longer_than_one_idea():
    files = [*_python(SOURCE), *_python(ROOT / "tests"), *_python(ROOT / "benchmarks"), *SOURCE.rglob("*.cpp"), *SOURCE.rglob("*.h")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {name: length for name, length in lengths.items() if length > LINES_OF_A_FILE}


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("def f(a, b, c, d, e, f, g, h, i): pass", functions_too_big),
        ("def f():\n" + "    pass\n" * 100, functions_too_big),
        ("try:\n    pass\nexcept:\n    pass", unsafe_calls),
        ("from pickle import loads", unsafe_calls),
        ("np.load(f, allow_pickle=yes)", unsafe_calls),
        ("torch.load(f)", unsafe_calls),
        ("torch.load(f, weights_only=False)", unsafe_calls),
        ("eval(text)", unsafe_calls),
    ],
)
def test_the_rules_can_refuse(code, rule):
    assert list(rule(ast.parse(code)))


def _kept_files() -> list[Path]:
    """The files of the repository: those git knows, or all of them where there is no git."""
    try:
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        files = [ROOT / name for name in names if name]
    except (OSError, subprocess.CalledProcessError):
        skip = {".git", ".venv", "build", "out", "lib", "__pycache__"}
        files = [path for path in ROOT.rglob("*") if not skip & set(path.relative_to(ROOT).parts)]
    return [path for path in files if path.is_file() and path.suffix not in (".png", ".jpg", ".npz", ".mp4", ".safetensors")]


def test_nothing_of_somebodys_machine_is_kept():
    folders = "|".join(("work", "root", "home", "Users", "mnt"))
    words = "|".join(("clau" + "de", "anth" + "ropic", "chat" + "gpt", "as an a" + "i", "language mo" + "del", "this ses" + "sion", "sub" + "agent"))
    pattern = re.compile(rf"(?<![\w.$}}*)>-])/({folders})/|\b({words})\b", re.IGNORECASE)
    wrong: list[str] = []
    for path in _kept_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if pattern.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not wrong, "\n".join(wrong)
