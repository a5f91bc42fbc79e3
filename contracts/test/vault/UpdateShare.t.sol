// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {StakedMarket} from "../StakedMarket.sol";

contract UpdateShareTest is StakedMarket {
    function raise() internal {
        fund(node(0), 900e18);
        vm.prank(node(0));
        stakes.topUp(NODE, node(0), 900e18);
        vault.updateShare(gw, node(0));
    }

    function lower() internal {
        vm.prank(node(0));
        stakes.announceUnbond(NODE, 900e18);
        vault.updateShare(gw, node(0));
    }

    function test_earlier_credits_keep_their_share() public {
        settle(1, junk(200 * USD), 200 * USD, 100 * USD);
        vm.warp(block.timestamp + 2 * HOLD);
        fund(node(0), 900e18);
        vm.prank(node(0));
        stakes.topUp(NODE, node(0), 900e18);
        vm.expectEmit(true, true, true, true);
        emit IVault.ShareChanged(gw, LinkId.wrap(1), 8500);
        vault.updateShare(gw, node(0));
        assertEq(vault.claimable(gw, LinkId.wrap(1)), 75 * USD, "75 %");
        settle(1, junk(0), 0, 100 * USD);
        vm.warp(block.timestamp + 2 * HOLD);
        assertEq(vault.claimable(gw, LinkId.wrap(1)), 160 * USD, "75 + 85");
        vm.prank(node(0));
        assertEq(vault.claim(gw), 160e6, "paid");
        lower();
        assertEq(link(1).shareBps, 7500, "back");
        assertEq(vault.claimable(gw, LinkId.wrap(1)), 0, "all is paid");
        assertEq(gateway().fees, 40 * USD, "25 + 15");
    }

    function test_slashing_lowers_it_and_anyone_may_say_so() public {
        stakes.slash(NODE, node(1), 1, address(0), address(0), "downtime");
        vm.prank(treasury);
        vault.updateShare(gw, node(1));
        assertEq(link(2).shareBps, 7500, "lowered");
    }

    function test_same_class_changes_nothing() public {
        settle(1, junk(100 * USD), 100 * USD, 33);
        IVault.Link memory before = link(1);
        vault.updateShare(gw, node(0));
        assertEq(keccak256(abi.encode(link(1))), keccak256(abi.encode(before)), "same");
    }

    function test_a_rise_holds_what_is_in_hold() public {
        settle(1, junk(100 * USD), 100 * USD, 100 * USD);
        raise();
        assertEq(vault.claimable(gw, LinkId.wrap(1)), 0, "nothing yet");
        vm.prank(node(0));
        assertEq(vault.claim(gw), 0, "claims nothing");
        vm.warp(block.timestamp + 2 * HOLD);
        assertEq(vault.claimable(gw, LinkId.wrap(1)), 75 * USD, "at the share of its time");
    }

    /// However shares go up and down between credits of odd amounts, node and fees together get at
    /// most what was credited, and at most two pico-units a step are lost.
    function test_changes_create_nothing(uint64[8] memory gains, uint8 pattern) public {
        uint96 pool = 200 * USD;
        settle(1, junk(pool), pool, 0);
        uint256 credited;
        bool high;
        for (uint256 i; i < gains.length; ++i) {
            uint96 gain = uint96(bound(gains[i], 0, 20 * USD));
            credited += gain;
            settle(1, junk(0), 0, gain);
            if (pattern >> i & 1 == 1) {
                if (high) lower();
                else raise();
                high = !high;
            }
        }
        vm.warp(block.timestamp + 2 * HOLD);
        uint256 paid = vault.claimable(gw, LinkId.wrap(1)) + gateway().fees;
        assertTrue(paid <= credited, "created");
        assertTrue(credited - paid <= 4 * gains.length, "lost");
    }

    function creditBoth(uint96 a, uint96 b) internal {
        uint256[] memory c = new uint256[](2);
        c[0] = credit(1, link(1).cum + a)[0];
        c[1] = credit(2, link(2).cum + b)[0];
        post(noDebits(), c);
    }

    /// Amounts so chosen that no fee is rounded and both nodes' fractions fall their way: rounding
    /// the new share down at the change would pay out 33 of 32.
    function test_rounding_is_against_the_node() public {
        settle(1, junk(USD), USD, 0);
        vm.prank(node(1));
        stakes.announceUnbond(NODE, 900e18);
        vault.updateShare(gw, node(1));
        creditBoth(4, 8);
        raise();
        fund(node(1), 900e18);
        vm.prank(node(1));
        stakes.topUp(NODE, node(1), 900e18);
        vault.updateShare(gw, node(1));
        creditBoth(2, 18);
        vm.warp(block.timestamp + 2 * HOLD);
        uint256 paid = vault.claimable(gw, LinkId.wrap(1)) + vault.claimable(gw, LinkId.wrap(2));
        assertTrue(paid + gateway().fees <= 32, "created");
    }

    function test_unknown_link() public {
        vm.expectRevert(IVault.LinkUnknown.selector);
        vault.updateShare(gw, makeAddr("nobody"));
    }
}
