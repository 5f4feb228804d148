"""Imports learn2learn without the optional libraries that it asks for at import time."""

import importlib
import importlib.util
import sys
from types import ModuleType

INSTALL_COMMAND = "pip install --no-deps -C--build-option=build_ext learn2learn==0.2.0"

# Subpackage that `import learn2learn` always imports -> library that this subpackage needs.
OPTIONAL_LIBRARIES = {"learn2learn.gym": "gym", "learn2learn.vision": "torchvision"}


class AbsentSubpackage(ModuleType):
    """Stands in for a subpackage whose library is not installed.

    Args:
        name: Full name of the subpackage.
        library: The library that it needs.

    Raises:
        ImportError: When anything is taken from it. Names such as ``__file__`` raise
            AttributeError instead, because `inspect` asks every loaded module for them.
    """

    def __init__(self, name: str, library: str) -> None:
        super().__init__(name, f"Stand-in: `{name}` needs `{library}`, which is not installed.")
        self._library = library

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {attribute!r}")
        raise ImportError(
            f"`{self.__name__}.{attribute}` needs `{self._library}`, which is not installed",
            name=self._library,
        )


def import_learn2learn() -> ModuleType:
    """Return the module learn2learn, importing it at the first call.

    Its subpackages for reinforcement-learning environments and for vision are replaced by
    :class:`AbsentSubpackage` where their library is not installed; where it is, they are left
    alone. The algorithms and ``clone_module`` need neither.

    Raises:
        ImportError: If learn2learn is not installed, naming the command that installs it, or if
            a library that it cannot do without is missing, naming that library.
    """
    if "learn2learn" in sys.modules:
        return sys.modules["learn2learn"]
    if importlib.util.find_spec("learn2learn") is None:
        raise ImportError(
            f"learn2learn is not installed; install it with `{INSTALL_COMMAND}`",
            name="learn2learn",
        )
    stand_ins = {
        name: AbsentSubpackage(name, library)
        for name, library in OPTIONAL_LIBRARIES.items()
        if importlib.util.find_spec(library) is None
    }
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("learn2learn")
    except ImportError as error:
        for name in stand_ins:
            sys.modules.pop(name, None)
        raise ImportError(
            f"learn2learn is installed but cannot be imported: {error}", name=error.name
        ) from error
