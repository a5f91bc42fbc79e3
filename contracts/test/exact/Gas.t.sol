// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ExactOps} from "../../src/libraries/ExactOps.sol";
import {ExactTree} from "../../src/libraries/ExactTree.sol";
import {ExactTest} from "./Exact.sol";

/// What each step takes. forge test --match-contract ExactGas -vv prints it.
contract ExactGasTest is ExactTest {
    event log_named_uint(string key, uint256 value);

    int256 internal sink;

    function noted(string memory name, uint256 before) internal {
        emit log_named_uint(name, before - gasleft());
    }

    function test_elements() public {
        address t = tables;
        ExactOps.exp2(t, 1); // warm
        bytes32 constants = constantsOf(30000, 20, 5, 30000, 9);
        int256 x;
        uint256 g = gasleft();
        x += ExactOps.embed(-77, constants);
        noted("embedding element", g);
        g = gasleft();
        x += ExactOps.quantised(-123456, 1234567, true);
        noted("quantised element", g);
        g = gasleft();
        x += ExactOps.normElement(
            ExactOps.normInput(-12345678, ExactOps.normShift(99999999)), 4194301
        );
        noted("norm element", g);
        g = gasleft();
        (, int256 e) = ExactOps.normScale(1234567890123456, 7654321);
        noted("norm scale", g);
        x += e;
        g = gasleft();
        x += ExactOps.normOut(-12345678, 1234567890123456, 36);
        noted("norm_out element", g);
        g = gasleft();
        x += ExactOps.linear(-123456789, 1536, true, 55555, -10, constants);
        noted("linear, behind the sum", g);
        g = gasleft();
        (int256 c, int256 s) = ExactOps.rotation(759250125, 759250125, 1073741000, 1000000);
        noted("rotation entry", g);
        g = gasleft();
        (c, s) = ExactOps.rotate(-123456, 654321, c, s);
        noted("rotated pair", g);
        x += c + s;
        g = gasleft();
        x += ExactOps.score(-123456, 1234567, 7654321);
        noted("score, behind the product", g);
        g = gasleft();
        uint256 p = ExactOps.exp2(t, 123456);
        noted("exp2", g);
        g = gasleft();
        p = ExactOps.weight(p * 1234567, 50);
        noted("weight", g);
        g = gasleft();
        x += ExactOps.attended(-12345678901, 3 << 30, 77, 30);
        noted("attended element, behind the sum", g);
        g = gasleft();
        x += ExactOps.gate(t, false, -12345, 54321);
        noted("gate element", g);
        g = gasleft();
        uint32 word = ExactOps.randomWord(keccak256("seed"), 7, 49151);
        noted("random word", g);
        g = gasleft();
        x += ExactOps.tokenScore(t, 654321, 81920, word);
        noted("score of a token, behind logit and word", g);
        g = gasleft();
        x += int256(ExactOps.tokenWeight(t, 123456));
        noted("weight of a token", g);
        sink = x + int256(p);
    }

    function test_sums() public {
        uint256[6] memory sizes = [uint256(64), 576, 1024, 1536, 4096, 14336];
        for (uint256 i; i < 6; ++i) {
            bytes memory w = new bytes(sizes[i]);
            for (uint256 k; k < w.length; ++k) {
                w[k] = bytes1(uint8(k * 7));
            }
            uint256 g = calls.gasOfDot(w, w);
            emit log_named_uint(string.concat("dot ", vm.toString(sizes[i])), g);
            if (sizes[i] % 1024 != 0) continue;
            emit log_named_uint(
                string.concat("squares ", vm.toString(sizes[i] / 4)), calls.gasOfSquares(w, 3)
            );
        }
    }

    function test_trees() public {
        uint256[6] memory sizes = [uint256(40), 128, 576, 1216, 1536, 4096];
        uint256[6] memory levels = [uint256(0), 0, 3, 5, 4, 5];
        for (uint256 i; i < 6; ++i) {
            bytes memory data = new bytes(sizes[i]);
            string memory name = string.concat(
                "block of 2^", vm.toString(levels[i]), " leaves, ", vm.toString(sizes[i]), " bytes"
            );
            emit log_named_uint(name, calls.gasOfBlock(data, levels[i]));
            if (i < 2) continue;
            emit log_named_uint(
                string.concat("row of ", vm.toString(sizes[i])), calls.gasOfRow(0, data)
            );
        }
        bytes32[] memory path = new bytes32[](19);
        emit log_named_uint("path of 19", calls.gasOfClimb(0, 5, path));
        path = new bytes32[](24);
        emit log_named_uint("path of 24", calls.gasOfClimb(0, 5, path));
        ExactTree.Output memory o;
        o.outputIds = 1024;
        path = new bytes32[](5);
        bytes memory leaf = new bytes(128);
        o.answer = calls.climb(keccak256(leaf), 7, path);
        emit log_named_uint("id among 1024", calls.gasOfIdAt(o, 240, leaf, path));
        path = new bytes32[](32);
        emit log_named_uint("reveal of 32", calls.gasOfFold(path));
    }
}
