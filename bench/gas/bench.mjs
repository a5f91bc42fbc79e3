// Gas of every operation, from the receipts of real transactions: starts anvil, deploys a market, builds batches of
// 10,000 jobs with real trees, checkpoints and signatures, and prints a table. Exits 1 when a budget is missed.
// Usage: bench.mjs [TABLE.md]   writes the table there too.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { createRequire } from 'node:module';
import * as S from '../../contracts/tools/settlement.mjs';

const CONTRACTS = new URL('../../contracts/', import.meta.url);
const { ethers } = createRequire(CONTRACTS)('ethers');

const CHAIN = 31337;
const USD = 10n ** 12n; // pico-units
const JOBS = 10_000;
const BUDGET = 115; // gas per job, all lanes and links in each batch
const BUDGET_TENTH = 60; // gas per job, links in each tenth batch only

// ---- chain ----

const freePort = () => new Promise((done, failed) => {
  const server = net.createServer().once('error', failed).listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});

async function startChain() {
  const port = await freePort();
  const binary = new URL('node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil', CONTRACTS).pathname;
  const anvil = spawn(binary, ['--host', '127.0.0.1', '--port', String(port), '--chain-id', String(CHAIN), '--hardfork', 'osaka',
    '--enable-tx-gas-limit', '--prune-history', '--no-mining', '--auto-impersonate', '--silent'], { stdio: ['ignore', 'ignore', 'inherit'] });
  process.on('exit', () => anvil.kill());
  const rpc = new ethers.JsonRpcProvider(`http://127.0.0.1:${port}`, CHAIN, { staticNetwork: true, batchMaxCount: 1, cacheTimeout: -1 });
  for (let tries = 0; ; tries++) {
    try {
      await rpc.send('eth_chainId', []);
      return rpc;
    } catch (e) {
      if (tries === 100 || anvil.exitCode !== null) throw new Error(`anvil does not answer: ${e.message}`);
      await new Promise(done => setTimeout(done, 50));
    }
  }
}

const rpc = await startChain();
const artifact = name => JSON.parse(fs.readFileSync(new URL(`artifacts/${name}.json`, CONTRACTS)));
const load = name => {
  const { abi, bytecode } = artifact(name);
  return { bytecode, abi: new ethers.Interface(abi) };
};
const [Vault, Court, DevUSD, StakeRegistry, Token] = ['Vault', 'Court', 'DevUSD', 'StakeRegistry', 'Token'].map(load);

// One transaction in one block; reverts are errors that say why.
async function send(from, to, data) {
  const hash = await rpc.send('eth_sendTransaction', [{ from, to, data, gas: '0x1000000' }]);
  await rpc.send('evm_mine', []);
  let receipt;
  while (!(receipt = await rpc.send('eth_getTransactionReceipt', [hash]))) await new Promise(done => setTimeout(done, 2));
  if (receipt.status !== '0x1') {
    const why = await rpc.send('eth_call', [{ from, to, data }, 'latest']).catch(e => e.info?.error?.data ?? e.message);
    throw new Error(`reverted: ${why}`);
  }
  return { gas: Number(receipt.gasUsed), bytes: (data.length - 2) / 2, contract: receipt.contractAddress, logs: receipt.logs };
}

const deploy = (from, { abi, bytecode }, args) => send(from, undefined, bytecode + abi.encodeDeploy(args).slice(2));
const now = async () => Number((await rpc.send('eth_getBlockByNumber', ['latest', false])).timestamp);
async function pass(seconds) {
  await rpc.send('evm_increaseTime', [seconds]);
  await rpc.send('evm_mine', []);
}

// ---- table ----

const rows = [];
function row(name, { gas, bytes }, note = '') {
  rows.push(`| ${name} | ${gas.toLocaleString('en')} | ${bytes.toLocaleString('en')} | ${note} |`);
  console.log(rows.at(-1));
}
const HEAD = '| operation | gas | calldata bytes | |\n|---|--:|--:|---|';

// ---- a market of `requesters` lanes and `nodes` links ----

const wallets = (name, count) => [...Array(count).keys()].map(i => new ethers.Wallet(ethers.keccak256(ethers.toUtf8Bytes(`assay test key: bench ${name} ${i}`))));

async function openMarket(requesterCount, nodeCount, log) {
  const dev = (await rpc.send('eth_accounts', []))[0];
  const [[gateway], [challenger]] = [wallets('gateway', 1), wallets('challenger', 1)];
  const requesters = wallets('requester', requesterCount);
  const nodes = wallets('node', nodeCount);
  for (const w of [gateway, challenger, ...requesters, ...nodes]) await rpc.send('anvil_setBalance', [w.address, '0xde0b6b3a7640000']);

  const usd = (await deploy(dev, DevUSD, [])).contract;
  const token = await deploy(dev, Token, [dev]);
  const stakes = await deploy(dev, StakeRegistry, [token.contract, [0, 0, 0], 7 * 86400, [5000, 3000, 0, 2000], dev, dev]);
  const profile = [86400, 14400, 1800, 86400, 3 * 86400, 60, 9500, 250, 250, 9500, 1000n * USD, USD / 20n, USD / 2000n, 0, dev];
  const nonce = Number(await rpc.send('eth_getTransactionCount', [dev, 'latest']));
  const courtAddress = ethers.getCreateAddress({ from: dev, nonce: nonce + 1 });
  const deployedVault = await deploy(dev, Vault, [usd, profile, dev, courtAddress, stakes.contract]);
  const deployedCourt = await deploy(dev, Court, [deployedVault.contract]);
  const vault = deployedVault.contract;
  const domain = S.domainOf(CHAIN, vault);
  const v = (from, f, ...args) => send(from, vault, Vault.abi.encodeFunctionData(f, args));
  const c = (from, f, ...args) => send(from, deployedCourt.contract, Court.abi.encodeFunctionData(f, args));
  const r = (from, f, ...args) => send(from, stakes.contract, StakeRegistry.abi.encodeFunctionData(f, args));
  await send(dev, usd, DevUSD.abi.encodeFunctionData('mint', [dev, 10n ** 15n]));
  await send(dev, usd, DevUSD.abi.encodeFunctionData('approve', [vault, ethers.MaxUint256]));
  const first = await v(dev, 'deposit', gateway.address, 10n ** 12n);
  await v(dev, 'deposit', challenger.address, 10n ** 10n);
  await v(gateway.address, 'addBond', gateway.address, 500_000n * USD);
  const registered = await r(gateway.address, 'register', 1, 0, 'https://gateway.example.org', ethers.ZeroHash);
  if (log) {
    row('deploy Vault', deployedVault);
    row('deploy Court', deployedCourt);
    row('deploy StakeRegistry', stakes);
    row('deploy Token', token);
    row('register a gateway', registered);
    row('deposit, new account', first);
  }
  const caps = [];
  for (const [i, w] of requesters.entries()) {
    await v(dev, 'deposit', w.address, 2_000_000_000n);
    const cap = {
      requester: w.address, gateway: gateway.address, maxSpend: 1000n * USD, maxLocked: 500n * USD, maxPriceIn: 10n ** 6n, maxPriceOut: 4n * 10n ** 6n,
      models: ethers.ZeroHash, voucherSigner: ethers.ZeroAddress, nonce: 0, deadline: (await now()) + 30 * 86400,
    };
    caps.push(cap);
    const opened = await v(gateway.address, 'openLane', cap, await S.sign(w, domain, 'SpendingCap', cap), 400n * USD);
    if (log && i === 5) {
      row('openLane with first pull', opened);
      row('pull', await v(gateway.address, 'pull', cap, USD));
    }
  }
  for (const [i, w] of nodes.entries()) {
    await r(w.address, 'register', 0, 0, 'https://node.example.org', ethers.ZeroHash);
    const opened = await v(w.address, 'openLink', gateway.address);
    if (log && i === 5) row('openLink, registry asked', opened);
  }
  return {
    gateway, challenger, requesters, nodes, caps, domain, v, c, court: deployedCourt.contract,
    capHashes: caps.map(cap => S.structHash('SpendingCap', cap)),
    lanes: caps.map(() => ({ seq: 0, spent: 0n })), links: nodes.map(() => ({ seq: 0, cum: 0n })), number: 0, random: 1,
  };
}

// A batch of JOBS jobs, spread over all lanes and links. withCredits: 'all' posts every link, 'none' no link.
async function settle(m, withCredits) {
  const time = await now();
  const random = n => (m.random = (m.random * 1103515245 + 12345) % 2147483648) % n;
  const byLane = m.lanes.map(() => []);
  const byLink = m.links.map(() => []);
  for (let k = 0; k < JOBS; k++) {
    const i = k < m.lanes.length ? k : random(m.lanes.length);
    const j = k < m.links.length ? k : random(m.links.length);
    const terms = {
      jobId: ethers.keccak256(ethers.toBeHex(k + m.number * JOBS, 32)), segment: 0, requester: m.requesters[i].address, gateway: m.gateway.address,
      node: m.nodes[j].address, cap: m.capHashes[i], laneSeq: m.lanes[i].seq++, linkSeq: m.links[j].seq++, model: ethers.ZeroHash, request: ethers.ZeroHash,
      sampling: ethers.ZeroHash, maxIn: 4000, maxOut: 1000, priceIn: 100_000, priceCached: 10_000, priceOut: 400_000, tier: 1, issuedAt: time, deadline: time + 120,
    };
    const receipt = { terms: S.structHash('Terms', terms), inTokens: 1 + random(2000), cachedTokens: 0, outTokens: random(900), output: ethers.ZeroHash, finish: 1, firstMs: 300, lastMs: 4000, amount: 0n };
    receipt.amount = S.costOf(terms, receipt);
    m.links[j].cum += receipt.amount;
    const job = { terms, receipt, hash: S.structHash('Receipt', receipt), link: j, at: byLink[j].length };
    byLane[i].push(job);
    byLink[j].push(job);
  }
  const trees = byLane.map(jobs => S.sumTree(jobs.map(x => S.sumLeaf(x.terms.laneSeq, x.receipt.amount, x.hash))));
  const entries = trees.map((tree, i) => {
    const before = m.lanes[i].spent;
    m.lanes[i].spent += S.rootOf(tree).sum;
    return { lane: i + 1, count: byLane[i].length, first: byLane[i][0].terms.laneSeq, before, spent: m.lanes[i].spent, tree: S.rootOf(tree).hash };
  });
  const credits = withCredits === 'all' ? m.links.map((l, j) => S.creditWord(j + 1, l.cum)) : [];
  const sent = await m.v(m.gateway.address, 'settle', m.number, entries.map(S.debitWords), credits);
  return { number: m.number++, byLane, byLink, trees, entries, top: S.batchTree(entries.map(S.entryHash)), ...sent };
}

const perJob = gas => `**${(gas / JOBS).toFixed(1)} per job**`;

// ---- the challenge game on a real batch ----

async function challenges(m, b) {
  const lane = b.byLane.findIndex(jobs => jobs.length > 150);
  const entry = b.entries[lane];
  const path = S.pathOf(b.top, lane);
  const idOf = sent => sent.logs.map(l => Court.abi.parseLog(l)).find(l => l?.name === 'Demanded').args.id;
  const demand = (index, opening) => m.c(m.challenger.address, 'demand', m.gateway.address, b.number, entry, path, index, opening);
  await m.v(m.challenger.address, 'allow', m.court, ethers.MaxUint256 >> 160n);

  async function prove(sent, index) {
    const job = b.byLane[lane][index];
    const from = Math.floor(job.at / 256) * 256;
    const signed = b.byLink[job.link].slice(from, from + 256);
    const tree = S.checkpointTree(signed.map(x => x.hash));
    const checkpoint = { kind: 2, signer: m.nodes[job.link].address, peer: m.gateway.address, number: 1, first: from, count: signed.length, root: S.rootOf(tree) };
    return m.c(m.gateway.address, 'prove', idOf(sent), b.number, entry, job.receipt.amount, {
      path: S.pathOf(b.trees[lane], index), receipt: job.receipt, terms: job.terms, cap: m.caps[lane], checkpoint,
      signature: await S.sign(m.nodes[job.link], m.domain, 'Checkpoint', checkpoint), position: job.at - from, receiptPath: S.pathOf(tree, job.at - from),
      voucher: { requester: ethers.ZeroAddress, gateway: ethers.ZeroAddress, lane: 0, cum: 0 }, voucherSignature: '0x',
    });
  }

  await prove(await demand(1, false), 1); // the first fills fresh slots
  let sent = await demand(77, false);
  row(`demand one leaf of ${entry.count}`, sent);
  row('prove it (receipt, price, sum, place)', await prove(sent, 77));

  sent = await demand(0, true);
  row(`demand all ${entry.count} leaves`, sent);
  const level = 7;
  const opened = { gas: 0, bytes: 0 };
  for (let from = 0; from < entry.count; from += 1 << level) {
    const part = b.byLane[lane].slice(from, from + (1 << level));
    const one = await m.c(m.gateway.address, 'open', idOf(sent), b.number, entry, {
      level, amounts: part.map(x => x.receipt.amount), receipts: part.map(x => x.hash), path: S.pathOf(b.trees[lane], from >> level, level),
    });
    opened.gas += one.gas;
    opened.bytes += one.bytes;
  }
  row(`open them in chunks of ${1 << level}`, opened, `${Math.round(opened.gas / entry.count)} per leaf`);

  const snapshot = await rpc.send('evm_snapshot', []);
  sent = await demand(3, false);
  await pass(14_401);
  row('void: no answer; refund, reward, jail', await m.c(m.challenger.address, 'void', idOf(sent), b.number, entry));
  await rpc.send('evm_revert', [snapshot]);
}

// ---- run ----

console.log(HEAD);
const m = await openMarket(50, 100, true);
const shape = `${JOBS.toLocaleString('en')} jobs, 50 lanes, 100 links`;
let b = await settle(m, 'all');
row(`settle ${shape}, first batch`, b, perJob(b.gas));
await pass(60);
const steady = await settle(m, 'all');
row(`settle ${shape}, steady`, steady, perJob(steady.gas));
let tenth = 0;
for (let i = 0; i < 10; i++) { // ten more batches, credits in the last
  await pass(60);
  b = await settle(m, i === 9 ? 'all' : 'none');
  tenth += b.gas;
  if (i === 8) row(`settle ${shape}, no credits`, b, perJob(b.gas));
}
row('settle, mean of ten with credits in the tenth', { gas: Math.round(tenth / 10), bytes: '' }, perJob(tenth / 10));
await pass(3600);
row('claim, first', await m.v(m.nodes[0].address, 'claim', m.gateway.address));
b = await settle(m, 'all');
await pass(3600);
row('claim, later, for any number of jobs', await m.v(m.nodes[0].address, 'claim', m.gateway.address));
await challenges(m, b);
const ack = { gateway: m.gateway.address, node: m.nodes[3].address, upTo: 500, cum: m.links[3].cum + 5n * USD, payBy: (await now()) - 1 };
const ackSigned = await S.sign(m.gateway, m.domain, 'Ack', ack);
row('redeem an Ack', await m.v(m.nodes[3].address, 'redeem', ack, ackSigned));
row('redeem it again: nothing is missing', await m.v(m.nodes[3].address, 'redeem', ack, ackSigned));
row('revoke a cap', await m.v(m.requesters[8].address, 'revoke', m.caps[8]));
row('announceClose', await m.v(m.requesters[7].address, 'announceClose', m.gateway.address));
await pass(86_401);
row('close', await m.v(m.requesters[7].address, 'close', m.gateway.address));
row('withdraw', await m.v(m.requesters[7].address, 'withdraw', 1_000_000));
row('collectFees', await m.v(m.gateway.address, 'collectFees', m.gateway.address));
const one = { kind: 1, signer: m.gateway.address, peer: m.nodes[0].address, number: 9, first: 0, count: 1, root: ethers.ZeroHash };
const other = { ...one, first: 1 };
row('equivocation', await m.c(m.challenger.address, 'equivocation', one, await S.sign(m.gateway, m.domain, 'Checkpoint', one), other, await S.sign(m.gateway, m.domain, 'Checkpoint', other)));

const big = await openMarket(500, 500, false);
const bigShape = `${JOBS.toLocaleString('en')} jobs, 500 lanes, 500 links`;
b = await settle(big, 'all');
row(`settle ${bigShape}, first batch`, b, perJob(b.gas));
await pass(60);
b = await settle(big, 'all');
row(`settle ${bigShape}, steady`, b, perJob(b.gas));

const verdict = [
  [steady.gas / JOBS, BUDGET, 'all lanes and links in each batch'],
  [tenth / 10 / JOBS, BUDGET_TENTH, 'links in each tenth batch'],
].map(([got, budget, what]) => ({ ok: got <= budget, text: `${got.toFixed(1)} gas per job, budget ${budget}: ${what}` }));
for (const { ok, text } of verdict) console.log(`${ok ? 'met   ' : 'MISSED'} ${text}`);
if (process.argv[2]) fs.writeFileSync(process.argv[2], `${HEAD}\n${rows.join('\n')}\n`);
process.exit(verdict.every(x => x.ok) ? 0 : 1);
