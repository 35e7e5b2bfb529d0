"""The garbage collector, told what is here to stay."""

import gc


def spare_what_is_loaded() -> None:
    """Look never again through what this process has loaded: modules, settings, routes.

    A full collection goes through all of it and keeps every thread waiting meanwhile, 0.15 s and more where two cores
    are shared; an exit may be due in that time. To be called once, when everything is loaded.
    """
    gc.freeze()
