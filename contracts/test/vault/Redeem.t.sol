// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract RedeemTest is Market {
    function ackTo(uint256 n, uint128 cum) internal view returns (Ack memory) {
        return Ack(gw, node(n), 8, cum, uint64(block.timestamp + 600));
    }

    function test_pays_an_omitted_node_from_pool_then_bond() public {
        settle(1, junk(100 * USD), 100 * USD, 70 * USD); // pays node 0; 30 are left
        Ack memory a = ackTo(1, 50 * USD);
        bytes memory s = sign(GATEWAY_KEY, a);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, uint256(a.payBy) + 1));
        vault.redeem(a, s);
        vm.warp(a.payBy);
        vm.expectRevert(abi.encodeWithSelector(IVault.TooEarly.selector, uint256(a.payBy) + 1));
        vault.redeem(a, s);
        vm.warp(a.payBy + 1);
        vm.expectEmit(true, true, true, true);
        emit IVault.Redeemed(gw, LinkId.wrap(2), 30 * USD, 20 * USD);
        assertEq(vault.redeem(a, s), 50 * USD, "paid");
        assertEq(link(2).cum, 50 * USD, "cum");
        assertEq(gateway().bond, BOND - 20 * USD, "bond");
        assertEq(gateway().pool, 0, "pool");
        assertEq(gateway().fees, 6 * USD, "5 % of 70 + 50");
        assertEq(vault.redeem(a, s), 0, "again: nothing is missing");
        assertEq(gateway().bond, BOND - 20 * USD, "once");
        post(noDebits(), credit(2, 50 * USD));
        assertEq(link(2).cum, 50 * USD, "a late credit moves nothing either");
    }

    function test_settled_in_time_is_met() public {
        Ack memory a = ackTo(0, 50 * USD);
        settle(1, junk(100 * USD), 100 * USD, 60 * USD);
        vm.warp(a.payBy + 1);
        assertEq(vault.redeem(a, sign(GATEWAY_KEY, a)), 0, "nothing");
        assertEq(gateway().pool, 40 * USD, "pool");
    }

    function test_leaves_the_cover_alone_and_may_be_repeated() public {
        settle(1, junk(100 * USD), 100 * USD, 0);
        Ack memory a = ackTo(1, 9000 * USD);
        bytes memory s = sign(GATEWAY_KEY, a);
        vm.warp(a.payBy + 1);
        assertEq(vault.redeem(a, s), 5000 * USD, "pool 100 and bond 4,900");
        assertEq(gateway().bond, 100 * USD, "what covers the debit stays");
        assertEq(vault.redeem(a, s), 0, "no more for now");
        vm.prank(gw);
        vault.addBond(gw, 300 * USD);
        assertEq(vault.redeem(a, s), 300 * USD, "what came since");
        vm.warp(block.timestamp + WINDOW + 2 * ANSWER + 1);
        vault.retire(gw, 10);
        assertEq(vault.redeem(a, s), 100 * USD, "the cover, when nobody can void any more");
        assertEq(link(2).cum, 5400 * USD, "all there was");
    }

    function test_matures_like_any_credit() public {
        settle(1, junk(100 * USD), 100 * USD, 0);
        Ack memory a = ackTo(1, 100 * USD);
        vm.warp(a.payBy + 1);
        vault.redeem(a, sign(GATEWAY_KEY, a));
        assertEq(vault.claimable(gw, LinkId.wrap(2)), 0, "in hold");
        vm.warp(block.timestamp + 2 * HOLD);
        vm.prank(node(1));
        assertEq(vault.claim(gw), 95e6, "95 %");
    }

    function test_needs_the_gateways_own_signature() public {
        Ack memory a = ackTo(1, 50 * USD);
        vm.warp(a.payBy + 1);
        bytes memory s = sign(nodeKey(1), a);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.redeem(a, s);
        s = sign(GATEWAY_KEY, a);
        a.cum += 1;
        vm.expectRevert(IVault.BadSignature.selector);
        vault.redeem(a, s);
        a.cum -= 1;
        s[64] = bytes1(uint8(99)); // no recovery id
        vm.expectRevert(IVault.BadSignature.selector);
        vault.redeem(a, s);
        vm.expectRevert(IVault.BadSignature.selector);
        vault.redeem(a, "");
    }

    function test_only_linked_nodes() public {
        Ack memory a = ackTo(1, 50 * USD);
        a.node = makeAddr("nobody");
        bytes memory s = sign(GATEWAY_KEY, a);
        vm.warp(a.payBy + 1);
        vm.expectRevert(IVault.LinkUnknown.selector);
        vault.redeem(a, s);
    }
}
