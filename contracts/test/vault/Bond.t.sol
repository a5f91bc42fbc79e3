// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract BondTest is Market {
    function test_addBond_from_any_account() public {
        vm.expectEmit(true, true, true, true);
        emit IVault.BondAdded(gw, requester(0), 10 * USD);
        vm.prank(requester(0));
        vault.addBond(gw, 10 * USD);
        assertEq(gateway().bond, BOND + 10 * USD, "bond");
        assertEq(vault.free(requester(0)), 690 * USD, "from the payer");
    }

    function test_addPool_pays_credits() public {
        vm.expectEmit(true, true, true, true);
        emit IVault.PoolAdded(gw, 10 * USD);
        vm.prank(gw);
        vault.addPool(10 * USD);
        assertEq(gateway().pool, 10 * USD, "pool");
        post(noDebits(), credit(1, 10 * USD));
        assertEq(gateway().pool, 0, "credited");
    }

    function test_needs_free_money() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, gw));
        vm.prank(gw);
        vault.addBond(gw, 5000 * USD + 1);
        vm.expectRevert(abi.encodeWithSelector(IVault.InsufficientFunds.selector, gw));
        vm.prank(gw);
        vault.addPool(5000 * USD + 1);
    }
}
