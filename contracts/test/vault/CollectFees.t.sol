// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract CollectFeesTest is Market {
    function test_splits_between_gateway_and_treasury() public {
        settle(1, junk(100 * USD), 100 * USD, 100 * USD);
        assertEq(gateway().fees, 5 * USD, "5 %");
        uint96 had = vault.free(gw);
        vm.expectEmit(true, true, true, true);
        emit IVault.FeesCollected(gw, 5 * USD / 2, 5 * USD / 2);
        vault.collectFees(gw);
        assertEq(vault.free(gw), had + 5 * USD / 2, "gateway");
        assertEq(vault.free(treasury), 5 * USD / 2, "treasury");
        assertEq(gateway().fees, 0, "none left");
        vault.collectFees(gw);
        assertEq(vault.free(gw), had + 5 * USD / 2, "once");
    }

    function test_odd_pico_goes_to_the_treasury() public {
        settle(1, junk(100 * USD), 100 * USD, 20 * 3);
        assertEq(gateway().fees, 3, "5 % of 60");
        vault.collectFees(gw);
        assertEq(vault.free(treasury), 2, "rounded up");
    }
}
