// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract RevokeTest is Market {
    function test_ends_pulls_at_once_and_tickets_after_grace() public {
        settle(1, junk(USD), USD, 0);
        vm.expectEmit(true, true, true, true);
        emit IVault.CapRevoked(gw, requester(0), capHash(caps[0]), 0);
        vm.prank(requester(0));
        vault.revoke(caps[0]);
        assertEq(vault.capOf(capHash(caps[0])).endsAt, block.timestamp + GRACE, "grace");
        assertEq(vault.minNonce(requester(0), gw), 1, "nonce");
        vm.expectRevert(IVault.CapEnded.selector);
        vm.prank(gw);
        vault.pull(caps[0], 0);
    }

    function test_never_prolongs() public {
        vm.warp(caps[0].deadline - 1);
        vm.prank(requester(0));
        vault.revoke(caps[0]);
        assertEq(vault.capOf(capHash(caps[0])).endsAt, caps[0].deadline, "deadline stands");
        SpendingCap memory c = newCap(0, 0);
        vm.warp(block.timestamp + 1 days);
        vm.prank(requester(0));
        vault.revoke(caps[0]);
        assertEq(vault.capOf(capHash(caps[0])).endsAt, caps[0].deadline, "again");
        assertEq(LaneId.unwrap(vault.capOf(capHash(c)).lane), 0, "another cap is untouched");
    }

    function test_ends_older_nonces_of_this_gateway_only() public {
        SpendingCap memory newer = newCap(0, 5);
        bytes memory s = sign(requesterKey(0), newer);
        vm.prank(gw);
        vault.openLane(newer, s, 0);
        vm.prank(requester(0));
        vault.revoke(caps[0]); // nonce 0
        settle(1, junk(USD), USD, 0);
        vm.prank(gw);
        vault.pull(newer, 1); // the newer one lives
        vm.prank(requester(0));
        vault.revoke(newer);
        assertEq(vault.minNonce(requester(0), gw), 6, "highest");
        vm.prank(requester(0));
        vault.revoke(caps[0]);
        assertEq(vault.minNonce(requester(0), gw), 6, "never falls");
        assertEq(vault.minNonce(requester(0), makeAddr("another gateway")), 0, "per gateway");
    }

    function test_largest_nonce_can_be_revoked() public {
        SpendingCap memory c = newCap(0, type(uint64).max);
        vm.prank(requester(0));
        vault.revoke(c);
        bytes memory s = sign(requesterKey(0), c);
        vm.expectRevert(IVault.CapEnded.selector);
        vm.prank(gw);
        vault.openLane(c, s, 0);
    }

    function test_only_by_its_requester() public {
        vm.expectRevert(IVault.NotRequester.selector);
        vm.prank(gw);
        vault.revoke(caps[0]);
    }
}
