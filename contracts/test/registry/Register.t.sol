// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {StakeRegistry} from "../../src/StakeRegistry.sol";
import {IStakeRegistry} from "../../src/interfaces/IStakeRegistry.sol";
import {Stakes} from "../Stakes.sol";

contract RegisterTest is Stakes {
    function test_takes_the_stake_and_keeps_what_was_said() public {
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Registered(
            GATEWAY, bob, "https://gateway.example.org", bytes32(uint256(7))
        );
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Staked(GATEWAY, bob, bob, 500e18);
        vm.prank(bob);
        stakes.register(GATEWAY, 500e18, "https://gateway.example.org", bytes32(uint256(7)));
        IStakeRegistry.Position memory p = stakes.position(GATEWAY, bob);
        assertEq(p.stake, 500e18, "stake");
        assertEq(p.endpoint, "https://gateway.example.org", "endpoint");
        assertEq(p.x25519, bytes32(uint256(7)), "key");
        assertTrue(stakes.isActive(GATEWAY, bob), "active");
        assertTrue(!stakes.isActive(NODE, bob), "in this role only");
        assertEq(token.balanceOf(address(stakes)), 650e18, "tokens");
    }

    function test_each_role_has_its_minimum() public {
        uint128[3] memory minimums = [uint128(100e18), 500e18, 200e18];
        for (uint8 i; i < 3; ++i) {
            IStakeRegistry.Role role = IStakeRegistry.Role(i);
            assertEq(stakes.minimum(role), minimums[i], "minimum");
            vm.expectRevert(
                abi.encodeWithSelector(IStakeRegistry.BelowMinimum.selector, minimums[i])
            );
            vm.prank(bob);
            stakes.register(role, minimums[i] - 1, "", 0);
            register(role, bob, minimums[i]);
            assertTrue(stakes.isActive(role, bob), "active");
        }
    }

    function test_once_a_role() public {
        vm.expectRevert(IStakeRegistry.AlreadyRegistered.selector);
        vm.prank(alice);
        stakes.register(NODE, 100e18, "", 0);
        register(VALIDATOR, alice, 200e18);
        assertEq(stakes.stakeOf(NODE, alice), 150e18, "stakes are kept apart");
    }

    function test_needs_the_tokens() public {
        vm.expectRevert();
        vm.prank(makeAddr("pauper"));
        stakes.register(NODE, 100e18, "", 0);
    }

    function test_update() public {
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.Updated(NODE, alice, "moved", bytes32(uint256(9)));
        vm.prank(alice);
        stakes.update(NODE, "moved", bytes32(uint256(9)));
        assertEq(positionOf(alice).endpoint, "moved", "endpoint");
        assertEq(positionOf(alice).x25519, bytes32(uint256(9)), "key");
        vm.expectRevert(IStakeRegistry.NotRegistered.selector);
        vm.prank(bob);
        stakes.update(NODE, "moved", 0);
    }

    function test_endpoint_of_256_bytes() public {
        string memory longest = string(new bytes(256));
        string memory longer = string(new bytes(257));
        vm.prank(alice);
        stakes.update(NODE, longest, 0);
        vm.expectRevert(IStakeRegistry.EndpointTooLong.selector);
        vm.prank(alice);
        stakes.update(NODE, longer, 0);
        vm.expectRevert(IStakeRegistry.EndpointTooLong.selector);
        vm.prank(bob);
        stakes.register(NODE, 100e18, longer, 0);
    }

    function test_split_must_add_up() public {
        IStakeRegistry.Split memory s = IStakeRegistry.Split(5000, 3000, 0, 2001);
        uint128[3] memory none;
        vm.expectRevert(IStakeRegistry.BadSplit.selector);
        new StakeRegistry(token, none, 1, s, treasury, address(this));
        s.treasuryBps = 2000;
        vm.expectRevert(IStakeRegistry.BadSplit.selector);
        new StakeRegistry(token, none, 1, s, address(0), address(this));
        StakeRegistry r = new StakeRegistry(token, none, 1, s, treasury, address(this));
        assertEq(keccak256(abi.encode(r.split())), keccak256(abi.encode(s)), "split");
        assertEq(r.unbondingPeriod(), 1, "unbonding");
    }

    function test_no_minimum_no_stake() public {
        uint128[3] memory none;
        IStakeRegistry.Split memory s = IStakeRegistry.Split(10_000, 0, 0, 0);
        StakeRegistry r = new StakeRegistry(token, none, 1, s, treasury, address(this));
        vm.prank(bob);
        r.register(NODE, 0, "", 0);
        assertTrue(r.isActive(NODE, bob), "active");
        assertTrue(!r.isActive(NODE, alice), "but only who registered");
    }
}
