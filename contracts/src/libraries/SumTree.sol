// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Merkle-sum tree over the tickets of one entry. Place is meaning: leaf i is the ticket
/// with laneSeq = first + i. The depth is ceil(log2(count)). A node that covers only places from
/// `count` on is the empty node (0, 0) and is never supplied by a prover, so that nothing can be
/// hidden behind the last leaf.
library SumTree {
    struct Node {
        bytes32 hash;
        uint96 sum;
    }

    /// @notice The leaves or the path do not fit the place they are for.
    error BadTree();

    function leaf(uint64 laneSeq, uint96 amount, bytes32 receipt)
        internal
        pure
        returns (Node memory)
    {
        return Node(keccak256(abi.encodePacked(uint8(0), laneSeq, amount, receipt)), amount);
    }

    function join(Node memory l, Node memory r) internal pure returns (Node memory) {
        return
            Node(keccak256(abi.encodePacked(uint8(1), l.hash, l.sum, r.hash, r.sum)), l.sum + r.sum);
    }

    /// @notice Climbs from `node`, number `index` of level `level`, to the root of a tree of
    /// `count` leaves.
    function climb(
        Node memory node,
        uint256 index,
        uint256 level,
        uint256 count,
        Node[] calldata path
    ) internal pure returns (Node memory) {
        if ((index << level) >= count) revert BadTree();
        uint256 used;
        for (; (1 << level) < count; ++level) {
            bool right = index & 1 == 1;
            Node memory other;
            if (right || ((index + 1) << level) < count) {
                if (used == path.length) revert BadTree();
                other = path[used++];
            }
            node = right ? join(other, node) : join(node, other);
            index >>= 1;
        }
        if (used != path.length) revert BadTree();
        return node;
    }

    /// @notice Root of the aligned chunk of 2^level leaves that starts at `laneSeq`; the last chunk
    /// may be short.
    function chunk(
        uint64 laneSeq,
        uint256 level,
        uint96[] calldata amounts,
        bytes32[] calldata receipts
    ) internal pure returns (Node memory) {
        uint256 n = amounts.length;
        if (n == 0 || n > 1 << level || receipts.length != n) revert BadTree();
        Node[] memory nodes = new Node[](n);
        for (uint256 i; i < n; ++i) {
            nodes[i] = leaf(laneSeq + uint64(i), amounts[i], receipts[i]);
        }
        Node memory empty;
        for (; level > 0; --level) {
            for (uint256 i; i < n; i += 2) {
                nodes[i >> 1] = join(nodes[i], i + 1 < n ? nodes[i + 1] : empty);
            }
            n = (n + 1) >> 1;
        }
        return nodes[0];
    }
}
