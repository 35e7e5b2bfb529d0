"""Puts a backup in the place of DATA_DIR, after checking every line of it, and keeps what was there."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from trading.checks import DESK
from trading.domain.errors import DeskError
from trading.utils.backup import restore


class Command(BaseCommand):
    help = "Put what `backup` wrote into FILE back as DATA_DIR. Stop the service first. A newer ledger is not given up."
    requires_system_checks = (DESK,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--force", action="store_true", help="also over a ledger that is newer, another account's or unreadable"
        )

    def handle(self, *args: Any, file: Path, force: bool, **options: Any) -> None:
        data_dir = settings.DESK_CONFIG.data_dir
        try:
            report, kept = restore(file, data_dir, force=force)
        except DeskError as error:
            # Its words say what is in the way, and the code what mostly is not: that the ledger could not be trusted.
            raise CommandError(error.detail) from error
        for name, count in report.counts.items():
            self.stdout.write(f"{name.replace('_', ' '):>18}  {count}")
        for note in report.notes:
            self.stdout.write(f"note: {note}")
        if kept is not None:
            self.stdout.write(f"what was there before is in {kept}")
        self.stdout.write(self.style.SUCCESS(f"{data_dir} is as {file} had it"))
        self.stdout.write("It opens nothing: compare with the venue, then resume (`manage.py emergency_stop --resume`)")
