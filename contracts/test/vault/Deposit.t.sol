// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract DepositTest is Market {
    function test_moves_tokens_into_the_free_account() public {
        address to = makeAddr("somebody");
        uint256 held = usd.balanceOf(address(vault));
        vm.expectEmit(true, true, true, true);
        emit IVault.Deposited(to, address(this), 7 * 1e6);
        vault.deposit(to, 7);
        assertEq(vault.free(to), 7 * 1e6, "pico-units");
        assertEq(usd.balanceOf(address(vault)), held + 7, "tokens");
        vault.deposit(to, 1);
        assertEq(vault.free(to), 8 * 1e6, "added");
    }

    function test_any_amount_fits(uint64 base) public {
        address to = makeAddr("somebody");
        usd.mint(address(this), base);
        vault.deposit(to, base);
        assertEq(vault.free(to), uint256(base) * 1e6, "not truncated");
    }

    function test_needs_the_tokens() public {
        vm.expectRevert();
        vm.prank(makeAddr("pauper"));
        vault.deposit(gw, 1);
    }
}
