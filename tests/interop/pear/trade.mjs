// Pear's own SDK logs in, opens, guards, lists, cuts and closes a position on the Pear simulator.
//
//     node trade.mjs PEAR_URL ADDRESS WALLET_KEY
//
// Exits with 1 and the step at which the two disagreed.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages live in the environment that runs this file, not beside it.
const require = createRequire(pathToFileURL(`${process.cwd()}/`));
const { PearApi } = require("@pear-protocol/hyperliquid");
const { privateKeyToAccount } = require("viem/accounts");

const [basePath, address, key] = process.argv.slice(2);
const CLIENT_ID = "APITRADER";

function check(step, ours, theirs) {
  assert.deepEqual(ours, theirs, `${step}: expected ${JSON.stringify(theirs)}, the SDK says ${JSON.stringify(ours)}`);
  console.log(`  ${step}: ${JSON.stringify(ours)}`);
}

async function logIn(api) {
  const { data: typed } = await api.public.auth.getEIP712Message(address, CLIENT_ID, 42161);
  const signature = await privateKeyToAccount(key).signTypedData(typed);
  const details = { signature, timestamp: typed.timestamp };
  const { data } = await api.public.auth.login({ method: "eip712", address, clientId: CLIENT_ID, details });
  api.setTokens(data.accessToken, data.refreshToken);
  return data;
}

async function trade() {
  const api = new PearApi({ basePath });
  const tokens = await logIn(api);
  check("logged in", [tokens.tokenType, tokens.expiresIn], ["Bearer", 900]);
  check("agent", Boolean((await api.private.agentWallet.get()).data.agentWalletAddress), true);

  const { data: minted } = await api.private.apiKeys.create({ name: "interop" });
  const byKey = { method: "api_key", address, clientId: CLIENT_ID, details: { apiKey: minted.apiKey } };
  check("logged in by key", (await api.public.auth.login(byKey)).data.address, address);

  api.setAccessToken("stale");
  check("refreshed by itself", (await api.private.positions.list()).data, []);

  const order = {
    executionType: "MARKET",
    slippage: 0.01,
    leverage: 2,
    usdValue: 1000,
    longAssets: [{ asset: "ETH", weight: 0.5 }],
    shortAssets: [{ asset: "BTC", weight: 0.5 }],
    idempotencyKey: "interop-1",
  };
  const { data: opened } = await api.private.positions.create(order);
  check("filled", opened.fills.map((fill) => [fill.coin, fill.side]), [["ETH", "B"], ["BTC", "A"]]);
  await assert.rejects(api.private.positions.create(order), (error) => error.statusCode === 409 || error.status === 409);

  const [position] = (await api.private.positions.list()).data;
  check("listed", [position.positionId, position.longAssets[0].coin], [opened.positionId, "ETH"]);

  const lines = { takeProfit: { type: "DOLLAR", value: 50 }, stopLoss: { type: "DOLLAR", value: 30 } };
  await api.private.positions.updateRiskParameters(position.positionId, lines);
  check("guarded", (await api.private.orders.open()).data.map((one) => one.orderType).sort(), ["SL", "TP"]);

  const cut = { adjustmentType: "REDUCE", adjustmentSize: 50, executionType: "MARKET", idempotencyKey: "interop-2" };
  check("cut", (await api.private.positions.adjust(position.positionId, cut)).data.status, "EXECUTED");

  const { data: closed } = await api.private.positions.close(position.positionId, { executionType: "MARKET" });
  check("closed", closed.orderId.length, 32);
  check("flat", (await api.private.positions.list()).data, []);
  const again = api.private.positions.close(position.positionId, { executionType: "MARKET" });
  await assert.rejects(again, (error) => error.code === "POSITION_NOT_FOUND");
  check("public fills", (await api.public.fills.list({ address })).data.length, 6);
}

await trade();
console.log("Pear's SDK could not tell.");
