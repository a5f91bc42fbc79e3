// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract GiveTest is Market {
    address internal friend = makeAddr("friend");

    function test_give_moves_free_money() public {
        vm.expectEmit(true, true, true, true);
        emit IVault.Given(requester(0), friend, 3 * USD);
        vm.prank(requester(0));
        vault.give(friend, 3 * USD);
        assertEq(vault.free(friend), 3 * USD, "received");
        assertEq(vault.free(requester(0)), 697 * USD, "sent");
    }

    function test_give_to_oneself_creates_nothing() public {
        vm.prank(requester(0));
        vault.give(requester(0), 700 * USD);
        assertEq(vault.free(requester(0)), 700 * USD, "same");
    }

    function test_give_not_more_than_is_free() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, requester(0)));
        vm.prank(requester(0));
        vault.give(friend, 700 * USD + 1);
    }

    function test_take_within_the_allowance() public {
        vm.expectEmit(true, true, true, true);
        emit IVault.Allowed(requester(0), friend, 5 * USD);
        vm.prank(requester(0));
        vault.allow(friend, 5 * USD);
        vm.prank(friend);
        vault.take(requester(0), 2 * USD);
        assertEq(vault.allowance(requester(0), friend), 3 * USD, "what is left");
        assertEq(vault.free(friend), 2 * USD, "taken");
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientAllowance.selector, requester(0)));
        vm.prank(friend);
        vault.take(requester(0), 3 * USD + 1);
    }

    function test_take_without_limit() public {
        vm.prank(requester(0));
        vault.allow(friend, type(uint96).max);
        vm.prank(friend);
        vault.take(requester(0), 700 * USD);
        assertEq(vault.allowance(requester(0), friend), type(uint96).max, "unlimited");
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, requester(0)));
        vm.prank(friend);
        vault.take(requester(0), 1);
    }

    function test_take_needs_an_allowance() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientAllowance.selector, requester(0)));
        vm.prank(friend);
        vault.take(requester(0), 1);
    }
}
