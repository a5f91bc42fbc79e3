// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract PullTest is Market {
    function test_moves_free_money_into_the_lane() public {
        settle(1, junk(100 * USD), 100 * USD, 0);
        vm.expectEmit(true, true, true, true);
        emit IVault.Pulled(gw, LaneId.wrap(1), capHash(caps[0]), 100 * USD);
        vm.prank(gw);
        vault.pull(caps[0], 100 * USD);
        assertEq(lane(1).locked, 300 * USD, "locked");
        assertEq(lane(1).spent, 100 * USD, "spent stays");
        assertEq(vault.free(requester(0)), 600 * USD, "free");
        assertEq(vault.capOf(capHash(caps[0])).pulled, 400 * USD, "pulled");
    }

    function test_not_above_maxLocked() public {
        vm.expectRevert(IVault.LaneFull.selector);
        vm.prank(gw);
        vault.pull(caps[0], 1);
    }

    function test_not_above_maxSpend() public {
        settle(1, junk(300 * USD), 300 * USD, 0);
        vm.prank(gw);
        vault.pull(caps[0], 200 * USD);
        settle(1, junk(200 * USD), 200 * USD, 0);
        vm.expectRevert(IVault.CapExceeded.selector);
        vm.prank(gw);
        vault.pull(caps[0], 1);
    }

    function test_not_above_what_is_free() public {
        vm.prank(requester(0));
        vault.withdraw(699e6);
        settle(1, junk(100 * USD), 100 * USD, 0);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, requester(0)));
        vm.prank(gw);
        vault.pull(caps[0], 2 * USD);
        vm.prank(gw);
        vault.pull(caps[0], 1 * USD);
    }

    function test_not_after_the_deadline() public {
        settle(1, junk(USD), USD, 0);
        vm.warp(caps[0].deadline);
        vm.prank(gw);
        vault.pull(caps[0], 1);
        vm.warp(caps[0].deadline + 1);
        vm.expectRevert(IVault.CapEnded.selector);
        vm.prank(gw);
        vault.pull(caps[0], 1);
    }

    function test_not_from_a_closing_lane() public {
        settle(1, junk(USD), USD, 0);
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.expectRevert(IVault.LaneEnding.selector);
        vm.prank(gw);
        vault.pull(caps[0], 1);
    }

    function test_not_by_a_cap_of_a_dead_lane() public {
        SpendingCap memory old = caps[0];
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.warp(block.timestamp + NOTICE);
        vm.prank(requester(0));
        vault.close(gw);
        openLane(0, 1);
        vm.expectRevert(IVault.LaneEnding.selector);
        vm.prank(gw);
        vault.pull(old, 1);
    }

    function test_only_by_its_gateway_and_only_what_was_signed() public {
        vm.expectRevert(IVault.NotGateway.selector);
        vault.pull(caps[0], 0);
        SpendingCap memory c = caps[0];
        c.maxSpend += 1;
        vm.expectRevert(IVault.CapUnknown.selector);
        vm.prank(gw);
        vault.pull(c, 0);
    }
}
