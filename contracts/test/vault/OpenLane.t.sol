// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

/// A contract wallet of one key (ERC-1271).
contract Wallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata s) external view returns (bytes4) {
        address signer = ecrecover(digest, uint8(s[64]), bytes32(s[:32]), bytes32(s[32:64]));
        return signer == OWNER ? this.isValidSignature.selector : bytes4(0);
    }
}

contract OpenLaneTest is Market {
    function test_opens_registers_and_pulls() public {
        address owner = vm.addr(77);
        vault.deposit(owner, 100e6);
        SpendingCap memory c = newCap(0, 3);
        c.requester = owner;
        bytes memory s = sign(77, c);
        vm.expectEmit(true, true, true, true);
        emit IVault.LaneOpened(gw, LaneId.wrap(4), owner, address(0));
        vm.expectEmit(true, true, true, true);
        emit IVault.CapRegistered(gw, LaneId.wrap(4), capHash(c), uint40(c.deadline));
        vm.expectEmit(true, true, true, true);
        emit IVault.Pulled(gw, LaneId.wrap(4), capHash(c), 40 * USD);
        vm.prank(gw);
        assertEq(LaneId.unwrap(vault.openLane(c, s, 40 * USD)), 4, "next number");
        assertEq(LaneId.unwrap(vault.laneOf(gw, owner)), 4, "laneOf");
        assertEq(lane(4).owner, owner, "owner");
        assertEq(lane(4).locked, 40 * USD, "locked");
        assertEq(vault.free(owner), 60 * USD, "free");
        IVault.Cap memory state = vault.capOf(capHash(c));
        assertEq(LaneId.unwrap(state.lane), 4, "cap's lane");
        assertEq(state.endsAt, c.deadline, "end");
        assertEq(state.pulled, 40 * USD, "pulled");
        assertEq(state.nonce, 3, "nonce");
    }

    function test_second_cap_joins_the_lane() public {
        SpendingCap memory c = newCap(0, 1);
        c.maxLocked = 400 * USD;
        bytes memory s = sign(requesterKey(0), c);
        vm.prank(gw);
        assertEq(LaneId.unwrap(vault.openLane(c, s, 50 * USD)), 1, "same lane");
        assertEq(lane(1).locked, 350 * USD, "both caps fill it");
        assertEq(gateway().lanes, 3, "no new number");
    }

    function test_no_cap_joins_a_closing_lane() public {
        vm.prank(requester(0));
        vault.announceClose(gw);
        refused(newCap(0, 1), IVault.LaneEnding.selector);
    }

    function test_endless_cap() public {
        SpendingCap memory c = newCap(0, 1);
        c.deadline = type(uint64).max;
        bytes memory s = sign(requesterKey(0), c);
        vm.prank(gw);
        vault.openLane(c, s, 0);
        assertEq(vault.capOf(capHash(c)).endsAt, type(uint40).max, "not truncated");
    }

    function test_contract_wallet() public {
        Wallet w = new Wallet(vm.addr(88));
        SpendingCap memory c = newCap(0, 0);
        c.requester = address(w);
        bytes memory s = sign(88, c);
        bytes memory wrong = sign(89, c);
        vm.expectRevert(IVault.BadSignature.selector);
        vm.prank(gw);
        vault.openLane(c, wrong, 0);
        vm.prank(gw);
        vault.openLane(c, s, 0);
        assertEq(lane(4).owner, address(w), "owner");
    }

    function refused(SpendingCap memory c, bytes4 why) internal {
        bytes memory s = sign(requesterKey(0), c);
        vm.expectRevert(why);
        vm.prank(gw);
        vault.openLane(c, s, 0);
    }

    function test_refuses_bad_caps() public {
        SpendingCap memory c = newCap(0, 1);
        c.gateway = makeAddr("another gateway");
        refused(c, IVault.NotGateway.selector);
        c = newCap(0, 1);
        c.deadline = uint64(block.timestamp) - 1;
        refused(c, IVault.CapEnded.selector);
        c = newCap(0, 1);
        c.models = bytes32(uint256(1));
        refused(c, IVault.ModelsUnsupported.selector);
        c = newCap(0, 1);
        c.voucherSigner = vm.addr(BRIDGE_KEY);
        refused(c, IVault.VoucherSignerDiffers.selector);
        refused(caps[0], IVault.CapKnown.selector);
        c = newCap(1, 1); // signed by requester 0
        refused(c, IVault.BadSignature.selector);
    }

    function test_cap_of_another_chain_or_contract() public {
        SpendingCap memory c = newCap(0, 1);
        bytes memory s = sign(requesterKey(0), c);
        vm.chainId(1);
        vm.expectRevert(IVault.BadSignature.selector);
        vm.prank(gw);
        vault.openLane(c, s, 0);
        vm.chainId(31337);
        (vault,) = deploy(profile());
        vm.expectRevert(IVault.BadSignature.selector);
        vm.prank(gw);
        vault.openLane(c, s, 0);
    }

    function test_superseded_nonce() public {
        SpendingCap memory five = newCap(0, 5);
        vm.prank(requester(0));
        vault.revoke(five); // never registered: ends all up to 5
        refused(newCap(0, 5), IVault.CapEnded.selector);
        SpendingCap memory six = newCap(0, 6);
        bytes memory s = sign(requesterKey(0), six);
        vm.prank(gw);
        vault.openLane(six, s, 0);
    }

    function test_first_pull_is_limited_too() public {
        SpendingCap memory c = newCap(0, 1);
        c.maxSpend = 10 * USD;
        c.maxLocked = 1000 * USD;
        bytes memory s = sign(requesterKey(0), c);
        vm.expectRevert(IVault.CapExceeded.selector);
        vm.prank(gw);
        vault.openLane(c, s, 10 * USD + 1);
    }
}
