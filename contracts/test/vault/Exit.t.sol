// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract ExitTest is Market {
    function test_bond_is_free_after_the_exit_period() public {
        uint40 exitAt = uint40(block.timestamp) + EXIT;
        vm.expectEmit(true, true, true, true);
        emit IVault.ExitAnnounced(gw, exitAt);
        vm.prank(gw);
        vault.announceExit();
        vm.warp(exitAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, exitAt));
        vm.prank(gw);
        vault.exit();
        vm.warp(exitAt);
        vm.expectEmit(true, true, true, true);
        emit IVault.Exited(gw, BOND);
        vm.prank(gw);
        vault.exit();
        assertEq(vault.free(gw), 10_000 * USD, "all of it");
        assertEq(gateway().bond, 0, "bond");
    }

    function test_no_debits_but_credits() public {
        makeJobs(0, 0, 3, 1);
        settle(1, leaves(), total(), 0);
        vm.prank(gw);
        vault.announceExit();
        refuse(IVault.GatewayExiting.selector, debit(2, 1, 1, 0), noCredits());
        post(noDebits(), credit(1, total()));
        assertEq(link(1).cum, total(), "credited");
    }

    function test_announced_once() public {
        vm.prank(gw);
        vault.announceExit();
        vm.warp(block.timestamp + 1 days);
        vm.expectRevert(IVault.GatewayExiting.selector);
        vm.prank(gw);
        vault.announceExit();
    }

    function test_not_without_announcement() public {
        vm.expectRevert(IVault.NotExiting.selector);
        vm.prank(gw);
        vault.exit();
    }

    /// Fraud in the last second before the announcement, found in the last second of the window,
    /// answered by nobody, voided in the last second: the bond is still there.
    function test_bond_outlives_the_last_challenge() public {
        (uint64 number, Entry memory e) = settle(1, junk(100 * USD), 100 * USD, 0);
        vm.prank(gw);
        vault.announceExit();
        vm.warp(block.timestamp + WINDOW);
        uint256 id = demand(number, e, 0, false);
        vm.warp(block.timestamp + 2 * ANSWER);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, gateway().exitAt));
        vm.prank(gw);
        vault.exit();
        court.void(id, number, e);
        assertEq(vault.free(requester(0)), 800 * USD, "refund");
    }
}
