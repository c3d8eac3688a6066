"""The first module that runs in the bundle: where compiled modules are, and which command it is."""

import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, ExtensionFileLoader, FrozenImporter, ModuleSpec
from types import ModuleType

LIB = sys.prefix + "/lib/"


class Compiled:
    """Finds our modules, which are built in below packages, where Python 3.11.2 does not look for built-in ones, and
    those that are files of the bundle: lib/NAME.so. Which there are, the build has written down."""

    names: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in cls.names:
            return BuiltinImporter.find_spec(name)
        origin = f"{LIB}{name}.so"
        return ModuleSpec(name, ExtensionFileLoader(name, origin), origin=origin)


def main() -> int:
    from lambda_dispatch_bundle_files import NAMES  # type: ignore[import-not-found]  # written by tools/bundle.py

    Compiled.names = NAMES
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Compiled]
    arguments = sys.argv[1:]
    if arguments[:1] != ["extension"]:
        sys.stderr.write("lambda-dispatch: this bundle has the commands extension and healthcheck\n")
        return 64
    from lambda_dispatch_extension.main import main

    code = main(arguments[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    return code
