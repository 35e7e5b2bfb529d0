"""structlog without rich.

Where rich is installed, and here it is for the tables of some commands, structlog loads it for tracebacks that show the
values of variables, which ours never do: a hundred modules, 43 ms and 5 MiB in the web process, the monitor and the
supervisor each (`docs/performance.md`).
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import structlog
else:

    def _loaded_alone() -> Any:
        known = sys.modules.get("rich")
        sys.modules["rich"] = None  # whoever imports it now is told that it is not there
        try:
            return import_module("structlog")
        finally:
            if known is None:
                del sys.modules["rich"]
            else:
                sys.modules["rich"] = known

    structlog = _loaded_alone()

__all__ = ("structlog",)
