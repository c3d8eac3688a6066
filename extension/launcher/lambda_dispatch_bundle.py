"""The first module that runs in the bundle: where compiled modules are, and which command it is."""

import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, ExtensionFileLoader, FrozenImporter, ModuleSpec
from types import ModuleType

LIB = sys.prefix + "/lib/"


class SharedObjects:
    """Finds the modules that are files of the bundle: lib/NAME.so. Which there are, the build has written down."""

    names: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in cls.names:
            return None
        origin = f"{LIB}{name}.so"
        return ModuleSpec(name, ExtensionFileLoader(name, origin), origin=origin)


def main() -> int:
    from lambda_dispatch_bundle_files import NAMES  # type: ignore[import-not-found]  # written by tools/bundle.py

    SharedObjects.names = NAMES
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, SharedObjects]
    arguments = sys.argv[1:]
    if arguments[:1] != ["extension"]:
        sys.stderr.write("lambda-dispatch: this bundle has the commands extension and healthcheck\n")
        return 64
    from lambda_dispatch_extension.main import main

    code = main(arguments[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    return code
