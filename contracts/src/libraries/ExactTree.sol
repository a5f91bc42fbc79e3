// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";

/// @notice The trees of exact/1 (docs/protocol/exact.md sections 8 and 9): traces of 128-byte
/// leaves, rows of a model, job ids. All are binary, of a depth that the job and the model fix, so a
/// path always has exactly one sibling per level and a leaf can never be taken for a node.
library ExactTree {
    uint256 internal constant LEAF = 128;
    uint256 internal constant PIECE = 1024;

    /// @notice Hash of a leaf with nothing in it.
    bytes32 internal constant EMPTY =
        0x012893657d8eb2efad4de0a91bcd0e39ad9837745dec3ea923737ea803fc8e3d;

    /// @notice A block, row, path or set of nodes does not have the size of its place.
    error BadShape();

    /// @notice Root of an aligned block of 2^level leaves. What `data` lacks are zeros.
    function blockRoot(bytes calldata data, uint256 level) internal pure returns (bytes32) {
        if (data.length > LEAF << level) revert BadShape();
        unchecked {
            uint256 n = (data.length + LEAF - 1) / LEAF;
            bytes32[] memory nodes = new bytes32[](n);
            for (uint256 i; i < n; ++i) {
                uint256 end = LEAF * (i + 1);
                nodes[i] = end <= data.length
                    ? keccak256(data[end - LEAF:end])
                    : keccak256(abi.encodePacked(data[end - LEAF:], new bytes(end - data.length)));
            }
            return _raise(nodes, n, level, EMPTY);
        }
    }

    /// @notice Climbs from the node with number `index` of its level over `path` to the top.
    function climb(bytes32 node, uint256 index, bytes32[] calldata path)
        internal
        pure
        returns (bytes32)
    {
        for (uint256 i; i < path.length; ++i) {
            node = index & 1 == 0
                ? Hashes.efficientKeccak256(node, path[i])
                : Hashes.efficientKeccak256(path[i], node);
            index >>= 1;
        }
        if (index != 0) revert BadShape();
        return node;
    }

    /// @notice The node above 2^level others: what a reveal of `level` levels shows.
    function fold(bytes32[] memory nodes, uint256 level) internal pure returns (bytes32) {
        if (nodes.length != 1 << level) revert BadShape();
        return _raise(nodes, nodes.length, level, 0);
    }

    /// @notice Hash of a row of a model.
    function rowHash(bytes32 constants, bytes calldata content) internal pure returns (bytes32) {
        return Hashes.efficientKeccak256(constants, piecesRoot(content));
    }

    /// @notice The same from one piece of the content, number `index`, and its path. The caller
    /// knows how long the piece and the path are.
    function rowHashByPiece(
        bytes32 constants,
        bytes calldata piece,
        uint256 index,
        bytes32[] calldata path
    ) internal pure returns (bytes32) {
        return Hashes.efficientKeccak256(constants, climb(keccak256(piece), index, path));
    }

    function piecesRoot(bytes calldata content) internal pure returns (bytes32) {
        unchecked {
            uint256 n = (content.length + PIECE - 1) / PIECE;
            bytes32[] memory nodes = new bytes32[](n);
            for (uint256 i; i < n; ++i) {
                uint256 end = PIECE * (i + 1);
                nodes[i] =
                    keccak256(content[end - PIECE:end < content.length ? end : content.length]);
            }
            uint256 level;
            while (1 << level < n) ++level;
            return _raise(nodes, n, level, 0);
        }
    }

    /// @notice What a manifest calls the root of its weights.
    /// @param header 128 bytes, which fix every place and depth below
    function weightsRoot(bytes calldata header, bytes32 rowsRoot) internal pure returns (bytes32) {
        if (header.length != LEAF) revert BadShape();
        return keccak256(abi.encodePacked(header, rowsRoot));
    }

    /// @notice What a trace is of: section 9.5.
    struct Job {
        bytes32 weights;
        bytes32 output; // of the receipt: outputDigest
        bytes32 seed;
        bytes32[2] settings;
    }

    function jobHash(Job memory job) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                bytes32("assay/exact/job/2"),
                job.weights,
                job.output,
                job.seed,
                job.settings,
                LAYOUT
            )
        );
    }

    /// @notice What a receipt is about (docs/protocol/objects.md section 4). Both roots are those
    /// of `idsDepth` over leaves of 32 ids.
    struct Output {
        bytes32 prompt;
        bytes32 answer;
        uint32 promptIds;
        uint32 first; // ids of the answer that earlier segments gave
        uint32 outputIds;
    }

    function outputDigest(Output memory o) internal pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                "assay/output/2", o.prompt, o.answer, o.promptIds, o.first, o.outputIds
            )
        );
    }

    /// @notice Levels of an ids root.
    function idsDepth(uint256 ids) internal pure returns (uint256 depth) {
        while (32 << depth < ids) ++depth;
    }

    /// @notice The id at a position, shown by its leaf and the path to its root.
    /// @param leaf 128 bytes: 32 ids, little-endian. Whoever makes a root could put other leaves
    /// into it: they are no ids
    function idAt(Output memory o, uint256 position, bytes calldata leaf, bytes32[] calldata path)
        internal
        pure
        returns (uint32)
    {
        uint256 answerIds = uint256(o.first) + o.outputIds;
        bool inAnswer = position >= o.promptIds;
        uint256 index = inAnswer ? position - o.promptIds : position;
        if (path.length != idsDepth(inAnswer ? answerIds : o.promptIds)) revert BadShape();
        if (inAnswer && index >= answerIds) revert BadShape();
        if (leaf.length != LEAF) revert BadShape();
        if (climb(keccak256(leaf), index / 32, path) != (inAnswer ? o.answer : o.prompt)) {
            revert BadShape();
        }
        index = 4 * (index % 32);
        return _little(uint32(bytes4(leaf[index:index + 4])));
    }

    /// @notice The layout of traces that this library knows.
    uint32 internal constant LAYOUT = 1;

    /// @notice Places of sections 8 and 9: where a block of n items lies that follows `end`, and
    /// where it ends.
    function place(uint256 end, uint256 n) internal pure returns (uint256 start, uint256 next) {
        uint256 size = 1;
        while (size < n) size <<= 1;
        start = (end + size - 1) / size * size;
        next = start + size;
    }

    /// @dev The root over 2^level nodes of which the first n are given and the others are `empty`.
    function _raise(bytes32[] memory nodes, uint256 n, uint256 level, bytes32 empty)
        private
        pure
        returns (bytes32)
    {
        unchecked {
            for (; level > 0; --level) {
                for (uint256 i; i < n; i += 2) {
                    bytes32 right = i + 1 < n ? nodes[i + 1] : empty;
                    nodes[i / 2] = Hashes.efficientKeccak256(nodes[i], right);
                }
                n = (n + 1) / 2;
                empty = Hashes.efficientKeccak256(empty, empty);
            }
            return n == 0 ? empty : nodes[0];
        }
    }

    function _little(uint32 x) private pure returns (uint32) {
        x = (x >> 8 & 0x00ff00ff) | (x & 0x00ff00ff) << 8;
        return x >> 16 | x << 16;
    }
}
