// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IStakeRegistry} from "../../src/interfaces/IStakeRegistry.sol";
import {Stakes} from "../Stakes.sol";

contract SlashTest is Stakes {
    address internal challenger = makeAddr("challenger");
    address internal harmed = makeAddr("harmed");

    function test_splits_what_it_takes() public {
        uint256 supply = token.totalSupply();
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Slashed(NODE, alice, "wrong answer", 100e18, challenger, harmed);
        assertEq(
            stakes.slash(NODE, alice, 100e18, challenger, harmed, "wrong answer"), 100e18, "taken"
        );
        assertEq(token.balanceOf(challenger), 30e18, "challenger");
        assertEq(token.balanceOf(harmed), 40e18, "harmed");
        assertEq(token.balanceOf(treasury), 10e18, "treasury");
        assertEq(token.totalSupply(), supply - 20e18, "burned");
        assertEq(positionOf(alice).stake, 50e18, "stake");
        assertTrue(!stakes.isActive(NODE, alice), "suspended");
    }

    function test_shares_without_receiver_are_burned() public {
        uint256 supply = token.totalSupply();
        stakes.slash(NODE, alice, 100e18, address(0), address(0), "downtime");
        assertEq(token.totalSupply(), supply - 90e18, "all but the treasury's");
        assertEq(token.balanceOf(treasury), 10e18, "treasury");
    }

    function test_stake_first_then_unbonding() public {
        vm.prank(alice);
        stakes.announceUnbond(NODE, 100e18);
        assertEq(stakes.slash(NODE, alice, 80e18, challenger, harmed, "fraud"), 80e18, "taken");
        assertEq(positionOf(alice).stake, 0, "stake");
        assertEq(positionOf(alice).unbonding, 70e18, "unbonding");
        assertEq(
            stakes.slash(NODE, alice, 100e18, challenger, harmed, "fraud"),
            70e18,
            "no more than there is"
        );
        assertEq(stakes.slash(NODE, alice, 100e18, challenger, harmed, "fraud"), 0, "nothing left");
    }

    function test_nothing_is_created_or_kept(uint128 amount) public {
        amount = uint128(bound(amount, 0, 200e18));
        uint256 supply = token.totalSupply();
        uint128 taken = stakes.slash(NODE, alice, amount, challenger, harmed, "fuzz");
        assertEq(taken, amount < 150e18 ? amount : 150e18, "taken");
        assertEq(token.balanceOf(address(stakes)), 150e18 - taken, "the registry keeps none of it");
        uint256 paid =
            token.balanceOf(challenger) + token.balanceOf(harmed) + token.balanceOf(treasury);
        assertEq(paid + supply - token.totalSupply(), taken, "paid and burned");
        assertTrue(supply - token.totalSupply() >= taken / 5, "odd units are burned");
    }

    function test_roles_are_apart() public {
        register(VALIDATOR, alice, 200e18);
        stakes.slash(VALIDATOR, alice, 200e18, challenger, harmed, "false report");
        assertEq(positionOf(alice).stake, 150e18, "the node's stake stands");
    }

    function test_ban() public {
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Banned(NODE, alice);
        stakes.ban(NODE, alice);
        assertTrue(!stakes.isActive(NODE, alice), "suspended for ever");
        assertEq(stakes.stakeOf(NODE, alice), 0, "counts for nothing");
        vm.expectRevert(IStakeRegistry.IsBanned.selector);
        stakes.ban(NODE, alice);
    }

    function test_slashers_only() public {
        bytes memory why = abi.encodeWithSignature(
            "AccessControlUnauthorizedAccount(address,bytes32)", bob, stakes.SLASHER_ROLE()
        );
        vm.expectRevert(why);
        vm.prank(bob);
        stakes.slash(NODE, alice, 1, bob, bob, "greed");
        vm.expectRevert(why);
        vm.prank(bob);
        stakes.ban(NODE, alice);
    }

    function test_only_who_registered() public {
        vm.expectRevert(IStakeRegistry.NotRegistered.selector);
        stakes.slash(NODE, bob, 1, challenger, harmed, "nobody");
        vm.expectRevert(IStakeRegistry.NotRegistered.selector);
        stakes.ban(NODE, bob);
    }
}
