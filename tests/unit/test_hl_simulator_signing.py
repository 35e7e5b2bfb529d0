"""Tests of the exchange simulator's signer recovery: the recorded vectors, the canonical form, the strangers."""

import json
import unittest
from collections.abc import Mapping

import msgpack  # type: ignore[import-untyped, unused-ignore]  # published without types
from eth_account import Account
from hyperliquid.utils.signing import sign_agent, sign_approve_builder_fee

from tests.servers.hyperliquid import AGENT, AGENT_KEY
from tests.servers.hyperliquid.actions import Action, UserSigned, parse_action
from tests.servers.hyperliquid.signing import (
    _msgpack,
    connection_id,
    l1_digest,
    packed,
    parse_signature,
    recover,
    user_digest,
)
from tests.servers.hyperliquid.words import Refused, Unprocessable
from tests.unit.hl_simulator import CLOID, recorded


def l1_action(source: Mapping[str, object]) -> Action:
    action = parse_action(source)
    assert not isinstance(action, UserSigned)
    return action


class Vectors(unittest.TestCase):
    def test_every_vector_packs_hashes_and_recovers_on_both_networks(self) -> None:
        vectors = recorded("l1-signing-vectors.json")
        for vector in vectors["vectors"]:
            action = l1_action(vector["action"])
            with self.subTest(vector["name"], vault=vector["vaultAddress"], expires=vector["expiresAfter"]):
                self.assertEqual(packed(action).hex(), vector["msgpack_hex"])
                connection = connection_id(action, vector["nonce"], vector["vaultAddress"], vector["expiresAfter"])
                self.assertEqual("0x" + connection.hex(), vector["connection_id"])
                for network, signature in vector["signatures"].items():
                    digest = l1_digest(connection, network)
                    self.assertEqual("0x" + digest.hex(), signature.pop("eip712_digest"))
                    self.assertEqual(recover(digest, parse_signature(signature)), vectors["address"].lower())

    def test_every_request_the_sdk_sends_recovers_its_signer(self) -> None:
        seen = 0
        for call in recorded("sdk-0.24.0-requests.json")["calls"]:
            for request in call["requests"]:
                body = json.loads(request["raw_body"])
                if request["path"] != "/exchange":
                    continue
                action, signature = parse_action(body["action"]), parse_signature(body["signature"])
                with self.subTest(call["call"]):
                    if isinstance(action, UserSigned):
                        digest = user_digest(action)
                    else:
                        hashed = connection_id(action, body["nonce"], body["vaultAddress"], body["expiresAfter"])
                        digest = l1_digest(hashed, "testnet")
                    self.assertEqual(recover(digest, signature), AGENT)
                    seen += 1
        self.assertGreater(seen, 15)

    def test_the_vector_that_the_sdk_itself_pins(self) -> None:
        order = {"a": 4, "b": True, "p": "1670.1", "s": "0.0147", "r": False, "t": {"limit": {"tif": "Ioc"}}}
        action = l1_action({"type": "order", "orders": [order], "grouping": "na"})
        self.assertEqual(
            connection_id(action, 1677777606040, None, None).hex(),
            "0fcbeda5ae3c4950a548021552a4fea2226858c4453571bf3f24ba017eac2908",
        )


class CanonicalForm(unittest.TestCase):
    def test_order_of_keys_zeros_cases_nulls_and_extras_in_the_posted_form_do_not_matter(self) -> None:
        plain = {"a": 0, "b": True, "p": "60000", "s": "0.001", "r": False, "t": {"limit": {"tif": "Gtc"}}, "c": CLOID}
        posted = {"x": 1, "c": CLOID.replace("abcdef", "ABCDEF"), **dict(reversed(plain.items()))}
        posted |= {"p": "60000.0", "s": "0.00100", "c": CLOID.replace("abcdef", "ABCDEF")}
        one = l1_action({"type": "order", "orders": [plain], "grouping": "na"})
        other = l1_action({"builder": None, "grouping": "na", "orders": [posted], "type": "order"})
        self.assertEqual(packed(one), packed(other))

    def test_packing_agrees_with_the_library(self) -> None:
        numbers = (0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1)
        negatives = (-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63))
        texts = ("", "a" * 31, "a" * 32, "a" * 255, "a" * 256, "ü")
        values: list[object] = [True, False, *numbers, *negatives, *texts]
        values += [values * 1, list(range(15)), list(range(16)), {str(n): n for n in range(15)}]
        values.append({str(n): [n] for n in range(16)})
        for value in values:
            with self.subTest(str(value)[:40]):
                self.assertEqual(_msgpack(value), msgpack.packb(value))

    def test_what_no_action_holds_is_not_packed(self) -> None:
        with self.assertRaises(TypeError):
            _msgpack(1.5)
        with self.assertRaises(OverflowError):
            _msgpack(2**64)


class Signatures(unittest.TestCase):
    def test_scalars_need_no_padding_and_v_may_count_from_zero(self) -> None:
        self.assertEqual(parse_signature({"r": "0x1", "s": "0x" + "f" * 64, "v": 27}), (0, 1, 16**64 - 1))
        self.assertEqual(parse_signature({"r": "0x1", "s": "0x2", "v": 1}), (1, 1, 2))

    def test_malformed_ones_do_not_fit_the_schema(self) -> None:
        for r in ("", "1", "0x", "0x" + "1" * 65, "0xzz", 5):
            with self.subTest(r=r), self.assertRaises(Unprocessable):
                parse_signature({"r": r, "s": "0x1", "v": 27})

    def test_a_signature_of_zeros_has_no_signer(self) -> None:
        for zeros in ((0, 0, 0), (4, 1, 1)):
            with self.subTest(zeros), self.assertRaisesRegex(Refused, "^Unable to recover signer.$"):
                recover(bytes(32), zeros)

    def test_user_signed_actions_recover_the_master(self) -> None:
        wallet = Account.from_key(AGENT_KEY)
        agent: dict[str, object] = {
            "type": "approveAgent",
            "agentAddress": "0x" + "Ab" * 20,
            "agentName": "",
            "nonce": 5,
        }
        signature = sign_agent(wallet, agent, False)
        del agent["agentName"]
        fee: dict[str, object] = {"maxFeeRate": "0.01%", "builder": "0x" + "cd" * 20, "nonce": 6}
        fee |= {"type": "approveBuilderFee"}
        fee_signature = sign_approve_builder_fee(wallet, fee, True)
        for posted, signed in ((agent, signature), (fee, fee_signature)):
            action = parse_action(posted)
            assert isinstance(action, UserSigned)
            with self.subTest(action.type):
                self.assertEqual(recover(user_digest(action), parse_signature(signed)), AGENT)


class Schema(unittest.TestCase):
    def test_what_does_not_fit_is_unprocessable(self) -> None:
        order = {"a": 0, "b": True, "p": "60000", "s": "0.001", "r": False, "t": {"limit": {"tif": "Gtc"}}}
        bad_orders: tuple[dict[str, object], ...] = (
            {"a": "0"},
            {"a": True},
            {"a": -1},
            {"b": 1},
            {"p": 60000},
            {"p": "6e4"},
            {"p": "-1"},
            {"p": "NaN"},
            {"s": "0.123456789"},
            {"t": {"limit": {"tif": "Fok"}}},
            {"t": {"limit": {"tif": "Gtc"}, "trigger": {}}},
            {"t": {"trigger": {"isMarket": True, "triggerPx": "1", "tpsl": "xx"}}},
            {"c": "0x" + "z" * 32},
            {"c": 5},
        )
        actions: list[dict[str, object]] = [
            {"type": "order", "orders": [{**order, **bad}], "grouping": "na"} for bad in bad_orders
        ]
        actions += [
            {"type": "order", "orders": [order], "grouping": "other"},
            {"type": "order", "orders": [order]},
            {"type": "order", "orders": {}, "grouping": "na"},
            {"type": "order", "orders": ["x"], "grouping": "na"},
            {"type": "order", "orders": [order], "grouping": "na", "more": 1},
            {"type": "noop", "more": 1},
            {"type": "teleport"},
            {"type": 5},
            {},
            {"type": "approveAgent", "agentAddress": "0x12", "nonce": 1},
            {
                "type": "userSetAbstraction",
                "user": AGENT,
                "abstraction": "u",
                "nonce": 1,
                "signatureChainId": "zz",
                "hyperliquidChain": "Testnet",
            },
        ]
        for action in actions:
            with self.subTest(action), self.assertRaises(Unprocessable):
                parse_action(action)

    def test_priority_grouping_and_every_other_form_survive_a_round(self) -> None:
        order = {"a": 0, "b": True, "p": "1", "s": "1", "r": False, "t": {"limit": {"tif": "Ioc"}}}
        for action in (
            {"type": "order", "orders": [order], "grouping": {"p": 7}},
            {"type": "modify", "oid": CLOID, "order": order, "a": True},
            {"type": "batchModify", "modifies": [{"oid": 5, "order": order}]},
            {"type": "scheduleCancel"},
            {"type": "noop"},
        ):
            with self.subTest(action):
                self.assertEqual(l1_action(action).canonical(), action)
