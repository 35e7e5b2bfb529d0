"""The Django project: settings, doors for servers, and the supervisor that runs the whole service."""

__version__ = "1.1.0"
