"""Reads every file in DATA_DIR, folds every journal and says where something is wrong."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from trading.domain.errors import DeskError
from trading.utils.inspection import verify


class Command(BaseCommand):
    help = "Check every line, fold every trade, compare book, ledger, archive and index. Changes nothing."
    # It changes nothing there: a folder that cannot be written is read all the same.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = verify(settings.DESK_CONFIG.data_dir)
        except DeskError as error:
            raise CommandError(f"{error.code}: {error.detail}") from error
        for name, count in report.counts.items():
            self.stdout.write(f"{name.replace('_', ' '):>18}  {count}")
        for note in report.notes:
            self.stdout.write(f"note: {note}")
        if report.problems:
            raise CommandError("the ledger is not well:\n  " + "\n  ".join(report.problems))
        if report.counts:
            self.stdout.write(self.style.SUCCESS("the ledger is well"))
