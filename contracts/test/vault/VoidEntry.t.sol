// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract VoidEntryTest is Market {
    function test_court_only() public {
        vm.expectRevert(IVault.NotCourt.selector);
        vault.voidEntry(gw, 0, LaneId.wrap(1), 0, address(this));
        vm.expectRevert(IVault.NotCourt.selector);
        vm.prank(guardian);
        vault.voidEntry(gw, 0, LaneId.wrap(1), 0, address(this));
    }

    function test_refund_leaves_the_cover_and_the_penalty_is_whole() public {
        settle(1, junk(300 * USD), 300 * USD, 0);
        settle(2, junk(200 * USD), 200 * USD, 0);
        vm.expectEmit(true, true, true, true);
        emit IVault.EntryVoided(gw, 0, LaneId.wrap(1), 300 * USD);
        vm.expectEmit(true, true, true, true);
        emit IVault.Jailed(gw, 1000 * USD, 400 * USD);
        vm.prank(address(court));
        assertEq(vault.voidEntry(gw, 0, LaneId.wrap(1), 300 * USD, challenger), 400 * USD, "40 %");
        assertEq(vault.free(requester(0)), 1000 * USD, "owner");
        assertEq(vault.free(challenger), 1400 * USD, "challenger");
        assertEq(vault.free(treasury), 600 * USD, "60 %");
        assertEq(gateway().bond, BOND - 1300 * USD, "bond");
        assertEq(gateway().unfinal, 200 * USD, "the other debit is still covered");
        assertEq(vault.batchAt(gw, 0).total, 0, "batch");
        assertTrue(gateway().jailed, "jailed");
        assertEq(gateway().exitAt, block.timestamp + EXIT, "exit announced");
        vm.warp(block.timestamp + WINDOW + 2 * ANSWER + 1);
        vault.retire(gw, 2);
        assertEq(gateway().unfinal, 0, "what was voided is not retired twice");
    }

    /// A bond of exactly minBond and the cover: the largest fraud it allows still costs all of
    /// minBond.
    function test_largest_fraud_pays_the_full_penalty() public {
        IVault.Profile memory p = profile();
        p.minBond = BOND - 300 * USD;
        (vault, court) = deploy(p);
        usd.approve(address(vault), type(uint256).max);
        vault.deposit(gw, 5000e6);
        vm.prank(gw);
        vault.addBond(gw, BOND);
        vault.deposit(requester(0), 1000e6);
        openLane(0, 0);
        settle(1, junk(300 * USD), 300 * USD, 0);
        vm.prank(address(court));
        assertEq(
            vault.voidEntry(gw, 0, LaneId.wrap(1), 300 * USD, challenger),
            4700 * USD * 40 / 100,
            "reward"
        );
        assertEq(gateway().bond, 0, "all gone");
    }

    function test_penalty_once_and_never_from_the_cover() public {
        settle(1, junk(300 * USD), 300 * USD, 0);
        Ack memory a = Ack(gw, node(1), 1, 4500 * USD, uint64(block.timestamp) - 1);
        // Pool 300, bond 4,200: leaves 800, of which 300 cover the debit.
        vault.redeem(a, sign(GATEWAY_KEY, a));
        vm.prank(address(court));
        assertEq(vault.voidEntry(gw, 0, LaneId.wrap(0), 0, challenger), 200 * USD, "40 % of 500");
        assertEq(gateway().bond, 300 * USD, "the cover");
        vm.prank(address(court));
        assertEq(
            vault.voidEntry(gw, 0, LaneId.wrap(1), 300 * USD, challenger), 0, "no second reward"
        );
        assertEq(vault.free(requester(0)), 1000 * USD, "but the refund");
    }

    function test_an_exit_announced_earlier_stands() public {
        settle(1, junk(USD), USD, 0);
        vm.prank(gw);
        vault.announceExit();
        uint40 exitAt = gateway().exitAt;
        vm.warp(block.timestamp + 1 hours);
        vm.prank(address(court));
        vault.voidEntry(gw, 0, LaneId.wrap(1), USD, challenger);
        assertEq(gateway().exitAt, exitAt, "same");
    }
}
