#!/usr/bin/env python3
"""Breaks one rule of the contracts at a time, in a copy, and expects the tests to notice.

mutate.py [NUMBER ...]   runs all mutants, or those with these numbers
mutate.py --write        runs all and writes mutants.md

Exits 1 when a mutant survives. Takes about ten minutes: not part of the ordinary checks.
"""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = os.path.join(ROOT, '.mutant', 'contracts')
FORGE = os.path.join(ROOT, 'node_modules/@foundry-rs/forge-linux-amd64/bin/forge')

V, C, R = 'Vault.sol', 'Court.sol', 'StakeRegistry.sol'
M = 'ModelRegistry.sol'
S, W, P = 'libraries/SumTree.sol', 'libraries/Wire.sol', 'libraries/Packed.sol'
X, Y = 'libraries/ExactOps.sol', 'libraries/ExactTree.sol'

# (file, what stands there once, what stands there instead); white space does not count
MUTANTS = [
    # accounts
    (V, 'if (has < pico) revert InsufficientFunds(account);\n        free[account] = uint96(has - pico);',
     'unchecked { free[account] = uint96(has - pico); }'),
    (V, 'if (allowed < pico) revert InsufficientAllowance(from);', ''),
    (V, 'if (allowed != type(uint96).max) allowance[from][msg.sender] = allowed - pico;', ''),
    (V, 'if (allowed != type(uint96).max) allowance', 'allowance'),
    (V, 'token.safeTransferFrom(msg.sender, address(this), base);', ''),
    # guardian
    (V, 'time > NOTICE / 2 || ', ''),
    (V, ' || (last != 0 && block.timestamp < last + NOTICE)', ''),
    (V, 'if (msg.sender != guardian) revert NotGuardian();', ''),
    (V, 'function pull(SpendingCap calldata cap, uint96 pico) external whenLive {',
     'function pull(SpendingCap calldata cap, uint96 pico) external {'),
    (V, 'uint256[] calldata credits) external whenLive {', 'uint256[] calldata credits) external {'),
    (V, 'function withdraw(uint64 base) external {', 'function withdraw(uint64 base) external whenLive {'),
    (V, 'function close(address gateway) external {', 'function close(address gateway) external whenLive {'),
    (V, 'function claim(address gateway) external returns', 'function claim(address gateway) external whenLive returns'),
    (V, 'bytes calldata signature) external returns (uint96 paid)',
     'bytes calldata signature) external whenLive returns (uint96 paid)'),
    # gateways
    (V, 'if (g.exitAt != 0) revert GatewayExiting();\n        g.exitAt', 'g.exitAt'),
    (V, 'if (block.timestamp < g.exitAt) revert TooEarly(g.exitAt);', ''),
    (V, '        g.bond = 0;\n', ''),
    (V, 'GATEWAY_BPS / (BPS - NODE_BPS)', 'GATEWAY_BPS / BPS'),
    (V, '        g.fees = 0;\n', ''),
    (V, 'uint256 from = uint256(g.exitAt) + EXIT;', 'uint256 from = uint256(g.exitAt);'),
    (V, '        g.pool = 0;\n', ''),
    # lanes
    (V, 'block.timestamp > cap.deadline || cap.nonce', 'cap.nonce'),
    (V, ' || cap.nonce < minNonce[cap.requester][msg.sender]', ''),
    (V, 'if (cap.models != 0) revert ModelsUnsupported();', ''),
    (V, 'if (LaneId.unwrap(_caps[h].lane) != 0) revert CapKnown();', ''),
    (V, 'if (!SignatureChecker.isValidSignatureNowCalldata(cap.requester', 'if (false && !SignatureChecker.isValidSignatureNowCalldata(cap.requester'),
    (V, 'if (l.voucherSigner != cap.voucherSigner) revert VoucherSignerDiffers();', ''),
    (V, 'if (l.closeAt != 0) revert LaneEnding(); if (l.voucherSigner', 'if (l.voucherSigner'),
    (V, 'block.timestamp > c.endsAt || c.nonce', 'c.nonce'),
    (V, ' || c.nonce < minNonce[cap.requester][cap.gateway]', ''),
    (V, 'if (l.closeAt != 0) revert LaneEnding();\n        LaneWord', 'LaneWord'),
    (V, 'if (pulled > cap.maxSpend) revert CapExceeded();', ''),
    (V, 'if (locked > cap.maxLocked) revert LaneFull();', ''),
    (V, 'c.pulled = pulled.toUint96();', ''),
    (V, 'if (msg.sender != cap.requester) revert NotRequester();', ''),
    (V, ' && endsAt < c.endsAt', ''),
    (V, 'if (minNonce[msg.sender][cap.gateway] <= cap.nonce) {', '{'),
    (V, 'if (l.closeAt != 0) revert LaneEnding();\n        l.closeAt', 'l.closeAt'),
    (V, 'l.closeAt == 0 || block.timestamp < l.closeAt', 'l.closeAt == 0'),
    (V, 'l.word = Packed.packLane(0, w.spent(), w.seq());', ''),
    (V, 'laneOf[gateway][msg.sender] = LaneId.wrap(0);', ''),
    # links
    (V, 'if (LinkId.unwrap(linkOf[gateway][msg.sender]) != 0) revert LinkKnown();', ''),
    (V, '!registry.isActive(IStakeRegistry.Role.Node, msg.sender)', 'false'),
    (V, '!registry.isActive(IStakeRegistry.Role.Gateway, gateway)', 'false'),
    (V, 'k.taken += int96(int256(after_) - int256(before));', ''),
    (V, '(cum * _share(class) + BPS - 1) / BPS', 'cum * _share(class) / BPS'),
    # settle
    (V, 'if (debits.length != 0 && g.exitAt != 0) revert GatewayExiting();', ''),
    (V, 'if (number != g.batches) revert WrongNumber(g.batches);', ''),
    (V, 'if (credited > g.pool + debited) revert PoolOverdrawn();', ''),
    (V, 'if (debits.length != 0 && g.bond < MIN_BOND + unfinal) revert NotCovered();', ''),
    (V, 'g.bond < MIN_BOND + unfinal', 'g.bond < unfinal'),
    (V, 'if (debits.length != 0 && g.bond < MIN_BOND', 'if (g.bond < MIN_BOND'),
    (V, ' || LaneId.unwrap(id) > lanes) revert', ') revert'),
    (V, 'if (LaneId.unwrap(id) == 0 || LaneId.unwrap(id) > lanes)', 'if (LaneId.unwrap(id) > lanes)'),
    (V, ' || LinkId.unwrap(id) > links) revert', ') revert'),
    (V, 'count == 0 || count > MAX_COUNT', 'count == 0'),
    (V, 'count == 0 || count > MAX_COUNT', 'count > MAX_COUNT'),
    (V, 'if (spent < before) revert TotalFell(id);\n        amount = spent - before;', 'unchecked { amount = spent - before; }'),
    (V, 'if (amount > w.locked()) revert LaneOverdrawn(id);\n        l.word = Packed.packLane(w.locked() - amount, spent, first + count);',
     'unchecked { l.word = Packed.packLane(w.locked() - amount, spent, first + count); }'),
    (V, 'spent, first + count);', 'spent, first);'),
    (V, 'staked += gain;', 'staked += 0;'),
    (V, 'block.timestamp <= uint256(b.postedAt) + WINDOW + 2 * uint256(ANSWER)', 'block.timestamp < uint256(b.postedAt) + WINDOW + 2 * uint256(ANSWER)'),
    (V, 'WINDOW + 2 * uint256(ANSWER)) break;', 'WINDOW) break;'),
    (V, 'i + 1 < n ? Hashes.commutativeKeccak256(h[i], h[i + 1]) : h[i];', 'Hashes.commutativeKeccak256(h[i], i + 1 < n ? h[i + 1] : h[i]);'),
    # nodes
    (V, '_links[gateway][id].taken += int96(int256(base * SCALE));', ''),
    (V, 'else if (uint256(w.epoch()) + 1 == epoch) gross -= w.cur();', ''),
    (V, 'gross -= uint256(w.cur()) + w.prev();', 'gross -= uint256(w.cur());'),
    (V, 'if (block.timestamp <= ack.payBy) revert TooEarly(uint256(ack.payBy) + 1);', ''),
    (V, 'if (!Wire.isSignedBy(ack.gateway,', 'if (false && !Wire.isSignedBy(ack.gateway,'),
    (V, 'if (ack.cum <= cum) return 0;', ''),
    (V, 'if (fromBond > spare) fromBond = spare;', ''),
    (V, 'g.pool -= uint96(fromPool);', ''),
    (V, 'g.fees += uint96(uint256(paid)', 'g.fees += uint96(0 * uint256(paid)'),
    # Court only
    (V, 'if (msg.sender != court) revert NotCourt();', ''),
    (V, '_batches[gateway][number].total -= refund;', ''),
    (V, 'g.unfinal -= refund;', ''),
    (V, 'g.bond -= refund;', ''),
    (V, 'if (g.jailed) return 0;', ''),
    (V, 'spare < MIN_BOND ? uint96(spare) : MIN_BOND', 'MIN_BOND'),
    (V, 'if (g.exitAt == 0) g.exitAt = uint40(block.timestamp) + EXIT;\n        emit Jailed', 'emit Jailed'),
    (V, 'return g.bond > g.unfinal ? g.bond - g.unfinal : 0;', 'return g.bond;'),
    # Court
    (C, 'if (vault_.court() != address(this)) revert WrongVault();', ''),
    (C, 'if (b.postedAt == 0) revert UnknownBatch();', ''),
    (C, 'if (block.timestamp > uint256(b.postedAt) + WINDOW) revert WindowOver();', ''),
    (C, 'if (!MerkleProof.verifyCalldata(path, b.root, h)) revert NotInBatch();', ''),
    (C, 'if (index >= entry.count || (opening && index != 0)) revert BadIndex();', ''),
    (C, ' || (opening && index != 0)', ''),
    (C, 'if (_voided[key]) revert AlreadyVoided();', ''),
    (C, 'vault.take(msg.sender, stake);', ''),
    (C, 'OPEN_FEE * uint96(entry.count)', 'OPEN_FEE'),
    (C, 'if (d.opening) revert WrongKind();', ''),
    (C, 'if (!d.opening) revert WrongKind();', ''),
    (C, 'if (block.timestamp > d.deadline) revert TooLate();\n        uint32 index', 'uint32 index'),
    (C, 'if (block.timestamp > d.deadline) revert TooLate();\n        uint32 from', 'uint32 from'),
    (C, 'uint64 seq = entry.first + index;', 'uint64 seq = entry.first;'),
    (C, 'if (amount != 0) {', 'if (false) {'),
    (C, 'chunk.level > MAX_LEVEL || ', ''),
    (C, ' || from & ((1 << chunk.level) - 1) != 0', ''),
    (C, 'if (chunk.amounts.length != size) revert BadChunk();', ''),
    (C, 'if (size == rest) _answer(id, d);', '_answer(id, d);'),
    (C, 'if (block.timestamp <= d.deadline) revert TooEarly();', ''),
    (C, 'if (block.timestamp > uint256(d.deadline) + ANSWER) revert TooLate();', ''),
    (C, 'if (!_voided[d.entry]) {', '{'),
    (C, '        d.closed = true;\n        uint96 refund;', '        uint96 refund;'),
    (C, '        d.closed = true;\n        vault.give', '        vault.give'),
    (C, 'a.kind != Wire.KIND_TICKETS || b.kind', 'b.kind'),
    (C, ' || b.kind != Wire.KIND_TICKETS', ''),
    (C, '|| a.peer != b.peer ', ''),
    (C, '|| a.number != b.number ', ''),
    (C, '|| hashA == hashB', ''),
    (C, '!_isSignedBy(a.signer, hashA, signatureA) || ', ''),
    (C, ' || !_isSignedBy(a.signer, hashB, signatureB)', ''),
    (C, 'if (vault.gatewayOf(a.signer).jailed) revert AlreadyJailed();', ''),
    (C, 'if (id >= demandCount) revert UnknownDemand();', ''),
    (C, 'if (d.closed) revert DemandClosed();', ''),
    (C, 'if (d.entry != _key(', 'if (false && d.entry != _key('),
    (C, 'abi.encode(gateway, number, entryHash)', 'abi.encode(gateway, entryHash)'),
    (C, 'root.hash != entry.tree || ', ''),
    (C, ' || root.sum != entry.spent - entry.before', ''),
    (C, 'r.terms != Wire.hash(t) || ', ''),
    (C, 'r.amount != amount || ', ''),
    (C, 'r.cachedTokens > r.inTokens || ', ''),
    (C, 'r.inTokens > t.maxIn\n                || ', ''),
    (C, '|| r.outTokens > t.maxOut ', ''),
    (C, '|| r.amount > Wire.cost(t, r)', ''),
    (C, 'c.signer != t.node || ', ''),
    (C, ' || LinkId.unwrap(vault.linkOf(gateway, t.node)) == 0', ''),
    (C, 'c.kind != Wire.KIND_RECEIPTS || ', ''),
    (C, 'c.peer != gateway || ', ''),
    (C, ' || c.count > MAX_CHECKPOINT', ''),
    (C, 'proof.receiptPath) != c.root', 'proof.receiptPath) == 0'),
    (C, 'if (!_isSignedBy(t.node,', 'if (false && !_isSignedBy(t.node,'),
    (C, 't.gateway != gateway || ', ''),
    (C, 't.requester != l.owner || ', ''),
    (C, 't.laneSeq != seq\n                || ', ''),
    (C, '|| LaneId.unwrap(c.lane) != LaneId.unwrap(entry.lane) ', ''),
    (C, ' || t.issuedAt > c.endsAt', ''),
    (C, 'Wire.hash(proof.cap) != t.cap || ', ''),
    (C, 't.priceIn > proof.cap.maxPriceIn || ', ''),
    (C, 't.priceCached > t.priceIn\n                || ', ''),
    (C, '|| t.priceOut > proof.cap.maxPriceOut', ''),
    (C, 'v.requester != l.owner || ', ''),
    (C, 'v.gateway != gateway\n                || ', ''),
    (C, 'LaneId.unwrap(v.lane) != LaneId.unwrap(entry.lane) || ', ''),
    (C, 'v.cum < entry.spent\n                || ', ''),
    (C, '|| !SignatureChecker.isValidSignatureNowCalldata(', '|| false && !SignatureChecker.isValidSignatureNowCalldata('),
    # libraries
    (S, 'if (right || ((index + 1) << level) < count) {', 'if (right || used < path.length) {'),
    (S, 'if (used != path.length) revert BadTree();', ''),
    (S, 'if (used == path.length) revert BadTree();', ''),
    (S, 'receipts.length != n', 'false'),
    (W, 'if (index >= count) revert BadPath();', ''),
    (W, 'if (used != path.length) revert BadPath();', ''),
    (W, 'uint256(r.inTokens - r.cachedTokens) * t.priceIn', 'uint256(r.inTokens) * t.priceIn'),
    (W, 'block.chainid, vault', 'uint256(1), vault'),
    (P, '} else if (last + 1 == now_) {', '} else if (false) {'),
    (P, 'current += uint64(word >> 88);', ''),
    (P, 'previous = uint64(word >> 152);', ''),
    (P, 'to > type(uint88).max || ', ''),
    (P, ' || current > type(uint64).max', ''),
    (P, 'word = word >> 248 << 248 | ', 'word = '),
    # registries
    (R, 'if (p.registered) revert AlreadyRegistered();', ''),
    (R, 'if (amount < minimum[role]) revert BelowMinimum(minimum[role]);', ''),
    (R, 'p.unbondsAt = uint40(block.timestamp) + unbondingPeriod;', 'if (p.unbondsAt == 0) p.unbondsAt = uint40(block.timestamp) + unbondingPeriod;'),
    (R, 'if (block.timestamp < p.unbondsAt) revert TooEarly(p.unbondsAt);', ''),
    (R, '        p.unbonding = 0;\n', ''),
    (R, ') external onlyRole(SLASHER_ROLE) returns (uint128 taken)', ') external returns (uint128 taken)'),
    (R, 'function ban(Role role, address account) external onlyRole(SLASHER_ROLE) {', 'function ban(Role role, address account) external {'),
    (R, 'uint128 amount) external onlyRole(DEFAULT_ADMIN_ROLE) {', 'uint128 amount) external {'),
    (R, 'p.unbonding -= fromUnbonding;', ''),
    (R, 'if (burned != 0) ERC20Burnable(address(token)).burn(burned);', ''),
    (R, 'burned -= _pay(challenger, uint256(amount) * CHALLENGER_BPS / BPS);', 'burned -= _pay(challenger, uint256(amount) * HARMED_BPS / BPS);'),
    (R, 'return p.registered && ', 'return '),
    (R, '!p.banned && p.stake', 'p.stake'),
    (R, ' && p.stake >= minimum[role]', ''),
    (R, 'return p.banned ? 0 : p.stake;', 'return p.stake;'),
    (M, 'if (_models[digest].publisher != address(0)) revert AlreadyRegistered();', ''),
    (M, 'bytes32 weightsRoot) external onlyOwner {', 'bytes32 weightsRoot) external {'),
    (M, 'msg.sender != m.publisher && ', ''),
    (M, 'm.weightsRoot = weightsRoot;', ''),
    # steps of exact/1
    (X, 'return x > CAP ? CAP : x < -CAP ? -CAP : x;', 'return x > CAP ? CAP : x;'),
    (X, 'int256 internal constant CAP = (1 << 30) - 1;', 'int256 internal constant CAP = 1 << 30;'),
    (X, 'return (x + int256(1 << (s - 1))) >> s;', 'return x >> s;'),
    (X, 'return (x + int256(1 << (s - 1))) >> s;', 'return (x + int256(1 << (s - 1)) - (x < 0 ? int256(1) : int256(0))) >> s;'),
    (X, 'return s == 0 ? x : round(x, s);', 'return s == 0 ? x : x >> s;'),
    (X, 'return s < 1 ? 1 : s > 62 ? 62 : uint256(s);', 'return s < 1 ? 1 : s > 63 ? 63 : uint256(s);'),
    (X, 'return s < 1 ? 1 : s > 62 ? 62 : uint256(s);', 'return s < 2 ? 2 : s > 62 ? 62 : uint256(s);'),
    (X, '(n >= 16 ? v >> (n - 16) :', '(n >= 16 ? (v + (1 << (n - 16) >> 1)) >> (n - 16) :'),
    (X, 'return a >= 1 && a <= CAP;', 'return a >= 0 && a <= CAP;'),
    (X, 'return a >= 1 && a <= CAP;', 'return a >= 1;'),
    (X, 'return s >= 1 && s < 1 << 59;', 'return s >= 1 && s <= 1 << 59;'),
    (X, 'return s >= 1 && s < 1 << 59;', 'return s >= 0 && s < 1 << 59;'),
    (X, 'return l >= 1 << 30 && l <= int256(keys << 30);', 'return l >= 1 && l <= int256(keys << 30);'),
    (X, '&& l <= int256(keys << 30);', ';'),
    (X, 'half(constants, 8), shift(half(constants, 10))', 'half(constants, 0), shift(half(constants, 2))'),
    (X, 'int256(int16(uint16(two >> 8 & 0xff | two << 8)))', 'int256(int16(uint16(two)))'),
    (X, 'bits(a) + (wide ? 14 : 15)', 'bits(a) + 15'),
    (X, 'uint256(wide ? 32512 : 127)', 'uint256(wide ? 32767 : 127)'),
    (X, 'hi = (q + 128) >> 8;', 'hi = q >> 8;'),
    (X, 'exp -= 14;', ''),
    (X, 'return n > 22 ? n - 22 : 0;', 'return n > 23 ? n - 23 : 0;'),
    (X, 'return round(v * gain, 15);', 'return round(v * gain, 14);'),
    (X, 'int256 half_ = h == 0 ? int256(0) : int256(1 << (h - 1));', 'int256 half_;'),
    (X, 's = sum + (eps >> (2 * h));', 's = sum + (eps >> h);'),
    (X, 'if (s == 0) s = 1;', ''),
    (X, 'k += k & 1;', ''),
    (X, 'k += k & 1;', 'k -= k & 1;'),
    (X, 'exp -= k + 38;', 'exp -= k + 37;'),
    (X, '(mant, exp) = mantissa(a * r);', '(mant, exp) = mantissa(a * (r + 1));'),
    (X, 'shift(shift_ + k)', 'shift(shift_)'),
    (X, 'n > 13 ? n - 9 : 4', '4'),
    (X, 'bits(inputs - 1)', 'bits(inputs)'),
    (X, 'shift(half(constants, 2) - e)', 'shift(half(constants, 2) + e)'),
    (X, 'cap(cap(round(sum, shift(half(constants, 2) - e))) + biasOf(constants))', 'cap(round(sum, shift(half(constants, 2) - e)) + biasOf(constants))'),
    (X, '+ biasOf(constants));', ');'),
    (X, 'if (w.length != q.length || w.length % 32 != 0) revert BadLength();', ''),
    (X, 'if (w.length != q.length || w.length % 32 != 0) revert BadLength();', 'if (w.length > q.length || w.length % 32 != 0) revert BadLength();'),
    (X, 'if (xs.length % 32 != 0) revert BadLength();', ''),
    (X, 'if (offset & 2047 == 2016) {', 'if (false) {'),
    (X, 'offsets = 0;', ''),
    (X, 'int256(16384 * w.length)', 'int256(16384 * 64)'),
    (X, '256 * dot(w, hi) + dot(w, lo)', '128 * dot(w, hi) + dot(w, lo)'),
    (X, 'uint256 y = turned(word(w, offset) ^ SIGNS);', 'uint256 y = word(w, offset) ^ SIGNS;'),
    (X, '_q15(cc * fc - cs * fs)', '_q15(cc * fc + cs * fs)'),
    (X, 'x < -32767 ? -32767 : x', 'x < -32768 ? -32768 : x'),
    (X, 'cap(round(x0 * c - x1 * s, 15))', 'round(x0 * c - x1 * s, 15)'),
    (X, '>> 16) * 16643', '>> 16) * 16644'),
    (X, 'shift(24 - qe - ke)', 'shift(25 - qe - ke)'),
    (X, '<< 6) >> (d >> 16)', '<< 6) >> (d >> 16 & 31)'),
    (Y, 'climb(keccak256(piece), index, path)', 'climb(keccak256(piece), index ^ 1, path)'),
    (X, '((a - b) * int256(d & 2047)) >> 11', '((a - b) * int256(d & 2047) + 1024) >> 11'),
    (X, 'return w < 32767 ? w : 32767;', 'return w;'),
    (X, 'return top > 15 ? top - 15 : 0;', 'return top > 16 ? top - 16 : 0;'),
    (X, 'uint256 t = n > 16 ? n - 16 : 0;', 'uint256 t;'),
    (X, 'uint256 n = bits(keys - 1);', 'uint256 n = bits(keys);'),
    (X, 'uint256 down = n > 32 ? n - 32 : 0;', 'uint256 down;'),
    (X, 'l = 127 * (l >> down);', 'l = 128 * (l >> down);'),
    (X, 'int256(n + down) - int256(wm)', 'int256(n) - int256(wm)'),
    (X, 'uint256 ash = gelu ? 9 : 10;', 'uint256 ash = 10;'),
    (X, 'if (t < 256) {', 'if (t < 200) {'),
    (X, '+ int256(1 << (ash - 1))) >> ash)', ') >> ash)'),
    (X, 'if (g < 0) p = (1 << 20) - p;', ''),
    (X, '(gelu ? GELU : SILU)', 'SILU'),
    (X, 'return (65536000 + milli / 2) / milli;', 'return 65536000 / milli;'),
    (X, '(logit * int256(inverse_) + 32768) >> 16', '(logit * int256(inverse_)) >> 16'),
    (X, '(d * 1549082005) >> 30', '(d * 1549082004) >> 30'),
    (X, 'if (side == 1) w = (1 << 33) - w;', ''),
    (X, '((b - a) * int256((n >> 9) & 65535)) >> 16', '((b - a) * int256((n >> 9) & 65535)) / 65536'),
    (X, 'uint256(id >> 4) << 192', 'uint256(id) << 192'),
    (X, 'i < 12; ++i', 'i < 20; ++i'),
    (X, 'b = (b << 7 | b >> 25) & WORDS;', 'b = (b << 9 | b >> 23) & WORDS;'),
    (X, 'uint256 key = swapped(uint256(seed));', 'uint256 key = uint256(seed);'),
    (X, 'uint64(two << 32 | two >> 32)', 'uint64(two)'),
    (Y, 'if (data.length > LEAF << level) revert BadShape();', ''),
    (Y, 'keccak256(abi.encodePacked(data[end - LEAF:], new bytes(end - data.length)))', 'keccak256(data[end - LEAF:])'),
    (Y, 'node = index & 1 == 0', 'node = index & 1 == 1'),
    (Y, 'if (index != 0) revert BadShape();', ''),
    (Y, 'if (nodes.length != 1 << level) revert BadShape();', ''),
    (Y, 'return Hashes.efficientKeccak256(constants, piecesRoot(content));', 'return Hashes.efficientKeccak256(piecesRoot(content), constants);'),
    (Y, 'while (1 << level < n) ++level;', 'while (2 << level < n) ++level;'),
    (Y, 'if (header.length != LEAF) revert BadShape();', ''),
    (Y, 'empty = Hashes.efficientKeccak256(empty, empty);', ''),
    (Y, 'job.settings, LAYOUT', 'job.settings'),
    (Y, 'start = (end + size - 1) / size * size;', 'start = end;'),
    (Y, 'while (size < n) size <<= 1;', 'while (size <= n) size <<= 1;'),
    (Y, '"assay/output/2", o.prompt, o.answer,', '"assay/output/2", o.answer, o.prompt,'),
    (Y, 'o.promptIds, o.first, o.outputIds', 'o.promptIds, o.outputIds, o.first'),
    (Y, 'while (32 << depth < ids) ++depth;', 'while (32 << depth <= ids) ++depth;'),
    (Y, 'uint256(o.first) + o.outputIds', 'o.outputIds'),
    (Y, 'bool inAnswer = position >= o.promptIds;', 'bool inAnswer = position > o.promptIds;'),
    (Y, 'if (path.length != idsDepth(inAnswer ? answerIds : o.promptIds)) revert BadShape();', ''),
    (Y, 'if (inAnswer && index >= answerIds) revert BadShape();', ''),
    (Y, 'if (inAnswer && index >= answerIds)', 'if (inAnswer && index > answerIds)'),
    (Y, 'climb(keccak256(leaf), index / 32, path) != (inAnswer ? o.answer : o.prompt)', 'false'),
    (Y, '(inAnswer ? o.answer : o.prompt)', 'o.answer'),
    (Y, 'index = 4 * (index % 32);', 'index = 4 * (index % 31);'),
    (Y, 'return _little(uint32(bytes4(leaf[index:index + 4])));', 'return uint32(bytes4(leaf[index:index + 4]));'),
    (Y, 'if (leaf.length != LEAF) revert BadShape();', ''),
]


def pattern(text):
    tokens = re.findall(r'\w+|[^\w\s]', text)
    return re.compile(r'\s*'.join(map(re.escape, tokens)))


def run_tests(file=''):
    # Tests that deploy by file name are not compiled again for each mutant of a contract; without the optimizer the
    # compiler is four times as fast; what a former mutant failed on is not played again.
    env = dict(os.environ, FOUNDRY_DYNAMIC_TEST_LINKING='true', FOUNDRY_OPTIMIZER='false', FOUNDRY_CODE_SIZE_LIMIT='100000',
               FOUNDRY_FUZZ_RUNS='32', FOUNDRY_INVARIANT_RUNS='16', FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT='0',
               FOUNDRY_DENY='never')
    for kept in ('invariant', 'fuzz'):
        shutil.rmtree(f'{COPY}/cache/{kept}', ignore_errors=True)
    which = ['--match-path', 'test/exact/*'] if 'Exact' in file else []  # no other test comes near these
    r = subprocess.run([FORGE, 'test', '--fail-fast', *which], cwd=COPY, capture_output=True, text=True, env=env)
    failed = [line.strip() for line in r.stdout.splitlines() if line.startswith('[FAIL')]
    if r.returncode and not failed:
        print('does not compile:\n' + r.stdout[-800:] + r.stderr[-800:])
        return []  # counts as alive: a mutant that says nothing
    return failed


def name_of(failure):
    m = re.search(r'((?:test|invariant)_\w+)', failure)
    return m.group(1) if m else 'invariant_all'  # forge names it on another line


def main():
    write = '--write' in sys.argv
    only = [int(a) for a in sys.argv[1:] if a.isdigit()] or range(len(MUTANTS))
    for number, (file, old, _) in enumerate(MUTANTS):
        count = len(pattern(old).findall(open(f'{ROOT}/src/{file}').read()))
        if count != 1:
            sys.exit(f'mutant {number}: {count} places in {file} for {old!r}')
    os.makedirs(COPY, exist_ok=True)
    for part in ('src', 'test', 'vectors', 'tools'):
        shutil.rmtree(f'{COPY}/{part}', ignore_errors=True)
        shutil.copytree(f'{ROOT}/{part}', f'{COPY}/{part}')
    shutil.copy(f'{ROOT}/foundry.toml', COPY)
    for link, to in ((f'{COPY}/node_modules', f'{ROOT}/node_modules'), (f'{COPY}/../schema', f'{ROOT}/../schema')):
        if not os.path.lexists(link):
            os.symlink(to, link)
    if run_tests('Exact' if all('Exact' in MUTANTS[n][0] for n in only) else ''):
        sys.exit('the tests fail without any mutation')
    rows, alive = [], 0
    for number in only:
        file, old, new = MUTANTS[number]
        path = f'{COPY}/src/{file}'
        text = open(path).read()
        open(path, 'w').write(pattern(old).sub(lambda _: new, text))
        failed = run_tests(file)
        open(path, 'w').write(text)
        alive += not failed
        verdict = name_of(failed[0]) if failed else '**alive**'
        show = lambda s: '`' + re.sub(r'\s+', ' ', s).strip().replace('|', '\\|') + '`' if s else 'nothing'
        rows.append(f'| {number} | {file} | {show(old)} | {show(new)} | {verdict} |')
        print(f'{number:3} {"killed" if failed else "ALIVE "} {file}: {" ".join(old.split())[:70]}  <- {verdict}', flush=True)
    print(f'{len(rows) - alive} killed, {alive} alive')
    if write:
        with open(f'{ROOT}/mutants.md', 'w') as out:
            out.write(f'# Mutants\n\n`tools/mutate.py` breaks one rule at a time: {len(rows) - alive} killed, {alive} alive.\n'
                      'The last column names the first test that noticed.\n\n'
                      '| | file | instead of | stands | killed by |\n|--:|---|---|---|---|\n' + '\n'.join(rows) + '\n')
    shutil.rmtree(os.path.dirname(COPY))
    sys.exit(alive != 0)


if __name__ == '__main__':
    main()
