// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract PauseTest is Market {
    function test_stops_settle_pull_and_openLane() public {
        vm.expectEmit(true, true, true, true);
        emit IVault.Paused(uint40(block.timestamp) + NOTICE / 2);
        vm.prank(guardian);
        vault.pause(NOTICE / 2);
        bytes memory why =
            abi.encodeWithSelector(IVault.PausedUntil.selector, block.timestamp + NOTICE / 2);
        refuse(why, noDebits(), noCredits());
        vm.expectRevert(why);
        vm.prank(gw);
        vault.pull(caps[0], 0);
        SpendingCap memory c = newCap(0, 1);
        bytes memory signature = sign(requesterKey(0), c);
        vm.expectRevert(why);
        vm.prank(gw);
        vault.openLane(c, signature, 0);
        vm.warp(block.timestamp + NOTICE / 2);
        post(noDebits(), noCredits());
    }

    function test_every_exit_stays_open() public {
        makeJobs(0, 0, 3, 1);
        (uint64 number, Entry memory e) = settle(1, leaves(), total(), total());
        settle(2, junk(USD), USD, 0);
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.warp(block.timestamp + NOTICE - 60);
        vm.prank(guardian);
        vault.pause(NOTICE / 2);
        vm.warp(block.timestamp + 60);
        vm.prank(requester(0));
        vault.close(gw);
        vm.prank(requester(0));
        vault.withdraw(900e6);
        vm.prank(requester(1));
        vault.revoke(caps[1]);
        vm.prank(requester(1));
        vault.announceClose(gw);
        vm.prank(node(0));
        assertTrue(vault.claim(gw) > 0, "claimed");
        Ack memory a = Ack(gw, node(1), 1, USD, uint64(block.timestamp - 1));
        assertEq(vault.redeem(a, sign(GATEWAY_KEY, a)), USD, "redeemed");
        vault.collectFees(gw);
        vm.prank(gw);
        vault.announceExit();
        uint256 id = demand(number, e, 0, false);
        vm.warp(block.timestamp + ANSWER + 1);
        assertTrue(block.timestamp < vault.pausedUntil(), "still paused");
        court.void(id, number, e);
    }

    function test_not_longer_than_half_a_notice() public {
        vm.expectRevert(IVault.BadPause.selector);
        vm.prank(guardian);
        vault.pause(NOTICE / 2 + 1);
    }

    function test_not_again_before_a_notice_has_passed() public {
        vm.prank(guardian);
        vault.pause(NOTICE / 2);
        vm.warp(vault.pausedUntil() + NOTICE - 1);
        vm.expectRevert(IVault.BadPause.selector);
        vm.prank(guardian);
        vault.pause(1);
        vm.warp(block.timestamp + 1);
        vm.prank(guardian);
        vault.pause(1);
    }

    function test_unpause_ends_it_early_but_not_the_wait() public {
        vm.prank(guardian);
        vault.pause(NOTICE / 2);
        vm.warp(block.timestamp + 60);
        vm.expectEmit(true, true, true, true);
        emit IVault.Paused(uint40(block.timestamp));
        vm.prank(guardian);
        vault.unpause();
        post(noDebits(), noCredits());
        vm.expectRevert(IVault.BadPause.selector);
        vm.prank(guardian);
        vault.unpause();
        vm.expectRevert(IVault.BadPause.selector);
        vm.prank(guardian);
        vault.pause(1);
    }

    function test_guardian_only() public {
        vm.expectRevert(IVault.NotGuardian.selector);
        vault.pause(1);
        vm.expectRevert(IVault.NotGuardian.selector);
        vault.unpause();
    }
}
