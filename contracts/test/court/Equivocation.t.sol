// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract EquivocationTest is Market {
    Checkpoint internal a;
    Checkpoint internal b;

    function setUp() public override {
        super.setUp();
        a = Checkpoint(1, gw, node(0), 5, 10, 1, keccak256("one ticket"));
        b = Checkpoint(1, gw, node(0), 5, 10, 1, keccak256("another ticket"));
    }

    function accuse(bytes4 why) internal {
        bytes memory sa = sign(GATEWAY_KEY, a);
        bytes memory sb = sign(GATEWAY_KEY, b);
        if (why != 0) vm.expectRevert(why);
        vm.prank(challenger);
        court.equivocation(a, sa, b, sb);
    }

    function test_jails_once() public {
        vm.expectEmit(true, true, true, true);
        emit ICourt.Equivocated(gw, node(0), 5, challenger);
        accuse(0);
        assertTrue(gateway().jailed, "jailed");
        assertEq(vault.free(challenger), 1400 * USD, "reward");
        assertEq(vault.free(treasury), 600 * USD, "the rest");
        refuse(IVault.GatewayExiting.selector, debit(1, 1, 1, 0), noCredits());
        accuse(ICourt.AlreadyJailed.selector);
    }

    function test_same_root_with_another_first_counts() public {
        b.root = a.root;
        b.first = 11;
        accuse(0);
    }

    function test_what_is_no_equivocation() public {
        Checkpoint memory saved = b;
        b = a;
        accuse(ICourt.NotEquivocal.selector); // the same statement twice
        b = saved;
        b.number = 6;
        accuse(ICourt.NotEquivocal.selector);
        b = saved;
        b.peer = node(1);
        accuse(ICourt.NotEquivocal.selector);
        b = saved;
        b.kind = 2;
        accuse(ICourt.NotEquivocal.selector);
        a.kind = 2;
        accuse(ICourt.NotEquivocal.selector); // receipts of nodes are not judged here
        b = saved;
        accuse(ICourt.NotEquivocal.selector);
        a.kind = 1;
        b = saved;
        b.signer = node(1);
        accuse(ICourt.NotEquivocal.selector);
    }

    function test_needs_both_signatures() public {
        bytes memory good = sign(GATEWAY_KEY, a);
        bytes memory forged = sign(nodeKey(0), b);
        vm.expectRevert(ICourt.BadSignature.selector);
        court.equivocation(a, good, b, forged);
        good = sign(GATEWAY_KEY, b);
        forged = sign(nodeKey(0), a);
        vm.expectRevert(ICourt.BadSignature.selector);
        court.equivocation(a, forged, b, good);
    }
}
