// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {SumTree} from "../../src/libraries/SumTree.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract OpenTest is Market {
    function chunk(SumTree.Node[] memory l, uint256 from, uint256 level)
        internal
        view
        returns (ICourt.Chunk memory c)
    {
        uint256 size = l.length - from < 1 << level ? l.length - from : 1 << level;
        c.level = level;
        c.amounts = new uint96[](size);
        c.receipts = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            c.amounts[i] = amountOf(from + i);
            c.receipts[i] = receiptHash(jobs[from + i].receipt);
        }
        c.path = pathAbove(l, from, level);
    }

    /// The path of a chunk's node: that of its first leaf in the tree of the nodes at its level.
    function pathAbove(SumTree.Node[] memory l, uint256 from, uint256 level)
        internal
        pure
        returns (SumTree.Node[] memory path)
    {
        SumTree.Node memory empty;
        uint256 n = l.length;
        for (uint256 k; k < level; ++k) {
            for (uint256 i; i < n; i += 2) {
                l[i / 2] = SumTree.join(l[i], i + 1 < n ? l[i + 1] : empty);
            }
            n = (n + 1) / 2;
        }
        SumTree.Node[] memory nodes = new SumTree.Node[](n);
        for (uint256 i; i < n; ++i) {
            nodes[i] = l[i];
        }
        (, path) = sumTree(nodes, from >> level);
    }

    function test_chunks_of_every_size(uint256 seed, uint8 n_, uint8 level_) public {
        uint256 n = bound(n_, 1, 40);
        uint256 depth;
        while (1 << depth < n) ++depth;
        uint256 level = bound(level_, 0, depth);
        makeJobs(0, 0, n, seed);
        (uint64 b, Entry memory e) = settle(1, leaves(), total(), total());
        uint256 id = demand(b, e, 0, true);
        uint96 had = vault.free(gw);
        for (uint256 from; from < n; from += 1 << level) {
            ICourt.Chunk memory c = chunk(leaves(), from, level);
            c.amounts[0] ^= 1;
            vm.expectRevert(ICourt.WrongTree.selector);
            court.open(id, b, e, c);
            c.amounts[0] ^= 1;
            vm.expectEmit(true, true, true, true);
            emit ICourt.Opened(id, uint32(from), c.amounts, c.receipts);
            court.open(id, b, e, c);
        }
        assertEq(vault.free(gw), had + n * OPEN_FEE, "the stake pays the gateway");
        vm.warp(block.timestamp + ANSWER + 1);
        vm.expectRevert(ICourt.DemandClosed.selector);
        court.void(id, b, e);
    }

    function test_half_an_opening_is_none() public {
        makeJobs(0, 0, 8, 1);
        (uint64 b, Entry memory e) = settle(1, leaves(), total(), 0);
        uint256 id = demand(b, e, 0, true);
        court.open(id, b, e, chunk(leaves(), 0, 2));
        assertEq(court.demandAt(id).place, 4, "opened");
        vm.warp(block.timestamp + ANSWER + 1);
        court.void(id, b, e);
        assertEq(vault.free(requester(0)), 700 * USD + total(), "refund");
    }

    function test_wrong_sum_cannot_be_opened() public {
        makeJobs(0, 0, 8, 1);
        (uint64 b, Entry memory e) = settle(1, leaves(), total() + 1, 0);
        uint256 id = demand(b, e, 0, true);
        ICourt.Chunk memory c = chunk(leaves(), 0, 3);
        vm.expectRevert(ICourt.WrongTree.selector);
        court.open(id, b, e, c);
    }

    function refused(bytes4 why, uint256 id, uint64 b, Entry memory e, ICourt.Chunk memory c)
        internal
    {
        vm.expectRevert(why);
        court.open(id, b, e, c);
    }

    function test_order_and_shape() public {
        makeJobs(0, 0, 11, 1);
        (uint64 b, Entry memory e) = settle(1, leaves(), total(), 0);
        uint256 id = demand(b, e, 0, true);
        // Out of order: read as the first four.
        refused(ICourt.WrongTree.selector, id, b, e, chunk(leaves(), 4, 2));
        ICourt.Chunk memory c = chunk(leaves(), 0, 2);
        c.level = 3;
        refused(ICourt.BadChunk.selector, id, b, e, c); // neither 8 leaves nor the rest
        c = chunk(leaves(), 0, 4);
        c.level = 13;
        refused(ICourt.BadChunk.selector, id, b, e, c); // all leaves, but no entry is that deep
        c = chunk(leaves(), 0, 2);
        c.receipts = new bytes32[](3);
        refused(SumTree.BadTree.selector, id, b, e, c);
        court.open(id, b, e, chunk(leaves(), 0, 1));
        refused(ICourt.BadChunk.selector, id, b, e, chunk(leaves(), 0, 2)); // 2 is no multiple of 4
        court.open(id, b, e, chunk(leaves(), 2, 1));
        court.open(id, b, e, chunk(leaves(), 4, 2));
        c = chunk(leaves(), 8, 2);
        assertEq(c.amounts.length, 3, "the rest");
        court.open(id, b, e, c);
        assertTrue(court.demandAt(id).closed, "closed");
        refused(ICourt.DemandClosed.selector, id, b, e, c);
    }

    function test_in_time_and_of_its_kind() public {
        makeJobs(0, 0, 2, 1);
        (uint64 b, Entry memory e) = settle(1, leaves(), total(), 0);
        ICourt.Chunk memory c = chunk(leaves(), 0, 1);
        refused(ICourt.WrongKind.selector, demand(b, e, 0, false), b, e, c);
        uint256 id = demand(b, e, 0, true);
        refused(ICourt.WrongEntry.selector, id, b + 1, e, c);
        vm.warp(block.timestamp + ANSWER + 1);
        refused(ICourt.TooLate.selector, id, b, e, c);
        vm.warp(block.timestamp - 1);
        court.open(id, b, e, c);
    }
}
