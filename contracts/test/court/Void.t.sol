// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract VoidTest is Market {
    function test_refunds_rewards_and_jails() public {
        (uint64 b, Entry memory e) = settle(1, junk(100 * USD), 100 * USD, 60 * USD);
        uint256 id = demand(b, e, 0, true);
        vm.warp(block.timestamp + ANSWER + 1);
        vm.expectEmit(true, true, true, true);
        emit ICourt.Voided(id, gw, b, 100 * USD, 400 * USD);
        court.void(id, b, e);
        assertEq(vault.free(requester(0)), 800 * USD, "refund");
        assertEq(vault.free(challenger), 1400 * USD, "reward, stake back");
        assertEq(vault.free(address(court)), 0, "nothing kept");
        assertTrue(gateway().jailed, "jailed");
        assertEq(link(1).cum, 60 * USD, "what nodes earned stands");
        vm.expectRevert(ICourt.DemandClosed.selector);
        court.void(id, b, e);
    }

    function test_second_demand_gives_back_its_stake_only() public {
        (uint64 b, Entry memory e) = settle(1, junk(100 * USD), 100 * USD, 0);
        uint256 x = demand(b, e, 0, false);
        uint256 y = demand(b, e, 1, false);
        vm.warp(block.timestamp + ANSWER + 1);
        court.void(x, b, e);
        court.void(y, b, e);
        assertEq(vault.free(requester(0)), 800 * USD, "refunded once");
        assertEq(vault.free(challenger), 1400 * USD, "rewarded once, both stakes back");
    }

    function test_penalty_once_for_two_entries() public {
        (uint64 b, Entry memory e) = settle(1, junk(100 * USD), 100 * USD, 0);
        (uint64 c, Entry memory f) = settle(2, junk(200 * USD), 200 * USD, 0);
        uint256 x = demand(b, e, 0, false);
        uint256 y = demand(c, f, 0, false);
        vm.warp(block.timestamp + ANSWER + 1);
        court.void(x, b, e);
        court.void(y, c, f);
        assertEq(gateway().bond, 3700 * USD, "5,000 - 1,000 - 300");
        assertEq(vault.free(requester(1)), 900 * USD, "refund");
    }

    /// The same entry in two batches cannot be: `first` differs. The same hash under another number
    /// is another key.
    function test_key_holds_the_number() public {
        (uint64 b, Entry memory e) = settle(1, junk(0), 0, 0);
        uint256 id = demand(b, e, 0, false);
        vm.warp(block.timestamp + ANSWER + 1);
        vm.expectRevert(ICourt.WrongEntry.selector);
        court.void(id, b + 1, e);
        e.spent += 1;
        vm.expectRevert(ICourt.WrongEntry.selector);
        court.void(id, b, e);
    }

    function test_times() public {
        (uint64 b, Entry memory e) = settle(1, junk(100 * USD), 100 * USD, 0);
        uint256 x = demand(b, e, 0, false);
        uint256 y = demand(b, e, 0, false);
        vm.warp(block.timestamp + ANSWER);
        vm.expectRevert(ICourt.TooEarly.selector);
        court.void(x, b, e);
        vm.warp(block.timestamp + ANSWER);
        court.void(x, b, e); // the last second
        vm.warp(block.timestamp + 1);
        vm.expectRevert(ICourt.TooLate.selector);
        court.void(y, b, e);
    }

    function test_cover_is_there_to_the_last_second() public {
        (uint64 b, Entry memory e) = settle(1, junk(100 * USD), 100 * USD, 100 * USD);
        Ack memory a = Ack(gw, node(1), 1, 9000 * USD, uint64(block.timestamp));
        bytes memory s = sign(GATEWAY_KEY, a);
        vm.warp(block.timestamp + WINDOW);
        uint256 id = demand(b, e, 0, false);
        vm.warp(block.timestamp + 2 * ANSWER);
        vault.retire(gw, 10);
        vault.redeem(a, s); // takes all the bond that covers nothing
        assertEq(gateway().bond, 100 * USD, "the cover");
        court.void(id, b, e);
        assertEq(vault.free(requester(0)), 800 * USD, "refund");
    }
}
