// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract ClaimTest is Market {
    function test_pays_the_share_of_what_matured(uint256 seed, uint8 n_) public {
        makeJobs(0, 0, bound(n_, 1, 40), seed);
        uint96 sum = total();
        settle(1, leaves(), sum, sum);
        vm.prank(node(0));
        assertEq(vault.claim(gw), 0, "nothing at once");
        vm.warp(block.timestamp + 2 * HOLD);
        uint256 base = uint256(sum) * 9500 / 10_000 / 1e6;
        vm.expectEmit(true, true, true, true);
        emit IVault.Claimed(gw, LinkId.wrap(1), node(0), base * 1e6);
        vm.prank(node(0));
        assertEq(vault.claim(gw), base, "95 %");
        assertEq(usd.balanceOf(node(0)), base, "tokens");
        vm.prank(node(0));
        assertEq(vault.claim(gw), 0, "once");
    }

    function test_part_of_a_base_unit_stays() public {
        settle(1, junk(USD), USD, 1_500_000); // 1.425 base units net
        vm.warp(block.timestamp + 2 * HOLD);
        vm.prank(node(0));
        assertEq(vault.claim(gw), 1, "whole units");
        assertEq(vault.claimable(gw, LinkId.wrap(1)), 425_000, "the rest");
        post(noDebits(), credit(1, 3_000_000));
        vm.warp(block.timestamp + 2 * HOLD);
        vm.prank(node(0));
        assertEq(vault.claim(gw), 1, "2.85 - 1");
        assertEq(usd.balanceOf(node(0)), 2, "2.85 in all");
    }

    function test_maturity_over_three_epochs() public {
        vm.warp((block.timestamp / HOLD + 1) * HOLD);
        settle(1, junk(100 * USD), 100 * USD, 10 * USD);
        assertEq(matured(), 0, "e");
        vm.warp(block.timestamp + HOLD);
        assertEq(matured(), 0, "e + 1, untouched");
        post(noDebits(), credit(1, 30 * USD));
        assertEq(matured(), 0, "e + 1, touched");
        vm.warp(block.timestamp + HOLD - 1);
        assertEq(matured(), 0, "the last second of e + 1");
        vm.warp(block.timestamp + 1);
        assertEq(matured(), 10 * USD, "e + 2");
        post(noDebits(), credit(1, 31 * USD));
        assertEq(matured(), 10 * USD, "e + 2, touched");
        post(noDebits(), credit(1, 32 * USD));
        assertEq(matured(), 10 * USD, "e + 2, touched twice");
        vm.warp(block.timestamp + HOLD);
        assertEq(matured(), 30 * USD, "e + 3");
        vm.warp(block.timestamp + HOLD);
        assertEq(matured(), 32 * USD, "e + 4");
    }

    function matured() internal view returns (uint256) {
        return vault.matured(gw, LinkId.wrap(1));
    }

    function test_only_linked_nodes() public {
        vm.expectRevert(IVault.LinkUnknown.selector);
        vault.claim(gw);
    }
}
