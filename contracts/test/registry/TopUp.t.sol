// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IStakeRegistry} from "../../src/interfaces/IStakeRegistry.sol";
import {Stakes} from "../Stakes.sol";

contract TopUpTest is Stakes {
    function test_from_any_account() public {
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Staked(NODE, alice, bob, 50e18);
        vm.prank(bob);
        stakes.topUp(NODE, alice, 50e18);
        assertEq(positionOf(alice).stake, 200e18, "stake");
        assertEq(token.balanceOf(bob), 9_950e18, "payer");
    }

    function test_ends_a_suspension() public {
        stakes.slash(NODE, alice, 100e18, address(0), address(0), "test");
        assertTrue(!stakes.isActive(NODE, alice), "suspended");
        vm.prank(alice);
        stakes.topUp(NODE, alice, 50e18);
        assertTrue(stakes.isActive(NODE, alice), "active again");
    }

    function test_refusals() public {
        vm.expectRevert(IStakeRegistry.NotRegistered.selector);
        vm.prank(bob);
        stakes.topUp(NODE, bob, 1);
        stakes.ban(NODE, alice);
        vm.expectRevert(IStakeRegistry.IsBanned.selector);
        vm.prank(alice);
        stakes.topUp(NODE, alice, 1);
    }
}
