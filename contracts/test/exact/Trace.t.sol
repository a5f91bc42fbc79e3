// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ExactOps} from "../../src/libraries/ExactOps.sol";
import {ExactTest} from "./Exact.sol";

/// A whole trace, every leaf of it, judged step by step: the toy model "judged" (post-norms, norms of
/// Q and K, a window, two rotation tables, wide and narrow inputs, all filters). Its rows are made
/// here by the rule of exact.md section 11, so that formulas, places of leaves, places of rows and the
/// meaning of every word are met from the document once more.
contract TraceTest is ExactTest {
    uint256 internal constant D = 32;
    uint256 internal constant F = 32;
    uint256 internal constant HD = 16;
    uint256 internal constant HEADS = 2;
    uint256 internal constant V = 64;
    uint256 internal constant WINDOW = 3;
    uint256 internal constant PROMPT = 3;
    uint256 internal constant T = 6;
    uint256 internal constant FIRST = 2;
    bytes32 internal seed;
    uint256[] internal ids;

    mapping(uint256 index => bytes) internal leaves;
    mapping(uint256 index => bool) internal met;
    uint256 internal count;
    uint256 internal judged;

    /// What earlier steps gave and later ones use.
    struct Row {
        bytes hi; // or q
        bytes lo;
        uint256 mant;
        int256 exp;
    }

    struct Kept {
        bytes k;
        uint256 ak;
        bytes v;
        uint256 av;
    }
    mapping(uint256 layer => mapping(uint256 pos => Kept)) internal kept;

    function setUp() public {
        string memory json = vm.readFile(string.concat(FOLDER, "toys.json"));
        string memory run = "[3].runs[0].";
        assertEq(vm.parseJsonString(json, "[3].name"), "judged", "the toy");
        seed = vm.parseJsonBytes32(
            string.concat(
                '{"seed":"0x', vm.parseJsonString(json, string.concat(run, "seed")), '"}'
            ),
            ".seed"
        );
        uint256[] memory part = vm.parseJsonUintArray(json, string.concat(run, "prompt"));
        for (uint256 i; i < part.length; ++i) {
            ids.push(part[i]);
        }
        part = vm.parseJsonUintArray(json, string.concat(run, "output"));
        for (uint256 i; i < part.length; ++i) {
            ids.push(part[i]);
        }
        part = vm.parseJsonUintArray(json, string.concat(run, "leaf_indices"));
        bytes memory digits = bytes(vm.parseJsonString(json, string.concat(run, "leaves")));
        count = part.length;
        for (uint256 i; i < count; ++i) {
            bytes memory leaf_ = new bytes(128);
            for (uint256 k; k < 128; ++k) {
                uint256 where = 256 * i + 2 * k;
                leaf_[k] = bytes1(nibble(digits[where]) << 4 | nibble(digits[where + 1]));
            }
            leaves[part[i]] = leaf_;
        }
    }

    function nibble(bytes1 digit) internal pure returns (uint8) {
        uint8 d = uint8(digit);
        return d >= 97 ? d - 87 : d - 48;
    }

    // ---- the trace: section 9 ----

    uint256 internal constant LEAF_BITS = 6;
    uint256 internal constant LAYER_BITS = 2;

    function leaf(uint256 pos, uint256 slot, uint256 number) internal returns (bytes memory data) {
        uint256 index = (pos << LAYER_BITS | slot) << LEAF_BITS | number;
        data = leaves[index];
        if (data.length == 0) return new bytes(128);
        if (!met[index]) {
            met[index] = true;
            ++judged;
        }
    }

    function little(bytes memory data, uint256 from, uint256 size)
        internal
        pure
        returns (int256 x)
    {
        for (uint256 k; k < size; ++k) {
            x |= int256(uint256(uint8(data[from + k]))) << (8 * k);
        }
        return x >> (8 * size - 1) == 0 ? x : x - int256(1 << (8 * size));
    }

    function wordAt(uint256 pos, uint256 slot, uint256 number, uint256 i)
        internal
        returns (int256)
    {
        return little(leaf(pos, slot, number), 8 * i, 8);
    }

    function check32(uint256 pos, uint256 slot, uint256 start, int256[] memory y) internal {
        for (uint256 i; i < y.length; i += 32) {
            bytes memory data = leaf(pos, slot, start + i / 32);
            for (uint256 k; k < 32; ++k) {
                int256 wanted = i + k < y.length ? y[i + k] : int256(0);
                assertEqual(little(data, 4 * k, 4), wanted, "int32");
            }
        }
    }

    function checkMax(int256[] memory y, int256 a, int256 index) internal pure returns (uint256) {
        assertTrue(ExactOps.isMaximum(a) && index >= 0, "range");
        uint256 most = 1;
        for (uint256 i; i < y.length; ++i) {
            most = Math.max(most, ExactOps.magnitude(y[i]));
        }
        assertEq(uint256(a), most, "maximum");
        for (uint256 i; i < uint256(index); ++i) {
            assertTrue(ExactOps.magnitude(y[i]) < most, "not the first");
        }
        uint256 there = ExactOps.magnitude(y[uint256(index)]);
        assertTrue(there == most || (there == 0 && index == 0), "another index");
        return most;
    }

    // ---- the model: sections 8 and 11 ----

    struct Random {
        uint64 state;
    }

    function stream(uint256 row) internal pure returns (Random memory) {
        return Random(uint64(4 << 32 | row));
    }

    function draw(Random memory r) internal pure returns (uint256) {
        unchecked {
            r.state += 0x9e3779b97f4a7c15;
            uint64 z = r.state;
            z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
            z = (z ^ z >> 27) * 0x94d049bb133111eb;
            return z ^ z >> 31;
        }
    }

    uint256 internal constant LAYER_ROWS = 8;

    /// A weight row: gate_up 0, qkv 64, out 128, down 160 in a layer; embedding 512, head 576.
    function weights(uint256 row, int256 s, uint256 cols)
        internal
        pure
        returns (bytes32 constants, bytes memory w)
    {
        Random memory r = stream(row);
        uint256 place = row & 255;
        bool inLayer = row < 512;
        int256 m = int256(16384 + draw(r) % 16384);
        bool biased = inLayer && place >= 64 && place < 128;
        int256 bias = biased ? int256(draw(r) % 16384) - 8192 : int256(0);
        bool embedding = row >= 512 && row < 576;
        int256 em = embedding ? int256(16384 + draw(r) % 16384) : int256(0);
        w = new bytes(cols);
        for (uint256 k; k < cols; ++k) {
            w[k] = bytes1(uint8(int8(int256(draw(r) % 255) - 127)));
        }
        constants = embedding ? constantsOf(0, 0, 0, em, 5) : constantsOf(m, s, bias, 0, 0);
    }

    function gains(uint256 row, uint256 n) internal pure returns (int256[] memory gain) {
        Random memory r = stream(row);
        gain = new int256[](n);
        for (uint256 i; i < n; ++i) {
            uint256 u = draw(r);
            gain[i] = int256(2097152 + u % 4194304);
            if (u >= 1 << 63) gain[i] = -gain[i];
        }
    }

    function entry(uint256 table, uint256 e, uint256 i) internal pure returns (int256, int256) {
        int256 s =
            int256((table + 1) * (e + 1) * (i + 1) * 2654435761 % (1 << 31)) - int256(1 << 30);
        return (int256(Math.sqrt(uint256((1 << 60) - s * s))), s);
    }

    // ---- operators over whole vectors ----

    function normSumOf(int256[] memory x, uint256 a, uint256 eps) internal view returns (uint256) {
        uint256 h = ExactOps.normShift(a);
        int256[] memory padded = new int256[]((x.length + 7) / 8 * 8);
        for (uint256 i; i < x.length; ++i) {
            padded[i] = x[i];
        }
        return ExactOps.normSum(calls.squares(bytesOf(padded), h), eps, h);
    }

    function normOf(int256[] memory x, uint256 a, uint256 row)
        internal
        pure
        returns (int256[] memory y)
    {
        int256[] memory gain = gains(row, x.length);
        y = new int256[](x.length);
        for (uint256 i; i < x.length; ++i) {
            y[i] = ExactOps.normElement(ExactOps.normInput(x[i], ExactOps.normShift(a)), gain[i]);
        }
    }

    function checkLimbs(
        uint256 pos,
        uint256 slot,
        uint256 start,
        int256[] memory y,
        uint256 a,
        bool wide
    ) internal returns (Row memory row) {
        // P = 1: one leaf of words, one of high limbs, one of low limbs
        bytes memory hi = leaf(pos, slot, start + 1);
        bytes memory lo = leaf(pos, slot, start + 2);
        row.hi = new bytes(y.length);
        row.lo = new bytes(y.length);
        for (uint256 i; i < 128; ++i) {
            int256 q = i < y.length ? ExactOps.quantised(y[i], a, wide) : int256(0);
            (int256 high, int256 low) = wide ? ExactOps.limbs(q) : (q, int256(0));
            assertEqual(little(hi, i, 1), high, "high limb");
            assertEqual(little(lo, i, 1), low, "low limb");
            if (i < y.length) (row.hi[i], row.lo[i]) = (hi[i], lo[i]);
        }
    }

    function checkNormRow(
        uint256 pos,
        uint256 slot,
        uint256 start,
        int256[] memory x,
        uint256 normRow,
        bool wide
    ) internal returns (Row memory row) {
        uint256 a = checkMax(x, wordAt(pos, slot, start, 0), wordAt(pos, slot, start, 1));
        uint256 s = normSumOf(x, a, 4096);
        assertEqual(wordAt(pos, slot, start, 2), int256(s), "S");
        assertTrue(ExactOps.isSquares(int256(s)), "range of S");
        int256[] memory y = normOf(x, a, normRow);
        a = checkMax(y, wordAt(pos, slot, start, 3), wordAt(pos, slot, start, 4));
        row = checkLimbs(pos, slot, start, y, a, wide);
        (row.mant, row.exp) = ExactOps.normScale(s, a);
    }

    function checkRow(uint256 pos, uint256 slot, uint256 start, int256[] memory y, bool wide)
        internal
        returns (Row memory row)
    {
        for (uint256 i; i < 3; ++i) {
            assertEqual(wordAt(pos, slot, start, i), 0, "no norm");
        }
        uint256 a = checkMax(y, wordAt(pos, slot, start, 3), wordAt(pos, slot, start, 4));
        row = checkLimbs(pos, slot, start, y, a, wide);
        (row.mant, row.exp) = ExactOps.scale(a);
    }

    function linearOf(Row memory q, uint256 first, uint256 rows, int256 s, bool wide)
        internal
        view
        returns (int256[] memory y)
    {
        y = new int256[](rows);
        if (wide) s += 4;
        for (uint256 n; n < rows; ++n) {
            (bytes32 constants, bytes memory w) = weights(first + n, s, q.hi.length);
            int256 sum = wide ? calls.dotWide(w, q.hi, q.lo) : calls.dot(w, q.hi);
            y[n] = ExactOps.linear(sum, w.length, wide, q.mant, q.exp, constants);
        }
    }

    /// x + norm_out(y), with its leaves: y at `start`, words at `start` + 1, x at `start` + 2 or later.
    function checkPost(
        uint256 pos,
        uint256 slot,
        uint256 start,
        int256[] memory y,
        int256[] memory x,
        uint256 normRow
    ) internal {
        check32(pos, slot, start, y);
        uint256 a = checkMax(y, wordAt(pos, slot, start + 1, 0), wordAt(pos, slot, start + 1, 1));
        uint256 s = normSumOf(y, a, 1 << 20);
        assertEqual(wordAt(pos, slot, start + 1, 2), int256(s), "S of a post norm");
        int256[] memory n = normOf(y, a, normRow);
        for (uint256 i; i < x.length; ++i) {
            x[i] = ExactOps.cap(x[i] + ExactOps.normOut(n[i], s, 36));
        }
        check32(pos, slot, start + 2, x);
    }

    /// One head of Q or K: norm, rotation, and the words of both from word 0 of `data` on.
    function checkHead(
        uint256 pos,
        uint256 table,
        int256[] memory x,
        uint256 normRow,
        bytes memory data
    ) internal view returns (int256[] memory y, uint256 a) {
        a = checkMax(x, little(data, 0, 8), little(data, 8, 8));
        uint256 s = normSumOf(x, a, 1 << 20);
        assertEqual(little(data, 16, 8), int256(s), "S of a head");
        y = normOf(x, a, normRow);
        for (uint256 i; i < HD; ++i) {
            y[i] = ExactOps.normOut(y[i], s, 36);
        }
        for (uint256 i; i < HD / 2; ++i) {
            (int256 c, int256 t) = _rotation(pos, table, i);
            (y[2 * i], y[2 * i + 1]) = ExactOps.rotate(y[2 * i], y[2 * i + 1], c, t);
        }
        a = checkMax(y, little(data, 24, 8), little(data, 32, 8));
    }

    function _rotation(uint256 pos, uint256 table, uint256 i)
        internal
        pure
        returns (int256, int256)
    {
        (int256 cc, int256 cs) = entry(table, 256 + pos / 256, i);
        (int256 fc, int256 fs) = entry(table, pos % 256, i);
        return ExactOps.rotation(cc, cs, fc, fs);
    }

    function quantisedHead(int256[] memory y, uint256 a, bytes memory data, uint256 from)
        internal
        pure
        returns (bytes memory q)
    {
        q = new bytes(32); // a head of 16, and zeros
        for (uint256 i; i < HD; ++i) {
            q[i] = data[from + i];
            assertEqual(little(data, from + i, 1), ExactOps.quantised(y[i], a, false), "q");
        }
    }

    function headOf(int256[] memory x, uint256 from) internal pure returns (int256[] memory y) {
        y = new int256[](HD);
        for (uint256 i; i < HD; ++i) {
            y[i] = x[from + i];
        }
    }

    struct Query {
        bytes q;
        uint256 a;
        uint256 first;
        int256 best;
        uint256 l;
        uint256 top;
    }

    function checkAttention(uint256 layer, uint256 pos, Query memory x, uint256 softLeaf)
        internal
        returns (int256[] memory o)
    {
        bytes memory soft = leaf(pos, layer + 1, softLeaf);
        int256[] memory score = new int256[](pos + 1);
        x.best = type(int256).min;
        uint256 where;
        for (uint256 j = x.first; j <= pos; ++j) {
            Kept memory k = kept[layer][j];
            score[j] = ExactOps.score(calls.dot(x.q, k.k), x.a, k.ak);
            if (score[j] > x.best) (x.best, where) = (score[j], j);
        }
        assertEqual(little(soft, 0, 8), x.best, "best");
        assertEqual(little(soft, 8, 8), int256(where), "its position");
        uint256[] memory share = new uint256[](pos + 1);
        for (uint256 j = x.first; j <= pos; ++j) {
            uint256 p = ExactOps.exp2(tables, uint256(x.best - score[j]));
            x.l += p;
            share[j] = p * kept[layer][j].av;
            if (ExactOps.bits(share[j]) > x.top) (x.top, where) = (ExactOps.bits(share[j]), j);
        }
        assertEqual(little(soft, 16, 8), int256(x.l), "l");
        assertTrue(ExactOps.isMass(int256(x.l), pos - x.first + 1), "range of l");
        assertEqual(little(soft, 24, 8), 0, "there is one block");
        assertEqual(little(soft, 32, 2), int256(256 * x.top + where), "top of the block");
        o = new int256[](HD);
        for (uint256 i; i < HD; ++i) {
            o[i] = _attended(layer, pos, x, share, i);
        }
    }

    function _attended(
        uint256 layer,
        uint256 pos,
        Query memory x,
        uint256[] memory share,
        uint256 i
    ) internal view returns (int256) {
        int256 acc;
        for (uint256 j = x.first; j <= pos; ++j) {
            int256 w = int256(ExactOps.weight(share[j], x.top));
            acc += w * little(kept[layer][j].v, i, 1);
        }
        return ExactOps.attended(acc, x.l, pos - x.first + 1, ExactOps.blockShift(x.top));
    }

    function checkLayer(uint256 layer, uint256 pos, int256[] memory x) internal {
        uint256 slot = layer + 1;
        uint256 base = layer << LAYER_ROWS;
        bool wide = layer == 0; // of qkv and gate_up; out and down: the other layer
        Row memory q = checkNormRow(pos, slot, 0, x, base | 192, wide);
        int256[] memory y = linearOf(q, base | 64, 64, 26, wide);
        check32(pos, slot, 4, y);
        _checkKept(layer, pos, y);
        y = _checkQueries(layer, pos, y);
        check32(pos, slot, 12, y);
        q = checkRow(pos, slot, 16, y, !wide);
        checkPost(pos, slot, 20, linearOf(q, base | 128, D, 17, !wide), x, base | 195);
        _feedForward(pos, slot, base, wide, x);
    }

    function _checkKept(uint256 layer, uint256 pos, int256[] memory qkv) internal {
        bytes memory data = leaf(pos, layer + 1, 8);
        (int256[] memory y, uint256 a) =
            checkHead(pos, 1 - layer, headOf(qkv, 32), layer << LAYER_ROWS | 194, data);
        Kept storage k = kept[layer][pos];
        k.ak = a;
        k.k = quantisedHead(y, a, data, 64);
        y = headOf(qkv, 48);
        k.av = checkMax(y, little(data, 40, 8), little(data, 48, 8));
        k.v = quantisedHead(y, k.av, data, 80);
    }

    function _checkQueries(uint256 layer, uint256 pos, int256[] memory qkv)
        internal
        returns (int256[] memory o)
    {
        o = new int256[](HEADS * HD);
        for (uint256 h; h < HEADS; ++h) {
            bytes memory data = leaf(pos, layer + 1, 6 + h);
            Query memory query;
            int256[] memory y = headOf(qkv, HD * h);
            (y, query.a) = checkHead(pos, 1 - layer, y, layer << LAYER_ROWS | 193, data);
            query.q = quantisedHead(y, query.a, data, 64);
            query.first = layer == 0 && pos >= WINDOW ? pos - WINDOW + 1 : 0;
            y = checkAttention(layer, pos, query, 10 + h);
            for (uint256 i; i < HD; ++i) {
                o[HD * h + i] = y[i];
            }
        }
    }

    function _feedForward(uint256 pos, uint256 slot, uint256 base, bool wide, int256[] memory x)
        internal
    {
        // the bits of layer 0 are 5 (qkv, gate_up), those of layer 1 are 10 (out, down)
        Row memory q = checkNormRow(pos, slot, 24, x, base | 196, wide);
        int256[] memory gu = linearOf(q, base, 2 * F, 26, wide);
        check32(pos, slot, 28, gu);
        int256[] memory h = new int256[](F);
        for (uint256 i; i < F; ++i) {
            h[i] = ExactOps.gate(tables, true, gu[2 * i], gu[2 * i + 1]);
        }
        q = checkRow(pos, slot, 32, h, !wide);
        checkPost(pos, slot, 36, linearOf(q, base | 160, D, 17, !wide), x, base | 197);
    }

    // ---- the choice: temperature 0.9, top-k 20, top-p 0.9, min-p 0.001 ----

    uint256 internal constant TOP_K = 20;

    function checkChoice(uint256 pos, int256[] memory x) internal {
        Row memory q = checkNormRow(pos, 3, 0, x, 640, false);
        int256[] memory logits = linearOf(q, 576, V, 25, false);
        uint256[] memory order = new uint256[](V);
        for (uint256 i; i < V; ++i) {
            uint256 k = i;
            for (; k > 0 && logits[order[k - 1]] < logits[i]; --k) {
                order[k] = order[k - 1];
            }
            order[k] = i;
        }
        bytes memory list = leaf(pos, 3, 4);
        for (uint256 i; i < 32; ++i) {
            assertEqual(little(list, 4 * i, 4), i < TOP_K ? int256(order[i]) : int256(0), "list");
        }
        assertEq(keccak256(leaf(pos, 3, 5)), keccak256(new bytes(128)), "the list ends");
        assertEqual(wordAt(pos, 3, 6, 0), int256(order[0]), "best");
        assertEqual(wordAt(pos, 3, 6, 1), int256(order[TOP_K - 1]), "kth");
        uint256[] memory w = _checkWeights(pos, logits, order);
        int256 best = type(int256).min;
        uint256 token;
        for (uint256 id; id < V; ++id) {
            for (uint256 i; i < w.length; ++i) {
                if (order[i] != id || w[i] * 1000000 < 1000 << 30) continue;
                int256 score = _score(pos, id, logits[id]);
                if (score > best) (best, token) = (score, id);
            }
        }
        assertEqual(wordAt(pos, 3, 7, 0), int256(token), "token");
        assertEq(token, ids[pos + 1], "the job's token");
    }

    /// The weights of the ids that top-p keeps.
    function _checkWeights(uint256 pos, int256[] memory logits, uint256[] memory order)
        internal
        returns (uint256[] memory w)
    {
        w = new uint256[](TOP_K);
        uint256 sum;
        for (uint256 i; i < TOP_K; ++i) {
            w[i] = ExactOps.tokenWeight(tables, uint256(logits[order[0]] - logits[order[i]]));
            sum += w[i];
        }
        assertEqual(wordAt(pos, 3, 6, 2), int256(sum), "S");
        uint256 need = (sum * 900000 + 999999) / 1000000;
        uint256 n = 1;
        uint256 upto = w[0];
        for (; upto < need; ++n) {
            upto += w[n];
        }
        assertEqual(wordAt(pos, 3, 6, 3), int256(order[n - 1]), "last");
        assertEqual(wordAt(pos, 3, 6, 4), int256(upto), "upto");
        assembly {
            mstore(w, n)
        }
    }

    function _score(uint256 pos, uint256 id, int256 logit) internal view returns (int256) {
        uint32 place = uint32(FIRST + pos - (PROMPT - 1));
        uint32 word = ExactOps.randomWord(seed, place, uint32(id));
        return ExactOps.tokenScore(tables, logit, ExactOps.inverse(900), word);
    }

    // ---- all of it ----

    function test_every_leaf() public {
        for (uint256 pos; pos < T; ++pos) {
            (bytes32 constants, bytes memory w) = weights(512 + ids[pos], 0, D);
            int256[] memory x = new int256[](D);
            for (uint256 i; i < D; ++i) {
                x[i] = ExactOps.embed(int256(int8(uint8(w[i]))), constants);
            }
            check32(pos, 0, 0, x);
            checkLayer(0, pos, x);
            checkLayer(1, pos, x);
            if (pos >= PROMPT - 1) checkChoice(pos, x);
        }
        assertEq(judged, count, "no leaf but these");
    }
}
