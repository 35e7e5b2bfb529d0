"""Writes everything in DATA_DIR, as it is at one instant, into one tar file, while the service runs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from trading.domain.errors import DeskError
from trading.utils.backup import write_backup


class Command(BaseCommand):
    help = "Write all of DATA_DIR into FILE (packed when its name ends in gz). The service may go on meanwhile."
    # It changes nothing there: a folder that cannot be written is read all the same.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the tar file to make; it must not exist")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            count = write_backup(settings.DESK_CONFIG.data_dir, file)
        except DeskError as error:
            # Its words say what is in the way, and the code what mostly is not: that the ledger could not be trusted.
            raise CommandError(error.detail) from error
        self.stdout.write(self.style.SUCCESS(f"{count} files are in {file} ({file.stat().st_size} bytes)"))
