"""The door for WSGI servers: `gunicorn executor_agent.wsgi:application`."""

import os

from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries

from trading.utils.collector import load_in_peace

load_in_peace()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
_django = get_wsgi_application()

# Only now: what follows reads the settings.
from executor_agent.settings import TESTING, refused_start  # noqa: E402
from trading.bootstrap import build_courier, get_desk  # noqa: E402
from trading.conf import ConfigurationError  # noqa: E402
from trading.domain.errors import DeskError  # noqa: E402
from trading.engine import courier  # noqa: E402
from trading.events import end_streams_on_signals  # noqa: E402
from trading.middleware import WsgiDoor  # noqa: E402
from trading.utils.collector import spare_what_is_loaded  # noqa: E402


def open_desk() -> None:
    """Open the files and, live, show the venue the key, before the first caller comes; and carry alerts from here on.

    A key that is not the account's ends the process. Files that cannot be trusted do not: health has to say so.
    """
    try:
        carrier = build_courier(get_desk())
    except ConfigurationError as error:
        raise refused_start(error) from None
    except DeskError:
        return
    if carrier is not None:
        courier.start(carrier)


# No route has a connection to a database, and each request would look for some three times.
request_started.disconnect(reset_queries)
for signal in (request_started, request_finished):
    signal.disconnect(close_old_connections)
application = WsgiDoor(_django)
end_streams_on_signals()
if not TESTING:
    open_desk()
    spare_what_is_loaded()
