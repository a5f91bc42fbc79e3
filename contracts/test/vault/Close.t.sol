// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract CloseTest is Market {
    function test_frees_the_rest_after_the_notice() public {
        uint40 closeAt = uint40(block.timestamp) + NOTICE;
        vm.expectEmit(true, true, true, true);
        emit IVault.LaneClosing(gw, LaneId.wrap(1), closeAt);
        vm.prank(requester(0));
        vault.announceClose(gw);
        settle(1, junk(20 * USD), 20 * USD, 0); // debits rank first
        vm.warp(closeAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, closeAt));
        vm.prank(requester(0));
        vault.close(gw);
        vm.warp(closeAt);
        vm.expectEmit(true, true, true, true);
        emit IVault.LaneClosed(gw, LaneId.wrap(1), 280 * USD);
        vm.prank(requester(0));
        vault.close(gw);
        assertEq(vault.free(requester(0)), 980 * USD, "free");
        assertEq(lane(1).locked, 0, "lane");
        assertEq(lane(1).spent, 20 * USD, "the total stays");
        assertEq(lane(1).owner, requester(0), "the owner stays, for refunds");
        refuse(
            abi.encodeWithSelector(IVault.LaneOverdrawn.selector, 1),
            debit(1, 1, 20 * USD + 1, 0),
            noCredits()
        );
    }

    function test_refund_after_closing() public {
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.warp(block.timestamp + NOTICE);
        (uint64 number, Entry memory e) = settle(1, junk(20 * USD), 20 * USD, 0);
        vm.prank(requester(0));
        vault.close(gw);
        uint256 id = demand(number, e, 0, false);
        vm.warp(block.timestamp + ANSWER + 1);
        court.void(id, number, e);
        assertEq(vault.free(requester(0)), 1000 * USD, "all back");
    }

    function test_numbers_are_never_used_again() public {
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.warp(block.timestamp + NOTICE);
        vm.prank(requester(0));
        vault.close(gw);
        assertEq(LaneId.unwrap(vault.laneOf(gw, requester(0))), 0, "none");
        assertEq(LaneId.unwrap(openLane(0, 1)), 4, "a new number");
    }

    function test_refusals() public {
        vm.expectRevert(IVault.LaneUnknown.selector);
        vault.announceClose(gw);
        vm.expectRevert(IVault.LaneUnknown.selector);
        vault.close(gw);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, 0));
        vm.prank(requester(0));
        vault.close(gw); // not announced
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.expectRevert(IVault.LaneEnding.selector);
        vm.prank(requester(0));
        vault.announceClose(gw);
    }
}
