"""The garbage collector, told what is here to stay."""

import gc

YOUNG_OBJECTS = 2_000
"""So many more than before are looked through: at the usual 700 a look fell into every trade. What waits for a look are
the circles that answers leave behind, 15 MiB of them with ten times as many."""


def spare_what_is_loaded() -> None:
    """Look never again through what this process has loaded: modules, settings, routes.

    A full collection goes through all of it and keeps every thread waiting meanwhile, 0.15 s and more where two cores
    are shared; an exit may be due in that time. To be called once, when everything is loaded.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
