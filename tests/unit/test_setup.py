"""`manage.py setup` and `encrypt_key`: what they ask, what they refuse, and what they write, for whom."""

import io
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import SimpleTestCase
from eth_account import Account

from trading.adapters.keys import open_wallet
from trading.authentication import digest_of
from trading.conf import HYPERLIQUID_TESTNET, PROJECT_ROOT, Config, Scope, load_config
from trading.management.commands.setup import QUESTIONS, TRIES_MAX, quoted

KEY = "0123456789012345678901234567890123456789012345678901234567890123"
SIGNER = "0x14791697260e4c9a71f18484c9f997b308e59325"
ACCOUNT = "0x" + "ab" * 20
PASSWORD = "correct horse battery"
LIVE = ("false", "", "", ACCOUNT, KEY, "", "", "", "")


class CommandCase(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = self.folder / ".env"

    def told(self, name: str, *answers: str) -> str:
        said, typed = io.StringIO(), io.StringIO("".join(f"{one}\n" for one in answers))
        with mock.patch.object(sys, "stdin", typed):
            call_command(name, *(("--file",) if name == "setup" else ()), str(self.file), stdout=said)
        self.assertEqual(typed.read(), "", "not every answer was asked for")
        return said.getvalue()

    def refused(self, name: str, *answers: str) -> str:
        with self.assertRaises(CommandError) as caught:
            self.told(name, *answers)
        return str(caught.exception)

    def written(self) -> Config:
        return load_config({}, self.file)


class SetupTest(CommandCase):
    def test_blank_answers_make_a_demo_that_needs_no_token(self) -> None:
        said = self.told("setup", "", "")
        self.assertEqual(self.written(), Config.of())
        self.assertNotIn("Token", said)

    def test_a_live_desk_gets_a_key_and_a_token_that_is_shown_and_not_kept(self) -> None:
        said = self.told("setup", *LIVE)
        config, token = self.written(), said.split()[-1]
        self.assertFalse(config.demo_mode)
        self.assertEqual(config.hyperliquid_api_url, HYPERLIQUID_TESTNET)
        self.assertEqual(config.data_dir, PROJECT_ROOT / "data-hyperliquid")
        self.assertEqual([(one.scope, one.digest) for one in config.api_tokens], [(Scope.ADMIN, digest_of(token))])
        self.assertNotIn(token, self.file.read_text(encoding="utf-8"))
        self.assertNotIn(KEY, said)
        again = self.told("setup", "yes", *LIVE)
        self.assertNotEqual((token, config.secret_key), (again.split()[-1], self.written().secret_key))

    def test_the_file_is_for_this_user_only_and_nothing_else_is_left(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.told("setup", "", "")
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual(list(self.folder.iterdir()), [self.file])

    def test_a_place_where_nothing_can_be_written_is_named(self) -> None:
        """It was a traceback, after all the questions."""
        self.file = self.folder / "nowhere" / ".env"
        for command in (("setup", "", ""), ("encrypt_key", KEY, PASSWORD, PASSWORD)):
            self.assertEqual(
                f"{self.file.resolve()} cannot be written: No such file or directory", self.refused(*command)
            )
        self.file = self.folder
        self.assertIn("cannot be written: Is a directory", self.refused("setup", "yes", "", ""))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_file_that_is_there_is_not_overwritten_unasked(self) -> None:
        self.file.write_text("PAPER_SEED=9\n", encoding="utf-8")
        for answer in ("", "no", "y"):
            self.assertIn("stays as it is", self.refused("setup", answer))
            self.assertEqual(self.written().paper_seed, 9)
        self.told("setup", "yes", "", "")
        self.assertEqual(self.written(), Config.of())

    def test_a_wrong_answer_is_asked_for_again_with_the_remedy_and_never_for_ever(self) -> None:
        said = self.told("setup", "false", "binance", "hyperliquid", "http://far.example", "", "0x12", "", *LIVE[3:])
        for name in ("VENUE", "HYPERLIQUID_API_URL", "HYPERLIQUID_ACCOUNT_ADDRESS"):
            self.assertIn(f"  {name}: ", said)
        self.file.unlink()
        self.assertIn("no good answer", self.refused("setup", *["perhaps"] * TRIES_MAX))
        self.assertIn("no good answer", self.refused("setup", *LIVE[:4], *["nonsense"] * TRIES_MAX))
        self.assertFalse(self.file.exists())

    def test_answers_that_end_write_nothing(self) -> None:
        self.assertIn("ended", self.refused("setup", *LIVE[:5]))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_what_is_no_configuration_together_writes_nothing(self) -> None:
        pear_on_the_test_network = ("false", "pear", HYPERLIQUID_TESTNET, ACCOUNT, "a key of Pear", "", "", "", "")
        self.assertIn("VENUE", self.refused("setup", *pear_on_the_test_network))
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_secret_in_a_file_stays_there(self) -> None:
        key = self.folder / "a key's file"
        key.write_text(KEY, encoding="utf-8")
        self.told("setup", *LIVE[:4], str(key), *LIVE[5:])
        self.assertIn("HYPERLIQUID_WALLET_KEY_FILE='", self.file.read_text(encoding="utf-8"))
        self.assertNotIn(KEY, self.file.read_text(encoding="utf-8"))
        found = self.written().hyperliquid_wallet_key
        self.assertEqual(found.get_secret_value() if found else None, KEY)

    def test_a_keystore_asks_for_its_password(self) -> None:
        made = json.dumps(Account.encrypt(bytes.fromhex(KEY), PASSWORD, kdf="pbkdf2", iterations=2))
        file = self.folder / "keystore"
        file.write_text(made, encoding="utf-8")
        for answer in (made, str(file)):
            self.told("setup", *LIVE[:4], answer, PASSWORD, *LIVE[5:])
            found = self.written().hyperliquid_keystore_password
            self.assertEqual(found.get_secret_value() if found else None, PASSWORD)
            self.file.unlink()

    def test_at_a_terminal_secrets_are_not_shown_while_typed(self) -> None:
        lines = io.StringIO("".join(f"{one}\n" for one in (*LIVE[:4], *LIVE[5:])))
        with (
            mock.patch.object(sys, "stdin", lines),
            mock.patch.object(lines, "isatty", lambda: True),
            mock.patch("getpass.getpass", return_value=KEY) as hidden,
        ):
            call_command("setup", file=self.file, stdout=io.StringIO())
        self.assertEqual(hidden.call_count, 1)
        self.assertIsNotNone(self.written().hyperliquid_wallet_key)

    def test_whatever_is_quoted_is_read_back(self) -> None:
        for text in ("plain", "a b#c", "it's", "back\\slash", "\\'", '{"a": "b"}', "$HOME ${X}", " # no comment"):
            with self.subTest(text):
                self.file.write_text(f"PEAR_API_KEY={quoted(text)}\n", encoding="utf-8")
                key = self.written().pear_api_key
                self.assertEqual(key.get_secret_value() if key else None, text.strip())

    def test_every_variable_it_asks_for_is_asked_for_once(self) -> None:
        self.assertEqual(len(QUESTIONS), len({one.name for one in QUESTIONS}))

    def test_a_configuration_that_is_wrong_does_not_keep_it_from_being_mended(self) -> None:
        done = subprocess.run(
            (sys.executable, "manage.py", "setup", "--file", str(self.file)),
            cwd=PROJECT_ROOT,
            env={"PATH": os.environ["PATH"], "DEMO_MODE": "false"},
            input="true\n8005\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.written().executor_port, 8005)


class EncryptKeyTest(CommandCase):
    def test_the_keystore_opens_with_its_password_alone_and_is_private(self) -> None:
        said = self.told("encrypt_key", f"0x{KEY}", PASSWORD, PASSWORD)
        text = self.file.read_text(encoding="utf-8")
        self.assertIn(SIGNER, said)
        self.assertEqual(open_wallet(text, PASSWORD).address, SIGNER)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        for secret in (KEY, PASSWORD):
            self.assertNotIn(secret, text + said)

    def test_what_is_wrong_is_told_without_a_secret_and_nothing_is_written(self) -> None:
        for answers, words in (
            ((KEY, "short", "short"), "12 characters"),
            ((KEY, PASSWORD, PASSWORD + "!"), "differ"),
            ((KEY[:-1], PASSWORD, PASSWORD), "no private key"),
            ((), "12 characters"),
        ):
            with self.subTest(words):
                told = self.refused("encrypt_key", *answers)
                self.assertIn(words, told)
                self.assertNotIn(KEY[:-1], told)
                self.assertFalse(self.file.exists())

    def test_nothing_is_overwritten(self) -> None:
        self.file.write_text("precious", encoding="utf-8")
        self.assertIn("exists", self.refused("encrypt_key", KEY, PASSWORD, PASSWORD))
        self.assertEqual(self.file.read_text(encoding="utf-8"), "precious")

    def test_at_a_terminal_nothing_is_shown_while_typed(self) -> None:
        with (
            mock.patch.object(sys, "stdin", mock.Mock(isatty=lambda: True)),
            mock.patch("getpass.getpass", side_effect=[KEY, PASSWORD, PASSWORD]) as hidden,
        ):
            call_command("encrypt_key", str(self.file), stdout=io.StringIO())
        self.assertEqual(hidden.call_count, 3)
