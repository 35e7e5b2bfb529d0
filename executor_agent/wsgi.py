"""The door for WSGI servers: `gunicorn executor_agent.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
application = get_wsgi_application()
