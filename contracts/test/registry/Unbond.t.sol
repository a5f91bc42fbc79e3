// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IStakeRegistry} from "../../src/interfaces/IStakeRegistry.sol";
import {Stakes} from "../Stakes.sol";

contract UnbondTest is Stakes {
    function announce(uint128 amount) internal {
        vm.prank(alice);
        stakes.announceUnbond(NODE, amount);
    }

    function test_announce_wait_withdraw() public {
        uint40 unbondsAt = uint40(block.timestamp) + UNBONDING;
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.UnbondAnnounced(NODE, alice, 50e18, unbondsAt);
        announce(50e18);
        assertEq(positionOf(alice).stake, 100e18, "what is left");
        assertTrue(stakes.isActive(NODE, alice), "at the minimum");
        vm.warp(unbondsAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IStakeRegistry.TooEarly.selector, unbondsAt));
        vm.prank(alice);
        stakes.withdraw(NODE);
        vm.warp(unbondsAt);
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Withdrawn(NODE, alice, 50e18);
        vm.prank(alice);
        stakes.withdraw(NODE);
        assertEq(token.balanceOf(alice), 9_900e18, "tokens");
        vm.expectRevert(IStakeRegistry.NothingAnnounced.selector);
        vm.prank(alice);
        stakes.withdraw(NODE);
    }

    function test_withdrawn_once() public {
        announce(50e18);
        vm.warp(block.timestamp + UNBONDING);
        vm.prank(alice);
        stakes.withdraw(NODE);
        announce(10e18);
        vm.warp(block.timestamp + UNBONDING);
        vm.prank(alice);
        stakes.withdraw(NODE);
        assertEq(token.balanceOf(alice), 9_910e18, "50 and 10");
    }

    function test_below_the_minimum_suspends() public {
        announce(50e18 + 1);
        assertTrue(!stakes.isActive(NODE, alice), "suspended");
        assertEq(stakes.stakeOf(NODE, alice), 100e18 - 1, "counts no more");
    }

    function test_second_announcement_starts_anew() public {
        announce(10e18);
        vm.warp(block.timestamp + 6 days);
        announce(20e18);
        assertEq(positionOf(alice).unbonding, 30e18, "both");
        vm.warp(block.timestamp + 6 days);
        vm.expectRevert(
            abi.encodeWithSelector(IStakeRegistry.TooEarly.selector, positionOf(alice).unbondsAt)
        );
        vm.prank(alice);
        stakes.withdraw(NODE);
        vm.warp(block.timestamp + 1 days);
        vm.prank(alice);
        stakes.withdraw(NODE);
        assertEq(token.balanceOf(alice), 9_880e18, "together");
    }

    function test_slashable_until_withdrawn() public {
        announce(150e18);
        vm.warp(block.timestamp + UNBONDING);
        assertEq(stakes.slash(NODE, alice, 40e18, address(0), address(0), "late"), 40e18, "taken");
        vm.prank(alice);
        stakes.withdraw(NODE);
        assertEq(token.balanceOf(alice), 9_850e18 + 110e18, "the rest");
    }

    function test_banned_accounts_can_leave() public {
        stakes.ban(NODE, alice);
        announce(150e18);
        vm.warp(block.timestamp + UNBONDING);
        vm.prank(alice);
        stakes.withdraw(NODE);
        assertEq(token.balanceOf(alice), 10_000e18, "all");
    }

    function test_refusals() public {
        vm.expectRevert(IStakeRegistry.InsufficientStake.selector);
        announce(150e18 + 1);
        vm.expectRevert(IStakeRegistry.NothingAnnounced.selector);
        announce(0);
        vm.expectRevert(IStakeRegistry.NotRegistered.selector);
        vm.prank(bob);
        stakes.announceUnbond(NODE, 1);
        vm.expectRevert(IStakeRegistry.NothingAnnounced.selector);
        vm.prank(bob);
        stakes.withdraw(NODE);
    }
}
