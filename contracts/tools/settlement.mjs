// The settlement formats in JavaScript: typed data, sum trees, checkpoint trees, entries, batches. Written from the
// protocol's text and sharing no code with the contracts, so that their agreement means something. Integers are
// BigInt or Number, bytes are 0x strings.
import { ethers } from 'ethers';

const { keccak256, AbiCoder, TypedDataEncoder } = ethers;

// ---- EIP-712 ----

export const TYPE_STRINGS = {
  SpendingCap: 'SpendingCap(address requester,address gateway,uint128 maxSpend,uint128 maxLocked,uint128 maxPriceIn,uint128 maxPriceOut,bytes32 models,address voucherSigner,uint64 nonce,uint64 deadline)',
  Terms: 'Terms(bytes32 jobId,uint32 segment,address requester,address gateway,address node,bytes32 cap,uint64 laneSeq,uint64 linkSeq,bytes32 model,bytes32 request,bytes32 sampling,uint64 maxIn,uint64 maxOut,uint128 priceIn,uint128 priceCached,uint128 priceOut,uint8 tier,uint64 issuedAt,uint64 deadline)',
  Receipt: 'Receipt(bytes32 terms,uint64 inTokens,uint64 cachedTokens,uint64 outTokens,bytes32 output,uint8 finish,uint64 firstMs,uint64 lastMs,uint128 amount)',
  Checkpoint: 'Checkpoint(uint8 kind,address signer,address peer,uint64 number,uint64 first,uint32 count,bytes32 root)',
  Ack: 'Ack(address gateway,address node,uint64 upTo,uint128 cum,uint64 payBy)',
  Voucher: 'Voucher(address requester,address gateway,uint32 lane,uint128 cum)',
};

export const TYPES = Object.fromEntries(Object.entries(TYPE_STRINGS).map(([name, text]) => [
  name,
  text.slice(name.length + 1, -1).split(',').map(field => {
    const [type, fieldName] = field.split(' ');
    return { name: fieldName, type };
  }),
]));

export const domainOf = (chainId, vault) => ({ name: 'Assay', version: '1', chainId, verifyingContract: vault });
export const typeHash = type => keccak256(ethers.toUtf8Bytes(TYPE_STRINGS[type]));

const encoders = Object.fromEntries(Object.keys(TYPES).map(type => [type, TypedDataEncoder.from({ [type]: TYPES[type] })]));
export const structHash = (type, value) => encoders[type].hashStruct(type, value);
export const domainSeparator = domain => TypedDataEncoder.hashDomain(domain);
export const digest = (domain, type, value) => TypedDataEncoder.hash(domain, { [type]: TYPES[type] }, value);
export const sign = (wallet, domain, type, value) => wallet.signTypedData(domain, { [type]: TYPES[type] }, value);

// ---- trees ----

const hex = (value, bytes) => ethers.toBeHex(value, bytes).slice(2);
const EMPTY = { hash: ethers.ZeroHash, sum: 0n };

export const sumLeaf = (laneSeq, amount, receipt) =>
  ({ hash: keccak256('0x00' + hex(laneSeq, 8) + hex(amount, 12) + receipt.slice(2)), sum: BigInt(amount) });

const sumJoin = (l, r) => ({
  hash: keccak256('0x01' + l.hash.slice(2) + hex(l.sum, 12) + r.hash.slice(2) + hex(r.sum, 12)),
  sum: l.sum + r.sum,
});

// Levels of a tree, leaves first. `single` makes the parent of the last node of an odd level.
function levelsOf(leaves, pair, single) {
  const levels = [leaves];
  while (levels.at(-1).length > 1) {
    const below = levels.at(-1);
    const level = [];
    for (let i = 0; i < below.length; i += 2)
      level.push(i + 1 < below.length ? pair(below[i], below[i + 1]) : single(below[i]));
    levels.push(level);
  }
  return levels;
}

// The siblings from node `index` of `level` up to the root; where there is no sibling, there is no entry.
export function pathOf(levels, index, level = 0) {
  const path = [];
  for (let k = level; k < levels.length - 1; k++, index >>= 1) {
    const sibling = levels[k][index ^ 1];
    if (sibling !== undefined) path.push(sibling);
  }
  return path;
}

export const rootOf = levels => levels.at(-1)[0];
export const sumTree = leaves => levelsOf(leaves, sumJoin, node => sumJoin(node, EMPTY));
export const checkpointTree = hashes => levelsOf(hashes, (l, r) => keccak256('0x01' + l.slice(2) + r.slice(2)), node => node);
export const batchTree = hashes =>
  levelsOf(hashes, (a, b) => (a < b ? keccak256(a + b.slice(2)) : keccak256(b + a.slice(2))), node => node);

// ---- entries and batches ----

export const entryHash = e => keccak256(AbiCoder.defaultAbiCoder().encode(
  ['uint32', 'uint32', 'uint64', 'uint96', 'uint96', 'bytes32'], [e.lane, e.count, e.first, e.before, e.spent, e.tree]));

export const debitWords = e => [(BigInt(e.lane) << 128n) | (BigInt(e.count) << 96n) | BigInt(e.spent), e.tree];
export const creditWord = (link, cum) => (BigInt(link) << 96n) | BigInt(cum);

// What the tokens of a receipt cost under its terms.
export const costOf = (terms, receipt) =>
  BigInt(receipt.inTokens - receipt.cachedTokens) * BigInt(terms.priceIn)
  + BigInt(receipt.cachedTokens) * BigInt(terms.priceCached) + BigInt(receipt.outTokens) * BigInt(terms.priceOut);

// Ready to print: BigInt as decimal string.
export const toJson = value => JSON.stringify(value, (_, x) => (typeof x === 'bigint' ? x.toString() : x), 1) + '\n';
