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
        uint256[] memory given = vm.parseJsonUintArray(json, field(run, "prompt"));
        uint256[] memory chosen = vm.parseJsonUintArray(json, field(run, "output"));
        ExactTree.Output memory o;
        o.first = uint32(vm.parseJsonUint(json, field(run, "first")));
        o.promptIds = uint32(given.length - o.first);
        o.outputIds = uint32(chosen.length);
        int256[] memory prompt = new int256[](o.promptIds);
        int256[] memory answer = new int256[](o.first + chosen.length);
        for (uint256 i; i < given.length + chosen.length; ++i) {
            int256 id = int256(i < given.length ? given[i] : chosen[i - given.length]);
            i < prompt.length ? prompt[i] = id : answer[i - prompt.length] = id;
        }
        o.prompt = calls.blockRoot(bytesOf(prompt), calls.idsDepth(prompt.length));
        o.answer = calls.blockRoot(bytesOf(answer), calls.idsDepth(answer.length));
        assertEq(o.prompt, word(field(run, "prompt_root")), "prompt");
        assertEq(o.answer, word(field(run, "answer_root")), "answer");
        assertEq(calls.outputDigest(o), word(field(run, "output_digest")), "output");
        bytes memory settings = text(field(run, "settings_bytes"));
        ExactTree.Job memory job;
        job.weights = weights;
        job.output = calls.outputDigest(o);
        job.seed = word(field(run, "seed"));
        (job.settings[0], job.settings[1]) = abi.decode(settings, (bytes32, bytes32));
        assertEq(calls.jobHash(job), word(field(run, "job")), "job");
    }

    /// The leaf of 32 ids that holds number `index`, and its path.
    function _opened(int256[] memory ids, uint256 index)
        internal
        view
        returns (bytes memory leaf, bytes32[] memory path)
    {
        uint256 depth = calls.idsDepth(ids.length);
        path = new bytes32[](depth);
        for (uint256 level; level < depth; ++level) {
            uint256 size = 32 << level;
            uint256 sibling = index / size ^ 1;
            path[level] = calls.blockRoot(bytesOf(_part(ids, sibling * size, size)), level);
        }
        leaf = new bytes(128);
        bytes memory some = bytesOf(_part(ids, index / 32 * 32, 32));
        for (uint256 i; i < some.length; ++i) {
            leaf[i] = some[i];
        }
    }

    function _part(int256[] memory ids, uint256 from, uint256 size)
        internal
        pure
        returns (int256[] memory part)
    {
        uint256 n = from >= ids.length ? 0 : ids.length - from < size ? ids.length - from : size;
        part = new int256[](n);
        for (uint256 i; i < n; ++i) {
            part[i] = ids[from + i];
        }
    }

    function _ids(uint256 n, uint256 salt) internal pure returns (int256[] memory ids) {
        ids = new int256[](n);
        for (uint256 i; i < n; ++i) {
            ids[i] = int256(uint256(keccak256(abi.encode(i, salt))) % 262_144);
        }
    }

    function test_ids_depth() public view {
        uint256[2][9] memory cases = [
            [uint256(0), 0],
            [uint256(1), 0],
            [uint256(32), 0],
            [uint256(33), 1],
            [uint256(64), 1],
            [uint256(65), 2],
            [uint256(1024), 5],
            [uint256(1025), 6],
            [uint256(131_072), 12]
        ];
        for (uint256 i; i < cases.length; ++i) {
            assertEq(calls.idsDepth(cases[i][0]), cases[i][1], "depth");
        }
    }

    /// Every id of a job is shown at its position, and nothing else there.
    function test_ids_at_their_positions() public {
        int256[] memory prompt = _ids(70, 1);
        int256[] memory answer = _ids(133, 2);
        ExactTree.Output memory o;
        o.promptIds = 70;
        o.first = 40;
        o.outputIds = 93;
        o.prompt = calls.blockRoot(bytesOf(prompt), calls.idsDepth(70));
        o.answer = calls.blockRoot(bytesOf(answer), calls.idsDepth(133));
        for (uint256 i; i < 203; ++i) {
            bool inAnswer = i >= 70;
            (bytes memory leaf, bytes32[] memory path) =
                inAnswer ? _opened(answer, i - 70) : _opened(prompt, i);
            int256 id = inAnswer ? answer[i - 70] : prompt[i];
            assertEq(calls.idAt(o, i, leaf, path), uint256(id), "id");
            if (i % 29 != 0) continue;
            leaf[i % 128] ^= 0x01;
            vm.expectRevert(ExactTree.BadShape.selector);
            calls.idAt(o, i, leaf, path);
            leaf[i % 128] ^= 0x01;
            path[1] ^= bytes32(uint256(1));
            vm.expectRevert(ExactTree.BadShape.selector);
            calls.idAt(o, i, leaf, path);
            path[1] ^= bytes32(uint256(1));
            vm.expectRevert(ExactTree.BadShape.selector);
            calls.idAt(o, i, bytes.concat(leaf, bytes1(0)), path);
            bytes32[] memory short = new bytes32[](path.length - 1);
            vm.expectRevert(ExactTree.BadShape.selector);
            calls.idAt(o, i, leaf, short);
            vm.expectRevert(ExactTree.BadShape.selector);
            calls.idAt(o, i ^ 32, leaf, path);
        }
        // a node is no leaf
        bytes32[] memory above = new bytes32[](1);
        above[0] = calls.blockRoot(bytesOf(_part(prompt, 64, 64)), 1);
        bytes memory node = abi.encodePacked(
            calls.blockRoot(bytesOf(_part(prompt, 0, 32)), 0),
            calls.blockRoot(bytesOf(_part(prompt, 32, 32)), 0)
        );
        assertEq(calls.climb(keccak256(node), 0, above), o.prompt, "node");
        vm.expectRevert(ExactTree.BadShape.selector);
        calls.idAt(o, 0, node, above);
        (bytes memory last, bytes32[] memory way) = _opened(answer, 132);
        assertEq(calls.idAt(o, 202, last, way), uint256(answer[132]), "the last");
        vm.expectRevert(ExactTree.BadShape.selector); // zeros behind the last are no ids
        calls.idAt(o, 203, last, way);
        // a root that was made over leaves of another length
        bytes32[] memory none = new bytes32[](0);
        o.promptIds = 32;
        for (uint256 n = 64; n <= 256; n += 64) {
            bytes memory odd = new bytes(n);
            o.prompt = keccak256(odd);
            if (n != 128) vm.expectRevert(ExactTree.BadShape.selector);
            calls.idAt(o, 3, odd, none);
        }
    }
}
