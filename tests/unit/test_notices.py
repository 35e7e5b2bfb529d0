import os
import socket
import tempfile
import unittest
from pathlib import Path

from trading.management.notices import Notices


@unittest.skipUnless(hasattr(socket, "AF_UNIX"), "sockets with a name in the file system")
class NoticesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def listening(self, address: str) -> socket.socket:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address)
        manager.settimeout(2)
        return manager

    def test_a_service_manager_hears_of_ready_alive_and_stopping(self) -> None:
        path = str(self.folder / "notify")
        manager, notices = self.listening(path), Notices({"NOTIFY_SOCKET": path})
        notices.ready("watching")
        notices.alive()
        notices.stopping()
        heard = [manager.recv(200).decode() for _ in range(3)]
        self.assertEqual(["READY=1\nSTATUS=watching\nWATCHDOG=1", "WATCHDOG=1", "STOPPING=1"], heard)

    @unittest.skipUnless(os.uname().sysname == "Linux", "abstract names are Linux's")
    def test_an_abstract_name_is_understood(self) -> None:
        name = f"executor-notices-{os.getpid()}"
        manager = self.listening("\0" + name)
        Notices({"NOTIFY_SOCKET": "@" + name}).alive()
        self.assertEqual(b"WATCHDOG=1", manager.recv(100))

    def test_nobody_who_listens_is_no_failure(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:1:2"}, {"NOTIFY_SOCKET": str(self.folder)}):
            with self.subTest(environ):
                Notices(environ).ready("watching")

    def test_a_manager_that_does_not_read_is_not_waited_for(self) -> None:
        path = str(self.folder / "notify")
        self.listening(path)
        notices = Notices({"NOTIFY_SOCKET": path})
        for _ in range(2000):
            notices.alive()
