// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ExactOps} from "../../src/libraries/ExactOps.sol";
import {ExactTest} from "./Exact.sol";

/// Every step of schema/vectors/exact/steps.bin: what the model in unlimited integers, which agrees
/// with the C executor, computed.
contract StepsTest is ExactTest {
    /// Reads the numbers of one operator's records.
    struct Reader {
        bytes raw;
        uint256 cursor;
        uint256 end;
        uint256 records;
    }

    function open(string memory name) internal view returns (Reader memory r) {
        string memory json = vm.readFile(string.concat(FOLDER, "steps.json"));
        string memory key = string.concat(".", name);
        r.raw = vm.readFileBinary(string.concat(FOLDER, "steps.bin"));
        r.cursor = vm.parseJsonUint(json, string.concat(key, ".at"));
        r.records = vm.parseJsonUint(json, string.concat(key, ".records"));
        uint256 numbers = vm.parseJsonUint(json, string.concat(key, ".numbers"));
        r.end = r.cursor + 8 * numbers * r.records;
        assertTrue(r.records > 0 && r.end <= r.raw.length, "steps.bin");
    }

    function more(Reader memory r) internal pure returns (bool) {
        assertTrue(r.cursor <= r.end, "numbers of a record");
        return r.cursor < r.end;
    }

    function int_(Reader memory r) internal pure returns (int256 v) {
        bytes memory raw = r.raw;
        uint256 next = r.cursor + 8;
        assembly {
            v := signextend(7, mload(add(raw, next)))
        }
        r.cursor = next;
    }

    function uint_(Reader memory r) internal pure returns (uint256) {
        int256 v = int_(r);
        assertTrue(v >= 0, "a number without sign");
        return uint256(v);
    }

    function test_embed() public view {
        Reader memory r = open("embed");
        while (more(r)) {
            int256 w = int_(r);
            int256 em = int_(r);
            bytes32 constants = constantsOf(1, 2, 3, em, int_(r));
            assertEqual(ExactOps.embed(w, constants), int_(r), "embed");
        }
    }

    function test_quant() public view {
        Reader memory r = open("quant");
        while (more(r)) {
            int256 y = int_(r);
            uint256 a = uint_(r);
            bool wide = uint_(r) == 1;
            assertEqual(ExactOps.quantised(y, a, wide), int_(r), "quant");
            assertTrue(ExactOps.isMaximum(int256(a)), "range");
        }
    }

    function test_limbs() public view {
        Reader memory r = open("limbs");
        while (more(r)) {
            (int256 hi, int256 lo) = ExactOps.limbs(int_(r));
            assertEqual(hi, int_(r), "hi");
            assertEqual(lo, int_(r), "lo");
        }
    }

    function test_scale() public view {
        Reader memory r = open("scale");
        while (more(r)) {
            uint256 v = uint_(r);
            (uint256 mant, int256 exp) = ExactOps.mantissa(v);
            assertEq(mant, uint_(r), "mant");
            assertEqual(exp, int_(r), "exp");
            (mant, exp) = ExactOps.scale(v);
            assertTrue(mant >= 1 << 15 && mant < 1 << 16, "16 bits");
            (, int256 raw) = ExactOps.mantissa(v);
            assertEqual(exp, raw - 14, "unit");
        }
    }

    function test_inverseRoot() public view {
        Reader memory r = open("inverse_root");
        while (more(r)) {
            uint256 s = uint_(r);
            (uint256 root, int256 half) = ExactOps.inverseRoot(s);
            assertEq(root, uint_(r), "r");
            assertEqual(half, int_(r), "half");
            assertTrue(ExactOps.isSquares(int256(s)), "range");
        }
    }

    function test_normScale() public view {
        Reader memory r = open("norm_scale");
        while (more(r)) {
            (uint256 mant, int256 exp) = ExactOps.normScale(uint_(r), uint_(r));
            assertEq(mant, uint_(r), "mant");
            assertEqual(exp, int_(r), "exp");
        }
    }

    function test_normElement() public view {
        Reader memory r = open("norm_y");
        while (more(r)) {
            int256 x = int_(r);
            int256 v = ExactOps.normInput(x, ExactOps.normShift(uint_(r)));
            int256 y = ExactOps.normElement(v, int_(r));
            assertEqual(v, int_(r), "v");
            assertEqual(y, int_(r), "y");
        }
    }

    function test_normOut() public view {
        Reader memory r = open("norm_out");
        while (more(r)) {
            int256 y = int_(r);
            uint256 s = uint_(r);
            assertEqual(ExactOps.normOut(y, s, int_(r)), int_(r), "normOut");
        }
    }

    function test_squares() public view {
        Reader memory r = open("squares");
        while (more(r)) {
            uint256 h = ExactOps.normShift(uint_(r));
            int256[] memory x = new int256[](64);
            for (uint256 i; i < 64; ++i) {
                x[i] = int_(r);
            }
            uint256 sum = calls.squares(bytesOf(x), h);
            assertEq(sum, uint_(r), "squares");
        }
    }

    function test_normSum() public pure {
        assertEq(ExactOps.normSum(0, 0, 0), 1, "never 0");
        assertEq(ExactOps.normSum(0, 4 ** 8 - 1, 8), 1, "eps goes with the shift");
        assertEq(ExactOps.normSum(7, 4 ** 8, 8), 8, "eps counts");
        assertEq(ExactOps.normSum(1 << 58, (1 << 58) - 1, 0), (1 << 59) - 1, "the most");
    }

    function test_linear() public view {
        Reader memory r = open("linear");
        while (more(r)) {
            int256[10] memory x;
            for (uint256 i; i < 10; ++i) {
                x[i] = int_(r);
            }
            bytes32 constants = constantsOf(x[5], x[6], x[7], 3, 5);
            int256 y =
                ExactOps.linear(x[0], uint256(x[1]), x[2] == 1, uint256(x[3]), x[4], constants);
            assertEqual(ExactOps.cap(x[8] + y), x[9], "linear");
        }
    }

    function test_rotation() public view {
        Reader memory r = open("rotation");
        while (more(r)) {
            (int256 c, int256 s) = ExactOps.rotation(int_(r), int_(r), int_(r), int_(r));
            assertEqual(c, int_(r), "cos");
            assertEqual(s, int_(r), "sin");
        }
    }

    function test_rotate() public view {
        Reader memory r = open("rotate");
        while (more(r)) {
            (int256 y0, int256 y1) = ExactOps.rotate(int_(r), int_(r), int_(r), int_(r));
            assertEqual(y0, int_(r), "y0");
            assertEqual(y1, int_(r), "y1");
        }
    }

    function test_score() public view {
        Reader memory r = open("score");
        while (more(r)) {
            int256 acc = int_(r);
            int256 got = ExactOps.score(acc, uint_(r), uint_(r));
            assertEqual(got, int_(r), "score");
        }
    }

    function test_exp2() public view {
        Reader memory r = open("exp2");
        while (more(r)) {
            uint256 p = ExactOps.exp2(tables, uint_(r));
            assertEq(p, uint_(r), "exp2");
        }
    }

    function test_weight() public view {
        Reader memory r = open("weight");
        while (more(r)) {
            uint256 share = uint_(r) * uint_(r);
            uint256 w = ExactOps.weight(share, uint_(r));
            assertEq(share, uint_(r), "share");
            assertEq(w, uint_(r), "weight");
        }
    }

    function test_attended() public view {
        Reader memory r = open("attended");
        while (more(r)) {
            int256 acc = int_(r);
            uint256 l = uint_(r);
            uint256 keys = uint_(r);
            assertTrue(ExactOps.isMass(int256(l), keys), "range");
            assertEqual(ExactOps.attended(acc, l, keys, uint_(r)), int_(r), "attended");
        }
    }

    function test_gate() public view {
        Reader memory r = open("gate");
        while (more(r)) {
            bool gelu = uint_(r) == 1;
            int256 g = int_(r);
            assertEqual(ExactOps.gate(tables, gelu, g, int_(r)), int_(r), "gate");
        }
    }

    function test_randomWord() public view {
        Reader memory r = open("word");
        while (more(r)) {
            uint256 seed;
            for (uint256 i; i < 4; ++i) {
                seed = seed << 64 | uint64(int64(int_(r)));
            }
            uint32 pos = uint32(uint_(r));
            uint32 got = ExactOps.randomWord(bytes32(seed), pos, uint32(uint_(r)));
            assertEq(got, uint_(r), "word");
        }
    }

    function test_noise() public view {
        Reader memory r = open("gumbel");
        while (more(r)) {
            int256 got = ExactOps.noise(tables, uint32(uint_(r)));
            assertEqual(got, int_(r), "noise");
        }
    }

    function test_inverse() public view {
        Reader memory r = open("inverse");
        while (more(r)) {
            uint256 got = ExactOps.inverse(uint_(r));
            assertEq(got, uint_(r), "inverse");
        }
    }

    function test_tokenScore() public view {
        Reader memory r = open("token_score");
        while (more(r)) {
            int256 logit = int_(r);
            uint256 inverse = uint_(r);
            int256 got = ExactOps.tokenScore(tables, logit, inverse, uint32(uint_(r)));
            assertEqual(got, int_(r), "score");
        }
    }

    function test_tokenWeight() public view {
        Reader memory r = open("token_weight");
        while (more(r)) {
            uint256 got = ExactOps.tokenWeight(tables, uint_(r));
            assertEq(got, uint_(r), "weight");
        }
    }

    function test_ranges() public pure {
        assertTrue(!ExactOps.isMaximum(0) && !ExactOps.isMaximum(-1), "a maximum is above 0");
        assertTrue(ExactOps.isMaximum(1) && ExactOps.isMaximum((1 << 30) - 1), "maximum");
        assertTrue(!ExactOps.isMaximum(1 << 30), "a maximum is below the cap");
        assertTrue(!ExactOps.isSquares(0) && !ExactOps.isSquares(-1), "a sum is above 0");
        assertTrue(ExactOps.isSquares(1) && ExactOps.isSquares((1 << 59) - 1), "sum");
        assertTrue(!ExactOps.isSquares(1 << 59), "a sum is below 2^59");
        assertTrue(!ExactOps.isMass((1 << 30) - 1, 9), "the best key counts whole");
        assertTrue(ExactOps.isMass(1 << 30, 1) && ExactOps.isMass(9 << 30, 9), "mass");
        assertTrue(!ExactOps.isMass((1 << 30) + 1, 1), "no key counts more than the best");
    }
}
