// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ExactOps} from "../../src/libraries/ExactOps.sol";
import {ExactTest} from "./Exact.sol";

/// Sums over many bytes at once against one product at a time.
contract SumsTest is ExactTest {
    function bytesFrom(uint256 seed, uint256 n) internal pure returns (bytes memory b) {
        b = new bytes(n);
        for (uint256 i; i < n; ++i) {
            b[i] = bytes1(uint8(uint256(keccak256(abi.encode(seed, i / 32))) >> (8 * (i % 32))));
        }
    }

    function plain(bytes memory w, bytes memory q) internal pure returns (int256 sum) {
        for (uint256 i; i < w.length; ++i) {
            sum += int256(int8(uint8(w[i]))) * int256(int8(uint8(q[i])));
        }
    }

    function filled(int8 a, int8 b, uint256 n) internal pure returns (bytes memory x) {
        x = new bytes(n);
        for (uint256 i; i < n; ++i) {
            x[i] = bytes1(uint8(i % 2 == 0 ? a : b));
        }
    }

    function test_dot_random(uint256 seed, uint256 n) public view {
        n = 32 * bound(n, 0, 66);
        bytes memory w = bytesFrom(seed, n);
        bytes memory q = bytesFrom(~seed, n);
        assertEqual(calls.dot(w, q), plain(w, q), "dot");
    }

    function test_dotWide_random(uint256 seed, uint256 n) public view {
        n = 32 * bound(n, 0, 34);
        bytes memory w = bytesFrom(seed, n);
        bytes memory hi = bytesFrom(~seed, n);
        bytes memory lo = bytesFrom(seed ^ 1, n);
        int256 wanted = 256 * plain(w, hi) + plain(w, lo);
        assertEqual(calls.dotWide(w, hi, lo), wanted, "dotWide");
    }

    function test_dot_places() public view {
        for (uint256 i; i < 64; ++i) {
            bytes memory w = new bytes(64);
            bytes memory q = new bytes(64);
            w[i] = 0x03;
            for (uint256 j; j < 64; ++j) {
                q[j] = 0x05;
                assertEqual(calls.dot(w, q), i == j ? int256(15) : int256(0), "place");
                q[j] = 0;
            }
        }
    }

    function test_dot_extremes() public view {
        int8[5] memory ends = [int8(-128), -127, 0, 1, 127];
        uint256[5] memory sizes = [uint256(32), 64, 2048, 2080, 4128];
        for (uint256 i; i < 25; ++i) {
            for (uint256 j; j < 5; ++j) {
                bytes memory w = filled(ends[i / 5], ends[i % 5], sizes[j]);
                bytes memory q = filled(ends[i % 5], ends[i / 5], sizes[j]);
                int256 wanted = int256(ends[i / 5]) * ends[i % 5] * int256(sizes[j]);
                assertEqual(calls.dot(w, q), wanted, "extremes");
            }
        }
    }

    /// The format's limit: 131,072 inputs, all at their ends.
    function test_dot_longest() public view {
        bytes memory w = filled(127, 127, 131072);
        assertEqual(calls.dot(w, w), 2114060288, "8 bits");
        int256 sum = calls.dotWide(w, w, new bytes(131072));
        assertEqual(sum, 127 * 32512 * 131072, "wide");
        int256 acc = ExactOps.linear(sum, 131072, true, 65535, 0, constantsOf(32767, 33, 0, 0, 0));
        assertEqual(acc, (int256(2114060288) * 65535 * 32767 + (1 << 32)) >> 33, "below the cap");
    }

    function test_squares_random(uint256 seed, uint256 h, uint256 n) public view {
        h = bound(h, 0, 8);
        int256[] memory x = new int256[](8 * bound(n, 0, 16));
        uint256 wanted;
        for (uint256 i; i < x.length; ++i) {
            uint256 word = uint256(keccak256(abi.encode(seed, i)));
            x[i] = int256(bound(word, 0, (1 << 31) - 2)) - int256((1 << 30) - 1);
            int256 v = h == 0 ? x[i] : (x[i] + int256(1 << (h - 1))) >> h;
            wanted += uint256(v * v);
        }
        assertEq(calls.squares(bytesOf(x), h), wanted, "squares");
    }

    function test_little_endian(int64 a, int32 b, int8 c) public view {
        bytes memory x = new bytes(8);
        for (uint256 k; k < 8; ++k) {
            x[k] = bytes1(uint8(uint64(a) >> (8 * k)));
        }
        assertEqual(calls.i64(abi.encodePacked(bytes8(0), x), 1), a, "i64");
        int256[] memory y = new int256[](3);
        y[2] = b;
        assertEqual(calls.i32(bytesOf(y), 2), b, "i32");
        assertEqual(calls.i8(abi.encodePacked(bytes3(0), c), 3), c, "i8");
    }

    function test_nothing_is_read_beyond_the_end() public {
        bytes memory w = new bytes(64);
        vm.expectRevert(ExactOps.BadLength.selector);
        calls.dot(w, new bytes(32));
        vm.expectRevert(ExactOps.BadLength.selector);
        calls.dot(new bytes(32), w);
        vm.expectRevert(ExactOps.BadLength.selector);
        calls.dotWide(w, w, new bytes(32));
        vm.expectRevert(ExactOps.BadLength.selector);
        calls.dot(new bytes(40), new bytes(40));
        vm.expectRevert(ExactOps.BadLength.selector);
        calls.squares(new bytes(40), 0);
        bytes memory b = new bytes(15);
        vm.expectRevert();
        calls.i64(b, 1);
        vm.expectRevert();
        calls.i32(b, 3);
        vm.expectRevert();
        calls.i8(b, 15);
    }
}
