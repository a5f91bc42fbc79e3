// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {StakedMarket} from "../StakedMarket.sol";

contract OpenLinkTest is StakedMarket {
    address internal third = makeAddr("third node");

    function test_opens_the_next_number() public {
        register(NODE, third, 100e18);
        vm.expectEmit(true, true, true, true);
        emit IVault.LinkOpened(gw, LinkId.wrap(3), third, 7500);
        vm.prank(third);
        assertEq(LinkId.unwrap(vault.openLink(gw)), 3, "number");
        assertEq(LinkId.unwrap(vault.linkOf(gw, third)), 3, "linkOf");
        assertEq(link(3).node, third, "node");
        assertEq(gateway().links, 3, "count");
    }

    function test_stake_decides_the_share() public view {
        assertEq(link(1).shareBps, 7500, "100 staked");
        assertEq(link(2).shareBps, 8500, "1,000 staked");
    }

    function test_once() public {
        vm.expectRevert(IVault.LinkKnown.selector);
        vm.prank(node(0));
        vault.openLink(gw);
    }

    function test_both_must_be_active() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.NotActive.selector, third));
        vm.prank(third);
        vault.openLink(gw);
        register(NODE, third, 100e18);
        address other = makeAddr("unregistered gateway");
        vm.expectRevert(abi.encodeWithSelector(IVault.NotActive.selector, other));
        vm.prank(third);
        vault.openLink(other);
        vm.prank(third);
        stakes.announceUnbond(NODE, 1);
        vm.expectRevert(abi.encodeWithSelector(IVault.NotActive.selector, third));
        vm.prank(third);
        vault.openLink(gw);
    }

    function test_a_gateway_is_no_node() public {
        vm.expectRevert(abi.encodeWithSelector(IVault.NotActive.selector, gw));
        vm.prank(gw);
        vault.openLink(gw);
    }
}
