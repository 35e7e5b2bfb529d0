"""The door for WSGI servers: `gunicorn executor_agent.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
_django = get_wsgi_application()

# Only now: what follows reads the settings.
from trading.events import end_streams_on_signals  # noqa: E402
from trading.middleware import WsgiDoor  # noqa: E402

application = WsgiDoor(_django)
end_streams_on_signals()
