"""The wallet key opens from hex or a keystore, and is never seen again."""

import copy
import json
import pickle
import traceback
import unittest
from typing import Any

from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action

from trading.adapters.keys import Wallet, open_wallet
from trading.domain.errors import InvalidRequest

KEY = "0123456789012345678901234567890123456789012345678901234567890123"
ADDRESS = "0x14791697260e4c9a71f18484c9f997b308e59325"
PASSWORD = "correct horse"


class Opening(unittest.TestCase):
    keystore: str

    @classmethod
    def setUpClass(cls) -> None:
        made: dict[str, Any] = Account.encrypt(bytes.fromhex(KEY), PASSWORD, kdf="pbkdf2", iterations=2)
        cls.keystore = json.dumps(made)

    def test_hex_digits_open_with_and_without_prefix(self) -> None:
        for text in (KEY, "0x" + KEY, f"  0x{KEY}\n", KEY.upper()):
            with self.subTest(text=text[:4]):
                self.assertEqual(open_wallet(text).address, ADDRESS)

    def test_a_keystore_opens_with_its_password(self) -> None:
        self.assertEqual(open_wallet(self.keystore, PASSWORD).address, ADDRESS)

    def test_what_does_not_open_names_the_variable_to_mend_and_quotes_nothing(self) -> None:
        short = KEY[:-2]
        broken = json.dumps({**json.loads(self.keystore), "version": 9})
        half = json.dumps({"version": 3, "crypto": {"kdf": "pbkdf2"}})
        no_hex = json.loads(self.keystore)
        no_hex["crypto"]["ciphertext"] = "zz"
        cases = (
            (json.dumps(no_hex), PASSWORD, "HYPERLIQUID_WALLET_KEY"),
            (short, None, "HYPERLIQUID_WALLET_KEY"),
            (KEY + "zz", None, "HYPERLIQUID_WALLET_KEY"),
            ("0" * 64, None, "HYPERLIQUID_WALLET_KEY"),
            ("", None, "HYPERLIQUID_WALLET_KEY"),
            (self.keystore, None, "HYPERLIQUID_KEYSTORE_PASSWORD"),
            (self.keystore, "", "HYPERLIQUID_KEYSTORE_PASSWORD"),
            (self.keystore, "wrong horse", "HYPERLIQUID_KEYSTORE_PASSWORD"),
            (self.keystore[:-5], PASSWORD, "HYPERLIQUID_WALLET_KEY"),
            (broken, PASSWORD, "HYPERLIQUID_WALLET_KEY"),
            (half, PASSWORD, "HYPERLIQUID_WALLET_KEY"),
        )
        for text, password, variable in cases:
            with self.subTest(text=text[:20], password=password):
                with self.assertRaises(InvalidRequest) as caught:
                    open_wallet(text, password)
                self.assertEqual(set(caught.exception.fields), {variable})
                told = "".join(traceback.format_exception(caught.exception))
                for secret in (KEY, short, "wrong horse", PASSWORD):
                    self.assertNotIn(secret, told)


class Silence(unittest.TestCase):
    def test_an_action_is_signed_digit_for_digit_as_the_sdk_signs_it(self) -> None:
        action = {"type": "order", "orders": [{"a": 4, "b": True, "p": "4000", "s": "0.25"}], "grouping": "na"}
        for key in (KEY, "0x" + "7" * 64):
            for mainnet in (True, False):
                for nonce, expires_after in ((1, None), (1_800_000_000_000, 1_800_000_005_000)):
                    with self.subTest(key=key, mainnet=mainnet, nonce=nonce):
                        account = Account.from_key(key)
                        self.assertEqual(
                            sign_l1_action(account, action, None, nonce, expires_after, mainnet),
                            open_wallet(key).signature(action, nonce, expires_after, mainnet=mainnet),
                        )

    def test_a_wallet_shows_its_address_and_nothing_else(self) -> None:
        wallet = open_wallet(KEY)
        for text in (repr(wallet), str(wallet), f"{wallet}", repr([wallet]), repr({"wallet": wallet})):
            self.assertIn(ADDRESS, text)
            self.assertNotIn(KEY[:16], text)
        self.assertFalse(hasattr(wallet, "__dict__"))

    def test_a_wallet_is_not_written_down(self) -> None:
        wallet = open_wallet(KEY)
        for write in (pickle.dumps, copy.copy, copy.deepcopy):
            with self.subTest(write=write), self.assertRaises(TypeError):
                write(wallet)

    def test_a_signature_that_fails_says_nothing_of_the_key(self) -> None:
        wallet: Wallet = open_wallet(KEY)
        try:
            wallet.signature({"type": object()}, 1, None, mainnet=False)
        except TypeError as error:
            self.assertNotIn(KEY[:16], "".join(traceback.format_exception(error)))
        else:
            self.fail("an action that cannot be packed was signed")


if __name__ == "__main__":
    unittest.main()
