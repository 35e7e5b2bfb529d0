"""The whole service with one command: a Redis if none is there, and web process and monitor under one supervisor."""

import http.client
import os
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from executor_agent.redis_server import RunningRedis, start_redis
from executor_agent.supervisor import Program, Supervisor
from trading.checks import DESK
from trading.conf import SECRETS, Config
from trading.management.beside import say

HOST = "127.0.0.1"
THREADS = 16
# One worker keeps locks and caches of the process true; threads are what scales. A stop must fit into ten seconds.
GUNICORN_OPTIONS = (
    *("--worker-class", "executor_agent.web_worker.Worker", "--workers", "1", "--threads", str(THREADS)),
    *("--graceful-timeout", "8", "--timeout", "60", "--no-control-socket", "--log-level", "warning"),
)
PROBE_SECONDS = 1.0
EXAMPLE_BODY = '{"signal_id": "signal_123", "pair": "SOL/AVAX", "position_size": 1000}'


class Command(BaseCommand):
    help = "Run the web process and the monitor together until Ctrl-C or SIGTERM; starts a Redis if none is reachable."
    requires_system_checks = (DESK,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="instead of EXECUTOR_PORT")

    def handle(self, *args: object, port: int | None = None, **options: object) -> None:
        """Raises CommandError when the service cannot be started, SystemExit when it did not get ready."""
        config: Config = settings.DESK_CONFIG
        if sys.platform == "win32":
            raise CommandError("Windows has no gunicorn: use `manage.py runserver` and `manage.py monitor_positions`.")
        port = config.executor_port if port is None else port
        if not 1 <= port <= 65535:
            raise CommandError("--port must be from 1 to 65535")
        if not port_is_free(port):
            raise CommandError(f"Port {port} is taken. Stop what uses it, or set EXECUTOR_PORT to another one.")
        redis = start_redis(config.redis_url, database=config.redis_db)
        try:
            code = self._supervise(port, redis, child_environment(os.environ, redis))
        finally:
            if redis is not None:
                redis.stop()
        if code:
            raise SystemExit(code)

    def _supervise(self, port: int, redis: RunningRedis | None, env: Mapping[str, str]) -> int:
        supervisor = Supervisor(programs(port, redis, env), Path(settings.BASE_DIR), self._say)
        if redis is not None and redis.private is not None:
            supervisor.children["redis"].adopt(redis.private.process)
        return supervisor.run(lambda: is_serving(port), announcement(port, redis, settings.DESK_CONFIG))

    def _say(self, text: str) -> None:
        say(self.stdout, text)


def port_is_free(port: int) -> bool:
    """Whether gunicorn could listen there; like it, not minding connections of the past that are still fading out."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def is_serving(port: int) -> bool:
    """Whether the web process answers requests; which status does not matter here."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/api/health")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def child_environment(environ: Mapping[str, str], redis: RunningRedis | None) -> dict[str, str]:
    """*environ* with what all programs share: the Redis that was found and the key, which a demo makes up."""
    shared = {"SECRET_KEY": str(settings.SECRET_KEY)}
    if redis is not None:
        shared["REDIS_URL"] = redis.url
    replaced = {f"{name}_FILE" for name in SECRETS.intersection(shared)}
    return {name: value for name, value in environ.items() if name not in replaced} | shared


def programs(port: int, redis: RunningRedis | None, env: Mapping[str, str]) -> tuple[Program, ...]:
    """What the service consists of, in the order of starting."""
    web = (sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", *GUNICORN_OPTIONS)
    service = (
        Program("web", (*web, "executor_agent.wsgi:application"), env),
        Program("monitor", (sys.executable, str(Path(settings.BASE_DIR) / "manage.py"), "monitor_positions"), env),
    )
    if redis is None or redis.private is None:
        return service
    return (Program("redis", redis.private.command, quiet=True, last=True), *service)


def _example(url: str, config: Config) -> str:
    """A demo trades at the first curl; a live desk wants a token and a signal that Scout really offers."""
    if not config.demo_mode:
        return f"Signals it would take (with a token of scope read): {url}/api/signals"
    return f"""Open a trade:
  curl -s -X POST {url}/api/trades/execute -H 'Content-Type: application/json' -d '{EXAMPLE_BODY}'"""


def announcement(port: int, redis: RunningRedis | None, config: Config) -> str:
    """What a newcomer needs to know next."""
    url = f"http://{HOST}:{port}"
    mode = "demo mode: paper venue, no real order is possible" if config.demo_mode else f"live on {config.venue}"
    return f"""
The Executor Agent is ready on {url} ({mode})
  dashboard  {url}/
  health     {url}/api/health
  positions  {url}/api/positions
  API docs   {url}/api/docs
  Redis      {_described(redis)}

{_example(url, config)}

Ctrl-C stops everything."""


def _described(redis: RunningRedis | None) -> str:
    if redis is None:
        return "none: the service works without, and its health says degraded"
    return "as configured" if redis.private is None else f"a private server ({redis.source})"
