// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ExactTree} from "../../src/libraries/ExactTree.sol";
import {ExactTest} from "./Exact.sol";

/// Rows, openings, reveals and roots of schema/vectors/exact/trees.json and toys.json.
contract TreesTest is ExactTest {
    string internal json;

    function setUp() public {
        json = vm.readFile(string.concat(FOLDER, "trees.json"));
    }

    function item(string memory list, uint256 i) internal pure returns (string memory) {
        return string.concat(list, "[", vm.toString(i), "]");
    }

    function field(string memory key, string memory name) internal pure returns (string memory) {
        return string.concat(key, ".", name);
    }

    function text(string memory key) internal view returns (bytes memory) {
        return fromHex(bytes(vm.parseJsonString(json, key)));
    }

    function word(string memory key) internal view returns (bytes32) {
        return bytes32(text(key));
    }

    function words(string memory key) internal view returns (bytes32[] memory list) {
        string[] memory hexes = vm.parseJsonStringArray(json, key);
        list = new bytes32[](hexes.length);
        for (uint256 i; i < list.length; ++i) {
            list[i] = bytes32(fromHex(bytes(hexes[i])));
        }
    }

    function fromHex(bytes memory digits) internal pure returns (bytes memory b) {
        b = new bytes(digits.length / 2);
        for (uint256 i; i < b.length; ++i) {
            b[i] = bytes1(nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1]));
        }
    }

    function nibble(bytes1 digit) internal pure returns (uint8) {
        uint8 d = uint8(digit);
        return d >= 97 ? d - 87 : d - 48;
    }

    function test_rows() public view {
        uint256 n;
        for (; vm.keyExistsJson(json, item(".rows", n)); ++n) {
            string memory key = item(".rows", n);
            uint256 length = vm.parseJsonUint(json, field(key, "content"));
            bytes memory content = new bytes(length);
            for (uint256 j; j < length; ++j) {
                content[j] = bytes1(uint8((7 * j + length) % 251));
            }
            bytes32 got = calls.rowHash(word(field(key, "constants")), content);
            assertEq(got, word(field(key, "hash")), "row");
            if (length <= 1024) continue;
            uint256 last = (length - 1) / 1024;
            bytes memory piece = new bytes(length - 1024 * last);
            for (uint256 j; j < piece.length; ++j) {
                piece[j] = content[1024 * last + j];
            }
            bytes32[] memory path = words(field(key, "last_path"));
            bytes32 constants = word(field(key, "constants"));
            assertEq(calls.rowHashByPiece(constants, piece, last, path), got, "a piece");
        }
        assertEq(n, 13, "rows");
    }

    function test_openings() public view {
        uint256 n;
        bytes32 root = word(".root");
        for (; vm.keyExistsJson(json, item(".openings", n)); ++n) {
            string memory key = item(".openings", n);
            uint256 bits = vm.parseJsonUint(json, field(key, "bits"));
            uint256 index = vm.parseJsonUint(json, field(key, "index"));
            bytes memory data = text(field(key, "data"));
            bytes32[] memory path = words(field(key, "path"));
            bytes32 node = calls.blockRoot(data, bits);
            assertEq(calls.climb(node, index >> bits, path), root, "opening");
            if (data.length == 0) continue; // so are its neighbours
            assertTrue(calls.climb(node, index >> bits ^ 1, path) != root, "another place");
            data[0] ^= 0x01;
            node = calls.blockRoot(data, bits);
            assertTrue(calls.climb(node, index >> bits, path) != root, "another content");
        }
        assertEq(n, 11, "openings");
    }

    function test_folds() public {
        uint256 n;
        for (; vm.keyExistsJson(json, item(".folds", n)); ++n) {
            string memory key = item(".folds", n);
            bytes32[] memory below = words(field(key, "below"));
            uint256 level = below.length == 32 ? 5 : 4;
            assertEq(calls.fold(below, level), word(field(key, "node")), "fold");
            vm.expectRevert(ExactTree.BadShape.selector);
            calls.fold(below, level - 1);
        }
        assertEq(n, 3, "folds");
    }

    function test_zeros_may_be_left_out(uint256 size, uint256 level) public view {
        level = bound(level, 0, 5);
        bytes memory whole = new bytes(128 << level);
        size = bound(size, 0, whole.length);
        bytes memory part = new bytes(size);
        for (uint256 i; i < size; i += 7) {
            part[i] = whole[i] = bytes1(uint8(i % 5));
        }
        assertEq(calls.blockRoot(part, level), calls.blockRoot(whole, level), "block");
    }

    function test_empty_leaf() public view {
        assertEq(calls.blockRoot("", 0), keccak256(new bytes(128)), "empty leaf");
    }

    function test_block_not_longer_than_its_place() public {
        vm.expectRevert(ExactTree.BadShape.selector);
        calls.blockRoot(new bytes(257), 1);
    }

    function test_path_not_shorter_than_its_place() public {
        bytes32[] memory path = new bytes32[](2);
        calls.climb(0, 3, path);
        vm.expectRevert(ExactTree.BadShape.selector);
        calls.climb(0, 4, path);
    }

    function test_places() public pure {
        (uint256 start, uint256 next) = ExactTree.place(0, 30);
        assertEq(start, 0, "first");
        assertEq(next, 32, "its end");
        (start, next) = ExactTree.place(33, 32);
        assertEq(start, 64, "aligned");
        assertEq(next, 96, "exactly full");
        (start, next) = ExactTree.place(96, 1);
        assertEq(start, 96, "one");
        assertEq(next, 97, "one's end");
    }

    function test_toys() public {
        json = vm.readFile(string.concat(FOLDER, "toys.json"));
        uint256 runs;
        uint256 n;
        for (; vm.keyExistsJson(json, item("", n)); ++n) {
            string memory toy = item("", n);
            bytes32 root = word(field(toy, "rows_root"));
            bytes32 weights = calls.weightsRoot(text(field(toy, "header")), root);
            assertEq(weights, word(field(toy, "weights_root")), "weights root");
            for (uint256 i; vm.keyExistsJson(json, item(field(toy, "rows"), i)); ++i) {
                string memory key = item(field(toy, "rows"), i);
                bytes32 got =
                    calls.rowHash(word(field(key, "constants")), text(field(key, "content")));
                assertEq(got, word(field(key, "hash")), "row");
                if (!vm.keyExistsJson(json, field(key, "path"))) continue;
                uint256 index = vm.parseJsonUint(json, field(key, "row"));
                assertEq(calls.climb(got, index, words(field(key, "path"))), root, "rows root");
            }
            for (uint256 i; vm.keyExistsJson(json, item(field(toy, "runs"), i)); ++i) {
                _checkJob(item(field(toy, "runs"), i), weights);
                ++runs;
            }
        }
        assertEq(n, 4, "toys");
        assertEq(runs, 9, "runs");
        vm.expectRevert(ExactTree.BadShape.selector);
        calls.weightsRoot(new bytes(127), 0);
    }

    function _checkJob(string memory run, bytes32 weights) internal view {
        uint256[] memory prompt = vm.parseJsonUintArray(json, field(run, "prompt"));
        uint256[] memory output = vm.parseJsonUintArray(json, field(run, "output"));
        int256[] memory ids = new int256[](prompt.length + output.length);
        for (uint256 i; i < ids.length; ++i) {
            ids[i] = int256(i < prompt.length ? prompt[i] : output[i - prompt.length]);
        }
        uint256 level;
        while (32 << level < ids.length) ++level;
        bytes32 root = calls.blockRoot(bytesOf(ids), level);
        assertEq(root, word(field(run, "ids_root")), "ids");
        bytes memory settings = text(field(run, "settings_bytes"));
        ExactTree.Job memory job;
        job.weights = weights;
        job.ids = root;
        job.seed = word(field(run, "seed"));
        (job.settings[0], job.settings[1]) = abi.decode(settings, (bytes32, bytes32));
        job.first = uint32(vm.parseJsonUint(json, field(run, "first")));
        job.prompt = uint32(prompt.length);
        job.output = uint32(output.length);
        assertEq(calls.jobHash(job), word(field(run, "job")), "job");
    }
}
