// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract DemandTest is Market {
    uint64 internal number;
    Entry internal e;

    function setUp() public override {
        super.setUp();
        makeJobs(0, 0, 5, 1);
        (number, e) = settle(1, leaves(), total(), 0);
    }

    function test_takes_the_stake_for_one_leaf() public {
        uint40 deadline = uint40(block.timestamp) + ANSWER;
        vm.expectEmit(true, true, true, true);
        emit ICourt.Demanded(0, gw, number, challenger, e, 3, false, deadline);
        assertEq(demand(number, e, 3, false), 0, "id");
        assertEq(demand(number, e, 3, false), 1, "next id");
        assertEq(court.demandCount(), 2, "count");
        assertEq(vault.free(challenger), 1000 * USD - 2 * LEAF_FEE, "0.05 each");
        assertEq(vault.free(address(court)), 2 * LEAF_FEE, "held");
        ICourt.Demand memory d = court.demandAt(0);
        assertEq(d.gateway, gw, "gateway");
        assertEq(d.deadline, deadline, "deadline");
        assertEq(d.place, 3, "place");
        assertEq(d.stake, LEAF_FEE, "stake");
        assertEq(d.challenger, challenger, "challenger");
        assertTrue(!d.opening && !d.closed, "state");
    }

    function test_takes_the_stake_for_all_leaves() public {
        demand(number, e, 0, true);
        assertEq(vault.free(challenger), 1000 * USD - 5 * OPEN_FEE, "0.0005 a leaf");
        assertTrue(court.demandAt(0).opening, "opening");
    }

    function test_one_of_three_entries() public {
        uint256[2][] memory d = new uint256[2][](3);
        Entry[3] memory entries;
        bytes32[3] memory h;
        for (uint32 i; i < 3; ++i) {
            entries[i] = Entry(
                LaneId.wrap(i + 1),
                2,
                lane(i + 1).seq,
                lane(i + 1).spent,
                lane(i + 1).spent + 10,
                "t"
            );
            d[i] = debit(i + 1, 2, entries[i].spent, "t")[0];
            h[i] = keccak256(abi.encode(entries[i]));
        }
        uint64 b = post(d, noCredits());
        bytes32[] memory path = new bytes32[](2);
        (path[0], path[1]) = (h[0], h[2]);
        vm.prank(challenger);
        court.demand(gw, b, entries[1], path, 0, false);
        path = new bytes32[](1);
        path[0] =
            h[0] < h[1] ? keccak256(abi.encode(h[0], h[1])) : keccak256(abi.encode(h[1], h[0]));
        vm.prank(challenger);
        court.demand(gw, b, entries[2], path, 0, false); // moved up unhashed
        path[0] = h[0];
        vm.expectRevert(ICourt.NotInBatch.selector);
        vm.prank(challenger);
        court.demand(gw, b, entries[2], path, 0, false);
    }

    function refused(bytes4 why, uint64 b, Entry memory x, uint32 index, bool opening) internal {
        vm.expectRevert(why);
        vm.prank(challenger);
        court.demand(gw, b, x, new bytes32[](0), index, opening);
    }

    function test_refusals() public {
        refused(ICourt.UnknownBatch.selector, number + 1, e, 0, false);
        refused(ICourt.BadIndex.selector, number, e, 5, false);
        refused(ICourt.BadIndex.selector, number, e, 1, true);
        Entry memory x = e;
        x.spent += 1;
        refused(ICourt.NotInBatch.selector, number, x, 0, false);
        x.spent -= 1;
        vm.expectRevert(ICourt.UnknownBatch.selector);
        vm.prank(challenger);
        court.demand(makeAddr("another gateway"), number, x, new bytes32[](0), 0, false);
    }

    function test_within_the_window() public {
        vm.warp(block.timestamp + WINDOW);
        demand(number, e, 0, false);
        vm.warp(block.timestamp + 1);
        refused(ICourt.WindowOver.selector, number, e, 0, false);
    }

    function test_needs_free_money_and_the_allowance() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientAllowance.selector, requester(0)));
        vm.prank(requester(0));
        court.demand(gw, number, e, new bytes32[](0), 0, false);
        address pauper = makeAddr("pauper");
        vm.prank(pauper);
        vault.allow(address(court), LEAF_FEE);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, pauper));
        vm.prank(pauper);
        court.demand(gw, number, e, new bytes32[](0), 0, false);
    }

    function test_not_after_a_void() public {
        uint256 id = demand(number, e, 0, false);
        vm.warp(block.timestamp + ANSWER + 1);
        court.void(id, number, e);
        refused(ICourt.AlreadyVoided.selector, number, e, 1, false);
        assertTrue(court.isVoided(gw, number, e), "view");
    }
}
