#!/usr/bin/env python
"""The command line of the Executor Agent."""

import os
import sys

from django.core.management import execute_from_command_line

from trading.management.unread import quiet_end
from trading.utils.collector import load_in_peace


def main() -> None:
    load_in_peace()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
    with quiet_end():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
