// Makes calls.json and tx.json with ethers, an independent implementation: node src/evm/vectors/make.mjs, from the root, after the contracts' npm ci.
import {createRequire} from "node:module";
import {readFileSync, writeFileSync} from "node:fs";
const require = createRequire(process.cwd() + "/contracts/");
const ethers = require("ethers");
const source = `ethers ${ethers.version}`;
const abi = name => new ethers.Interface(JSON.parse(readFileSync(`contracts/artifacts/${name}.json`)).abi);
const [vault, stake, model, usd, token, court] = ["Vault", "StakeRegistry", "ModelRegistry", "DevUSD", "Token", "Court"].map(abi);

const A = n => "0x" + n.toString(16).padStart(2, "0").repeat(20);
const H = n => "0x" + n.toString(16).padStart(2, "0").repeat(32);
const cap = [A(1), A(2), 10n ** 15n, 2n ** 96n - 1n, 600000n, 2n ** 128n - 1n, H(0), A(3), 7n, 1800000000n];
const sig = "0x" + "ab".repeat(65);
const debit = (lane, count, spent, tree) => [lane << 128n | count << 96n | spent, tree];
const debits = [debit(1n, 453n, 123456789012345n, H(0x11)), debit(0xffffffffn, 4096n, 2n ** 96n - 1n, H(0x22))];
const credits = [1n << 96n | 5n, 0xffffffffn << 96n | (2n ** 96n - 1n)];
const calls = {
  mint: [usd, "mint", [A(1), 10n ** 12n]],
  approve: [usd, "approve", [A(2), 2n ** 128n - 1n]],
  transfer: [token, "transfer", [A(2), 10n ** 18n]],
  stake_register: [stake, "register", [1, 5000n * 10n ** 18n, "https://node.example:8443/v1 \u00fc", H(9)]],
  stake_update: [stake, "update", [0, "", H(0)]],
  stake_top_up: [stake, "topUp", [0, A(4), 10n ** 18n]],
  stake_announce_unbond: [stake, "announceUnbond", [2, 1n]],
  stake_withdraw: [stake, "withdraw", [2]],
  model_register: [model, "register", [H(5), "smollm2-135m", "https://models.example/" + "x".repeat(40), H(6)]],
  model_set_official: [model, "setOfficial", [H(5), true, H(6)]],
  deposit: [vault, "deposit", [A(1), 2n ** 64n - 1n]],
  withdraw: [vault, "withdraw", [1n]],
  give: [vault, "give", [A(2), 2n ** 96n - 1n]],
  allow: [vault, "allow", [A(2), 5n]],
  add_bond: [vault, "addBond", [A(2), 10n ** 15n]],
  add_pool: [vault, "addPool", [3n]],
  announce_exit: [vault, "announceExit", []],
  exit: [vault, "exit", []],
  collect_fees: [vault, "collectFees", [A(2)]],
  open_lane: [vault, "openLane", [cap, sig, 77n]],
  pull: [vault, "pull", [cap, 78n]],
  revoke: [vault, "revoke", [cap]],
  announce_close: [vault, "announceClose", [A(2)]],
  close: [vault, "close", [A(2)]],
  open_link: [vault, "openLink", [A(2)]],
  update_share: [vault, "updateShare", [A(2), A(3)]],
  settle: [vault, "settle", [9n, debits, credits]],
  settle_empty: [vault, "settle", [0n, [], []]],
  retire: [vault, "retire", [A(2), 100n]],
  claim: [vault, "claim", [A(2)]],
  redeem: [vault, "redeem", [[A(2), A(3), 12n, 10n ** 13n, 1800000000n], sig]],
};
const encoded = Object.fromEntries(Object.entries(calls).map(([k, [i, f, args]]) => [k, i.encodeFunctionData(f, args)]));

// Every event of the contracts: topic 0 and a log with made-up values; every error: its data.
const value = (p, n) => p.baseType === "tuple" ? p.components.map((c, i) => value(c, n + 1 + i))
  : p.type === "address" ? A(n) : p.type === "bytes32" ? H(n) : p.type === "bool" ? true
  : p.type === "string" ? "text " + n : p.type === "uint8" ? 2 : p.baseType === "array" ? [] : BigInt(n) * 1001n;
const events = {}, errors = {};
for (const i of [usd, token, vault, court, stake, model]) {
  i.forEachEvent(e => { events[e.format("sighash")] = i.encodeEventLog(e, e.inputs.map((p, n) => value(p, n + 1))); });
  i.forEachError(e => { if (!["Error", "Panic"].includes(e.name)) errors[e.format("sighash")] = i.encodeErrorResult(e, e.inputs.map((p, n) => value(p, n + 1))); });
}
const big = x => JSON.stringify(x, (k, v) => typeof v === "bigint" ? v.toString() : v, 1) + "\n";
writeFileSync("src/evm/vectors/calls.json", big({source, calls: encoded, events, errors}));

// A test key: no money is behind it anywhere.
const wallet = new ethers.Wallet("0x" + "46".repeat(32));
const txs = [];
for (const t of [
  {chainId: 1n, nonce: 0, maxPriorityFeePerGas: 0n, maxFeePerGas: 0n, gasLimit: 0n, to: A(0x35), value: 0n, data: "0x"},
  {chainId: 31337n, nonce: 127, maxPriorityFeePerGas: 1000000000n, maxFeePerGas: 3000000000n, gasLimit: 21000n, to: A(0x35), value: 10n ** 18n, data: "0x"},
  {chainId: 8453n, nonce: 128, maxPriorityFeePerGas: 1n, maxFeePerGas: 2n ** 80n, gasLimit: 16777216n, to: A(0), value: 2n ** 120n, data: "0x00ff" + "ab".repeat(60)},
  {chainId: 31337n, nonce: 5, maxPriorityFeePerGas: 7n, maxFeePerGas: 255n, gasLimit: 5000000n, to: null, value: 0n, data: "0x60806040" + "52".repeat(300)},
]) {
  const tx = ethers.Transaction.from({type: 2, ...t});
  const digest = tx.unsignedHash;
  tx.signature = wallet.signingKey.sign(digest);
  txs.push({...t, nonce: t.nonce, to: t.to, digest, raw: tx.serialized, hash: tx.hash, created: ethers.getCreateAddress({from: wallet.address, nonce: t.nonce})});
}
writeFileSync("src/evm/vectors/tx.json", big({source, key: wallet.privateKey, address: wallet.address, txs}));
