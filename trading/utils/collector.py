"""The garbage collector, told what is here to stay."""

import gc

YOUNG_OBJECTS = 2_000
"""So many more than before are looked through: at the usual 700 a look fell into every trade. What waits for a look are
the circles that answers leave behind, 15 MiB of them with ten times as many."""

LOADING_OBJECTS = 20_000


def load_in_peace() -> None:
    """Look seldom while modules are loaded: they make a hundred thousand objects, and hardly one is to be thrown away.

    A fifteenth of the processor time of a start. To be called before anything is loaded.
    """
    gc.set_threshold(LOADING_OBJECTS, *gc.get_threshold()[1:])


def spare_what_is_loaded() -> None:
    """Look never again through what this process has loaded: modules, settings, routes.

    A full collection goes through all of it and keeps every thread waiting meanwhile, 0.15 s and more where two cores
    are shared; an exit may be due in that time. To be called once, when everything is loaded.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
