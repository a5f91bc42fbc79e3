// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ExactOps} from "../../src/libraries/ExactOps.sol";
import {ExactTree} from "../../src/libraries/ExactTree.sol";
import {Test} from "../Test.sol";

/// What of the libraries takes calldata.
contract ExactCalls {
    function dot(bytes calldata w, bytes calldata q) external pure returns (int256) {
        return ExactOps.dot(w, q);
    }

    function dotWide(bytes calldata w, bytes calldata hi, bytes calldata lo)
        external
        pure
        returns (int256)
    {
        return ExactOps.dotWide(w, hi, lo);
    }

    function squares(bytes calldata xs, uint256 h) external pure returns (uint256) {
        return ExactOps.squares(xs, h);
    }

    function i8(bytes calldata b, uint256 i) external pure returns (int256) {
        return ExactOps.i8(b, i);
    }

    function i32(bytes calldata b, uint256 i) external pure returns (int256) {
        return ExactOps.i32(b, i);
    }

    function i64(bytes calldata b, uint256 i) external pure returns (int256) {
        return ExactOps.i64(b, i);
    }

    function blockRoot(bytes calldata data, uint256 level) external pure returns (bytes32) {
        return ExactTree.blockRoot(data, level);
    }

    function climb(bytes32 node, uint256 index, bytes32[] calldata path)
        external
        pure
        returns (bytes32)
    {
        return ExactTree.climb(node, index, path);
    }

    function fold(bytes32[] memory nodes, uint256 level) external pure returns (bytes32) {
        return ExactTree.fold(nodes, level);
    }

    function rowHash(bytes32 constants, bytes calldata content) external pure returns (bytes32) {
        return ExactTree.rowHash(constants, content);
    }

    function rowHashByPiece(
        bytes32 constants,
        bytes calldata piece,
        uint256 index,
        bytes32[] calldata path
    ) external pure returns (bytes32) {
        return ExactTree.rowHashByPiece(constants, piece, index, path);
    }

    function weightsRoot(bytes calldata header, bytes32 rowsRoot) external pure returns (bytes32) {
        return ExactTree.weightsRoot(header, rowsRoot);
    }

    function jobHash(ExactTree.Job memory job) external pure returns (bytes32) {
        return ExactTree.jobHash(job);
    }

    function outputDigest(ExactTree.Output memory o) external pure returns (bytes32) {
        return ExactTree.outputDigest(o);
    }

    function idsDepth(uint256 ids) external pure returns (uint256) {
        return ExactTree.idsDepth(ids);
    }

    function idAt(
        ExactTree.Output memory o,
        uint256 position,
        bytes calldata leaf,
        bytes32[] calldata path
    ) external pure returns (uint256) {
        return ExactTree.idAt(o, position, leaf, path);
    }

    // ---- what they take ----

    function gasOfDot(bytes calldata w, bytes calldata q) external view returns (uint256 g) {
        g = gasleft();
        ExactOps.dot(w, q);
        g -= gasleft();
    }

    function gasOfSquares(bytes calldata xs, uint256 h) external view returns (uint256 g) {
        g = gasleft();
        ExactOps.squares(xs, h);
        g -= gasleft();
    }

    function gasOfBlock(bytes calldata data, uint256 level) external view returns (uint256 g) {
        g = gasleft();
        ExactTree.blockRoot(data, level);
        g -= gasleft();
    }

    function gasOfRow(bytes32 constants, bytes calldata content) external view returns (uint256 g) {
        g = gasleft();
        ExactTree.rowHash(constants, content);
        g -= gasleft();
    }

    function gasOfClimb(bytes32 node, uint256 index, bytes32[] calldata path)
        external
        view
        returns (uint256 g)
    {
        g = gasleft();
        ExactTree.climb(node, index, path);
        g -= gasleft();
    }

    function gasOfIdAt(
        ExactTree.Output memory o,
        uint256 position,
        bytes calldata leaf,
        bytes32[] calldata path
    ) external view returns (uint256 g) {
        g = gasleft();
        ExactTree.idAt(o, position, leaf, path);
        g -= gasleft();
    }

    function gasOfFold(bytes32[] memory nodes) external view returns (uint256 g) {
        g = gasleft();
        ExactTree.fold(nodes, 5);
        g -= gasleft();
    }
}

/// Vectors of schema/vectors/exact, and the data contract of the tables.
abstract contract ExactTest is Test {
    string internal constant FOLDER = "../schema/vectors/exact/";
    ExactCalls internal immutable calls = new ExactCalls();
    address internal immutable tables = placeTables();

    /// A contract whose code are the tables.
    function placeTables() internal returns (address made) {
        bytes memory code = vm.readFileBinary(string.concat(FOLDER, "tables.bin"));
        // copies what follows its own 11 bytes into memory and returns it
        bytes memory init =
            abi.encodePacked(hex"61", uint16(code.length), hex"80600b6000395ff3", code);
        assembly {
            made := create(0, add(init, 32), mload(init))
        }
        assertEq(made.codehash, ExactOps.TABLES, "tables");
    }

    /// The little-endian bytes of int32 numbers.
    function bytesOf(int256[] memory x) internal pure returns (bytes memory b) {
        b = new bytes(4 * x.length);
        for (uint256 i; i < x.length; ++i) {
            for (uint256 k; k < 4; ++k) {
                b[4 * i + k] = bytes1(uint8(uint256(x[i]) >> (8 * k)));
            }
        }
    }

    function bytes8Of(int256[] memory x) internal pure returns (bytes memory b) {
        b = new bytes(x.length);
        for (uint256 i; i < x.length; ++i) {
            b[i] = bytes1(uint8(uint256(x[i])));
        }
    }

    /// A weight row's constants.
    function constantsOf(int256 m, int256 s, int256 bias, int256 em, int256 es)
        internal
        pure
        returns (bytes32)
    {
        uint256 x = uint256(uint16(int16(m))) | uint256(uint16(int16(s))) << 16
            | uint256(uint32(int32(bias))) << 32 | uint256(uint16(int16(em))) << 64
            | uint256(uint16(int16(es))) << 80;
        bytes32 y;
        for (uint256 i; i < 32; ++i) {
            y |= bytes32(x >> (8 * i) & 0xff) << (248 - 8 * i);
        }
        return y;
    }

    function assertEqual(int256 got, int256 wanted, string memory what) internal pure {
        if (got != wanted) revert NotEqual(what, uint256(got), uint256(wanted));
    }
}
