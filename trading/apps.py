"""The trading app's entry in Django's registry; starting it registers the checks and does nothing else."""

from importlib import import_module

from django.apps import AppConfig


class TradingConfig(AppConfig):
    name = "trading"
    verbose_name = "Executor Agent"

    def ready(self) -> None:
        import_module("trading.checks")
