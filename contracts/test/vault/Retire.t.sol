// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract RetireTest is Market {
    function test_anyone_frees_the_cover_of_a_silent_gateway() public {
        for (uint256 i; i < 12; ++i) {
            settle(1, junk(USD), USD, 0);
        }
        assertEq(gateway().unfinal, 12 * USD, "all young");
        vm.warp(block.timestamp + WINDOW + 2 * ANSWER);
        vault.retire(gw, 100);
        assertEq(gateway().unfinal, 12 * USD, "still voidable");
        vm.warp(block.timestamp + 1);
        vm.expectEmit(true, true, true, true);
        emit IVault.Retired(gw, 5, 7 * USD);
        vault.retire(gw, 5);
        assertEq(gateway().oldest, 5, "oldest");
        vault.retire(gw, type(uint64).max);
        assertEq(gateway().unfinal, 0, "all");
        assertEq(gateway().oldest, 12, "oldest");
        vault.retire(gw, type(uint64).max);
        assertEq(gateway().oldest, 12, "no further");
    }

    function test_settle_takes_eight() public {
        for (uint256 i; i < 12; ++i) {
            settle(1, junk(USD), USD, 0);
        }
        vm.warp(block.timestamp + WINDOW + 2 * ANSWER + 1);
        post(noDebits(), noCredits());
        assertEq(gateway().unfinal, 4 * USD, "eight a batch");
        post(noDebits(), noCredits());
        assertEq(gateway().unfinal, 0, "the rest");
    }
}
