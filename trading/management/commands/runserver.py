"""Django's development server on the service's own port, loopback only unless another address is asked for."""

from django.conf import settings
from django.core.management.commands import runserver


class Command(runserver.Command):
    default_addr = "127.0.0.1"
    default_port = str(settings.DESK_CONFIG.executor_port)
