// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract SweepTest is Market {
    function test_pool_of_a_gone_gateway_goes_to_the_treasury() public {
        settle(1, junk(100 * USD), 100 * USD, 30 * USD);
        vm.prank(gw);
        vault.announceExit();
        uint256 from = block.timestamp + 2 * EXIT;
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, from));
        vault.sweep(gw);
        vm.warp(from);
        vm.expectEmit(true, true, true, true);
        emit IVault.Swept(gw, 70 * USD);
        vault.sweep(gw);
        assertEq(vault.free(treasury), 70 * USD, "treasury");
        assertEq(gateway().pool, 0, "pool");
        vault.sweep(gw);
        assertEq(vault.free(treasury), 70 * USD, "once");
    }

    function test_what_was_credited_stays_claimable() public {
        settle(1, junk(100 * USD), 100 * USD, 30 * USD);
        vm.prank(gw);
        vault.announceExit();
        vm.warp(block.timestamp + 2 * EXIT);
        vault.sweep(gw);
        vm.prank(node(0));
        assertEq(vault.claim(gw), 28.5e6, "95 % of 30");
    }

    function test_not_while_the_gateway_works() public {
        vm.expectRevert(IVault.NotExiting.selector);
        vault.sweep(gw);
    }
}
