// Writes DIR/*.json: what contracts and C code must both arrive at. Deterministic: run it again and nothing changes.
// Keys are test keys: never use them for anything else. Usage: vectors.mjs DIR
import fs from 'node:fs';
import { ethers } from 'ethers';
import * as S from './settlement.mjs';

const abi = name => new ethers.Interface(JSON.parse(fs.readFileSync(new URL(`../artifacts/${name}.json`, import.meta.url))).abi);
const write = (name, value) => fs.writeFileSync(`${process.argv[2]}/${name}`, S.toJson(value));

const CHAIN = 31337;
const VAULT = '0x00000000000000000000000000000000a55a0001';
const wallet = name => new ethers.Wallet(ethers.keccak256(ethers.toUtf8Bytes(`assay test key: ${name}`)));
const keys = Object.fromEntries(['requester0', 'requester1', 'requester2', 'gateway', 'node0', 'node1', 'bridge', 'challenger']
  .map(name => [name, wallet(name)]));
const addr = name => keys[name].address;
const h = text => ethers.keccak256(ethers.toUtf8Bytes(text));
const keyList = names => Object.fromEntries(names.map(n => [n, { testPrivateKey: keys[n].privateKey, address: addr(n) }]));
const WARNING = 'test vectors: the private keys are public, never use them';

// ---- typed data: an example, all zero and all ones of each type, in two domains ----

const ones = type => Object.fromEntries(S.TYPES[type].map(({ name, type: t }) => [name,
  t === 'address' ? '0xffffffffffffffffffffffffffffffffffffffff'
    : t === 'bytes32' ? '0x' + 'ff'.repeat(32) : (1n << BigInt(t.slice(4))) - 1n]));
const zeros = type => Object.fromEntries(S.TYPES[type].map(({ name, type: t }) => [name,
  t === 'address' ? ethers.ZeroAddress : t === 'bytes32' ? ethers.ZeroHash : 0n]));

const cap = {
  requester: addr('requester0'), gateway: addr('gateway'), maxSpend: 100_000_000_000_000n, maxLocked: 5_000_000_000_000n,
  maxPriceIn: 1_000_000n, maxPriceOut: 4_000_000n, models: ethers.ZeroHash, voucherSigner: ethers.ZeroAddress, nonce: 7n, deadline: 1_900_000_000n,
};
const terms = {
  jobId: h('job'), segment: 1n, requester: addr('requester0'), gateway: addr('gateway'), node: addr('node0'), cap: S.structHash('SpendingCap', cap),
  laneSeq: 41n, linkSeq: 1003n, model: h('model'), request: h('request'), sampling: h('sampling'), maxIn: 4096n, maxOut: 512n,
  priceIn: 100_000n, priceCached: 10_000n, priceOut: 400_000n, tier: 2n, issuedAt: 1_800_000_000n, deadline: 1_800_000_600n,
};
const receipt = {
  terms: S.structHash('Terms', terms), inTokens: 1200n, cachedTokens: 200n, outTokens: 340n, output: h('output'), finish: 1n, firstMs: 312n, lastMs: 5120n, amount: 0n,
};
receipt.amount = S.costOf(terms, receipt);
const examples = {
  SpendingCap: ['requester0', cap],
  Terms: ['gateway', terms],
  Receipt: ['node0', receipt],
  Checkpoint: ['node0', { kind: 2n, signer: addr('node0'), peer: addr('gateway'), number: 12n, first: 1003n, count: 1n, root: S.structHash('Receipt', receipt) }],
  Ack: ['gateway', { gateway: addr('gateway'), node: addr('node0'), upTo: 1004n, cum: 238_000_000_000n, payBy: 1_800_001_200n }],
  Voucher: ['bridge', { requester: addr('requester2'), gateway: addr('gateway'), lane: 3n, cum: 77_000_000_001n }],
};
const domains = [S.domainOf(CHAIN, VAULT), S.domainOf(8453, '0x' + 'ff'.repeat(20))];
const typed = [];
for (const [type, [signer, example]] of Object.entries(examples)) {
  for (const [d, label, value] of [[0, 'example', example], [1, 'example, another chain and contract', example], [0, 'all zero', zeros(type)], [1, 'all ones', ones(type)]]) {
    typed.push({
      type, case: label, domain: d, value, structHash: S.structHash(type, value), digest: S.digest(domains[d], type, value),
      signer, signature: await S.sign(keys[signer], domains[d], type, value),
    });
  }
}
write('eip712.json', {
  about: WARNING,
  keys: keyList(['requester0', 'gateway', 'node0', 'bridge']),
  domains: domains.map(d => ({ ...d, separator: S.domainSeparator(d) })),
  types: Object.keys(S.TYPE_STRINGS).map(name => ({ name, string: S.TYPE_STRINGS[name], typehash: S.typeHash(name) })),
  vectors: typed,
});

// ---- sum trees ----

const leavesOf = (n, first) => [...Array(n).keys()].map(i => {
  const unused = i % 5 === 3; // a ticket without receipt
  return { laneSeq: BigInt(first + i), amount: unused ? 0n : 1_000_000n * BigInt(i + 1) + 7n, receipt: unused ? ethers.ZeroHash : h(`receipt ${first + i}`) };
});
const sumTrees = [1, 2, 3, 4, 5, 6, 7, 8, 9, 40].map(n => {
  const first = n === 40 ? 1_000_000 : 0;
  const leaves = leavesOf(n, first);
  const tree = S.sumTree(leaves.map(l => S.sumLeaf(l.laneSeq, l.amount, l.receipt)));
  const indexes = n < 10 ? [...Array(n).keys()] : [0, 1, 7, 31, 32, 38, 39];
  return {
    count: n, first, leaves: leaves.map((l, i) => ({ ...l, hash: tree[0][i].hash })), root: S.rootOf(tree),
    paths: indexes.map(index => ({ index, path: S.pathOf(tree, index) })),
  };
});
const big = S.sumTree([S.sumLeaf((1n << 64n) - 1n, (1n << 96n) - 1n, '0x' + 'ff'.repeat(32))]);
write('sumtree.json', {
  about: 'leaf = keccak256(0x00 || u64 laneSeq || u96 amount || receipt); join = keccak256(0x01 || hash || u96 sum || hash || u96 sum); an absent right node is (0, 0) and is left out of paths',
  trees: sumTrees,
  largest: { laneSeq: (1n << 64n) - 1n, amount: (1n << 96n) - 1n, receipt: '0x' + 'ff'.repeat(32), root: S.rootOf(big) },
});

// ---- checkpoint trees ----

write('checkpoint.json', {
  about: 'leaves are struct hashes in order; inner = keccak256(0x01 || left || right); the last node of an odd level moves up unhashed',
  trees: [1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 255, 256].map(n => {
    const tree = S.checkpointTree([...Array(n).keys()].map(i => h(`item ${i}`)));
    const indexes = n < 10 ? [...Array(n).keys()] : [0, 1, n >> 1, n - 2, n - 1];
    return { count: n, leaves: 'keccak256("item " || decimal index)', root: S.rootOf(tree), paths: indexes.map(index => ({ index, leaf: tree[0][index], path: S.pathOf(tree, index) })) };
  }),
});

// ---- two batches from signed caps to a proven leaf ----

const domain = S.domainOf(CHAIN, VAULT);
const vault = abi('Vault');
const court = abi('Court');
const NOW = 1_800_000_000n;
const caps = [0, 1, 2].map(i => ({ ...cap, requester: addr(`requester${i}`), nonce: BigInt(i), voucherSigner: i === 2 ? addr('bridge') : ethers.ZeroAddress, deadline: NOW + 86_400n * 30n }));
const calls = [];
const call = (from, contract, iface, f, args) => calls.push({ from: from, to: contract, function: f, calldata: iface.encodeFunctionData(f, args) });
for (const node of ['node0', 'node1']) call(node, 'Vault', vault, 'openLink', [addr('gateway')]);
for (const c of caps) {
  const signer = Object.keys(keys).find(n => addr(n) === c.requester);
  call('gateway', 'Vault', vault, 'openLane', [c, await S.sign(keys[signer], domain, 'SpendingCap', c), 2_000_000_000_000n]);
}

const lanes = [0, 1, 2].map(() => ({ seq: 0, spent: 0n }));
const links = [0, 1].map(() => ({ seq: 0, cum: 0n, jobs: [] }));
const batches = [];
for (const [number, counts] of [[0, [1, 5, 9]], [1, [4, 3]]].entries()) {
  const jobs = counts[1].map((count, lane) => [...Array(count).keys()].map(i => {
    const link = (lane + i) % 2;
    const ticket = {
      jobId: h(`job ${number} ${lane} ${i}`), segment: 0n, requester: caps[lane].requester, gateway: addr('gateway'), node: addr(`node${link}`),
      cap: S.structHash('SpendingCap', caps[lane]), laneSeq: BigInt(lanes[lane].seq++), linkSeq: BigInt(links[link].seq++), model: h('model'),
      request: h(`request ${i}`), sampling: h('sampling'), maxIn: 2000n, maxOut: 500n, priceIn: 100_000n, priceCached: 10_000n, priceOut: 400_000n,
      tier: 1n, issuedAt: NOW - 60n, deadline: NOW + 60n,
    };
    if (i === 4) return { terms: ticket, receipt: null, hash: ethers.ZeroHash, amount: 0n, link };
    const r = { terms: S.structHash('Terms', ticket), inTokens: BigInt(100 + i), cachedTokens: BigInt(i), outTokens: BigInt(10 * i + 3), output: h(`output ${i}`), finish: 1n, firstMs: 100n, lastMs: 900n, amount: 0n };
    r.amount = S.costOf(ticket, r);
    links[link].cum += r.amount;
    const job = { terms: ticket, receipt: r, hash: S.structHash('Receipt', r), amount: r.amount, link };
    links[link].jobs.push(job);
    return job;
  }));
  const trees = jobs.map(list => S.sumTree(list.map(j => S.sumLeaf(j.terms.laneSeq, j.amount, j.hash))));
  const entries = trees.map((tree, lane) => {
    const before = lanes[lane].spent;
    lanes[lane].spent += S.rootOf(tree).sum;
    return { lane: lane + 1, count: jobs[lane].length, first: jobs[lane][0].terms.laneSeq, before, spent: lanes[lane].spent, tree: S.rootOf(tree).hash };
  });
  const top = S.batchTree(entries.map(S.entryHash));
  const debits = entries.map(S.debitWords);
  const credits = links.map((l, i) => S.creditWord(i + 1, l.cum));
  call('gateway', 'Vault', vault, 'settle', [number, debits, credits]);
  batches.push({
    number, root: S.rootOf(top), debits: debits.map(([word, tree]) => [ethers.toBeHex(word, 32), tree]), credits: credits.map(c => ethers.toBeHex(c, 32)),
    entries: entries.map((e, lane) => ({
      ...e, hash: S.entryHash(e), path: S.pathOf(top, lane),
      leaves: jobs[lane].map(j => ({ laneSeq: j.terms.laneSeq, amount: j.amount, receipt: j.hash })),
    })),
    calldata: calls.at(-1).calldata,
    jobs, trees, top,
  });
}

// Leaf 2 of lane 2 of batch 0: demanded and justified.
const b = batches[0];
const job = b.jobs[1][2];
const entry = (({ lane, count, first, before, spent, tree }) => ({ lane, count, first, before, spent, tree }))(b.entries[1]);
const signed = links[job.link].jobs.filter(j => b.jobs.flat().includes(j));
const receiptTree = S.checkpointTree(signed.map(j => j.hash));
const position = signed.indexOf(job);
const checkpoint = { kind: 2n, signer: job.terms.node, peer: addr('gateway'), number: 0n, first: signed[0].terms.linkSeq, count: BigInt(signed.length), root: S.rootOf(receiptTree) };
const proof = {
  path: S.pathOf(b.trees[1], 2), receipt: job.receipt, terms: job.terms, cap: caps[1], checkpoint,
  signature: await S.sign(keys[`node${job.link}`], domain, 'Checkpoint', checkpoint), position, receiptPath: S.pathOf(receiptTree, position),
  voucher: { requester: ethers.ZeroAddress, gateway: ethers.ZeroAddress, lane: 0, cum: 0 }, voucherSignature: '0x',
};
call('challenger', 'Court', court, 'demand', [addr('gateway'), 0, entry, b.entries[1].path, 2, false]);
call('gateway', 'Court', court, 'prove', [0, 0, entry, job.amount, proof]);
const ack = { gateway: addr('gateway'), node: addr('node1'), upTo: BigInt(links[1].seq), cum: links[1].cum + 123_456_789n, payBy: NOW - 1n };
call('node1', 'Vault', vault, 'redeem', [ack, await S.sign(keys.gateway, domain, 'Ack', ack)]);

write('batch.json', {
  about: WARNING + '. Calls in order, from a new market with this Vault address at time `now`; each must succeed.',
  now: NOW, domain, keys: keyList(Object.keys(keys)),
  caps: caps.map(c => ({ ...c, structHash: S.structHash('SpendingCap', c) })),
  batches: batches.map(({ jobs, trees, top, ...rest }) => rest),
  job: { batch: 0, lane: 2, index: 2, terms: job.terms, receipt: job.receipt, checkpoint, position, receiptPath: proof.receiptPath, signature: proof.signature, path: proof.path },
  ack, ackPays: 123_456_789n,
  calls,
});
