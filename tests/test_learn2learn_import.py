import importlib.util
import inspect
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from torch import nn

from metagnn.learn2learn_import import (
    INSTALL_COMMAND,
    AbsentSubpackage,
    import_learn2learn,
)

needs_learn2learn = pytest.mark.skipif(
    importlib.util.find_spec("learn2learn") is None, reason="learn2learn is not installed"
)


@pytest.fixture
def _learn2learn_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "learn2learn"]:
        monkeypatch.delitem(sys.modules, name)


def _find_spec_without(absent: str) -> object:
    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == absent else ModuleSpec(name, None)

    return find_spec


@needs_learn2learn
def test_first_order_meta_gradient_of_maml_on_a_linear_layer() -> None:
    l2l = import_learn2learn()
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 3.0)
    maml = l2l.algorithms.MAML(layer, lr=0.1, first_order=True)
    learner = maml.clone()
    x = torch.ones(1, 1)
    learner.adapt((learner(x) ** 2).sum())  # w' = w - 0.1 * 2 w = 0.8 w
    assert learner.module.weight.item() == pytest.approx(2.4)
    (learner(x) ** 2).sum().backward()  # first order: d/dw = 2 w'
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == pytest.approx(4.8)


@needs_learn2learn
def test_second_order_meta_gradient_of_maml_on_a_linear_layer() -> None:
    l2l = import_learn2learn()
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 3.0)
    learner = l2l.algorithms.MAML(layer, lr=0.1).clone()
    x = torch.ones(1, 1)
    learner.adapt((learner(x) ** 2).sum())
    (learner(x) ** 2).sum().backward()  # second order: 2 w' dw'/dw = 2 * 2.4 * 0.8
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == pytest.approx(3.84)


@needs_learn2learn
def test_clone_module_keeps_the_graph_to_the_original() -> None:
    l2l = import_learn2learn()
    layer = nn.Linear(2, 1)
    clone = l2l.clone_module(layer)
    assert clone.weight is not layer.weight
    clone(torch.tensor([[2.0, 5.0]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[2.0, 5.0]]


@needs_learn2learn
def test_a_fresh_interpreter_imports_it_without_any_warning() -> None:
    code = (
        "import warnings\n"
        "from metagnn.learn2learn_import import import_learn2learn\n"
        "warnings.simplefilter('error')\n"
        "l2l = import_learn2learn()\n"
        "assert import_learn2learn() is l2l and l2l.algorithms.MAML and l2l.clone_module\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_stand_in_names_the_absent_library() -> None:
    gym = AbsentSubpackage("learn2learn.gym", "gym")
    with pytest.raises(ImportError, match=r"`learn2learn\.gym\.MetaEnv` needs `gym`, which is not"):
        _ = gym.MetaEnv


def test_stand_in_does_not_disturb_inspection_of_loaded_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in = AbsentSubpackage("learn2learn.gym", "gym")
    monkeypatch.setitem(sys.modules, "learn2learn.gym", stand_in)
    assert not hasattr(stand_in, "__file__")
    assert inspect.getmodule(import_learn2learn) is sys.modules["metagnn.learn2learn_import"]


@pytest.mark.usefixtures("_learn2learn_not_loaded")
def test_missing_learn2learn_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", _find_spec_without("learn2learn"))
    with pytest.raises(ImportError, match="learn2learn is not installed") as caught:
        import_learn2learn()
    assert INSTALL_COMMAND in str(caught.value)
    assert "learn2learn.gym" not in sys.modules


@pytest.mark.usefixtures("_learn2learn_not_loaded")
def test_only_absent_libraries_get_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, ModuleType | None] = {}

    def import_module(name: str) -> ModuleType:
        seen.update({part: sys.modules.get(f"learn2learn.{part}") for part in ("gym", "vision")})
        return ModuleType(name)

    monkeypatch.setattr(importlib.util, "find_spec", _find_spec_without("gym"))
    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setitem(sys.modules, "learn2learn.gym", ModuleType("replaced by the call"))
    import_learn2learn()
    assert isinstance(seen["gym"], AbsentSubpackage)
    assert seen["vision"] is None


@pytest.mark.usefixtures("_learn2learn_not_loaded")
def test_missing_hard_dependency_is_named_and_leaves_no_stand_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def import_module(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'requests'", name="requests")

    monkeypatch.setattr(importlib.util, "find_spec", _find_spec_without("gym"))
    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ImportError, match="cannot be imported: No module named 'requests'"):
        import_learn2learn()
    assert "learn2learn.gym" not in sys.modules
