// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract WithdrawTest is Market {
    function test_pays_free_money_at_once() public {
        vm.expectEmit(true, true, true, true);
        emit IVault.Withdrawn(requester(0), 700 * USD);
        vm.prank(requester(0));
        vault.withdraw(700e6);
        assertEq(usd.balanceOf(requester(0)), 700e6, "tokens");
        assertEq(vault.free(requester(0)), 0, "free account");
    }

    function test_not_more_than_is_free() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, requester(0)));
        vm.prank(requester(0));
        vault.withdraw(700e6 + 1); // 300 are in the lane
    }

    function test_part_of_a_base_unit_stays() public {
        vm.prank(requester(0));
        vault.give(gw, 1); // one pico-unit
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, requester(0)));
        vm.prank(requester(0));
        vault.withdraw(700e6);
        vm.prank(requester(0));
        vault.withdraw(700e6 - 1);
        assertEq(vault.free(requester(0)), 1e6 - 1, "the rest");
    }

    function test_works_while_paused() public {
        vm.prank(guardian);
        vault.pause(NOTICE / 2);
        vm.prank(requester(0));
        vault.withdraw(1);
    }
}
