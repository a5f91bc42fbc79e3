// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../../src/interfaces/IVault.sol";
import {Packed} from "../../src/libraries/Packed.sol";
import {SumTree} from "../../src/libraries/SumTree.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract SettleTest is Market {
    function test_moves_debits_to_the_pool_and_credits_to_links() public {
        makeJobs(0, 0, 5, 1);
        (SumTree.Node memory root,) = sumTree(leaves(), 0);
        Entry memory e = Entry(LaneId.wrap(1), 5, 0, 0, total(), root.hash);
        bytes32 h = keccak256(abi.encode(e));
        vm.expectEmit(true, true, true, true);
        emit IVault.Settled(gw, 0, h, total(), 1000);
        post(debit(1, 5, total(), root.hash), credit(2, 1000));
        assertEq(lane(1).locked, 300 * USD - total(), "locked");
        assertEq(lane(1).spent, total(), "spent");
        assertEq(lane(1).seq, 5, "seq");
        assertEq(link(2).cum, 1000, "cum");
        assertEq(gateway().pool, total() - 1000, "pool");
        assertEq(gateway().fees, 50, "5 %");
        assertEq(gateway().unfinal, total(), "unfinal");
        assertEq(gateway().batches, 1, "count");
        IVault.Batch memory b = vault.batchAt(gw, 0);
        assertEq(b.total, total(), "batch");
        assertEq(b.postedAt, block.timestamp, "time");
        assertEq(b.entries, 1, "entries");
        assertEq(b.root, h, "a single entry is the root");
    }

    function test_totals_go_on_from_batch_to_batch() public {
        makeJobs(0, 0, 5, 1);
        (, Entry memory e) = settle(1, leaves(), total(), 0);
        uint96 first = total();
        makeJobs(0, 5, 4, 2);
        (, Entry memory f) = settle(1, leaves(), total(), 0);
        assertEq(f.first, e.first + e.count, "first");
        assertEq(f.before, first, "before");
        assertEq(vault.batchAt(gw, 1).root, keccak256(abi.encode(f)), "root");
    }

    /// The root over several entries, one lane twice, is the tree of their hashes in order.
    function test_root_over_three_entries() public {
        uint256[2][] memory d = new uint256[2][](3);
        d[0] = debit(1, 2, 10, "a")[0];
        d[1] = debit(2, 3, 20, "b")[0];
        d[2] = debit(1, 4, 15, "c")[0];
        post(d, noCredits());
        bytes32 a = keccak256(abi.encode(Entry(LaneId.wrap(1), 2, 0, 0, 10, "a")));
        bytes32 b = keccak256(abi.encode(Entry(LaneId.wrap(2), 3, 0, 0, 20, "b")));
        bytes32 c = keccak256(abi.encode(Entry(LaneId.wrap(1), 4, 2, 10, 15, "c")));
        bytes32 ab = a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
        bytes32 root = ab < c ? keccak256(abi.encode(ab, c)) : keccak256(abi.encode(c, ab));
        assertEq(vault.batchAt(gw, 0).root, root, "root");
        assertEq(vault.batchAt(gw, 0).total, 35, "total");
    }

    function test_a_number_settles_once() public {
        makeJobs(0, 0, 3, 1);
        (, Entry memory e) = settle(1, leaves(), total(), total());
        uint256[2][] memory d = debit(1, e.count, e.spent, e.tree);
        uint256[] memory c = credit(1, total());
        for (uint64 number; number < 3; ++number) {
            if (number == 1) continue;
            vm.expectRevert(abi.encodeWithSelector(IVault.WrongNumber.selector, 1));
            vm.prank(gw);
            vault.settle(number, d, c);
        }
        post(d, c); // under a new number: the totals are there already, so nothing moves
        assertEq(lane(1).spent, e.spent, "spent");
        assertEq(link(1).cum, total(), "cum");
    }

    function test_lower_credit_moves_nothing() public {
        settle(1, junk(10 * USD), 10 * USD, 5 * USD);
        post(noDebits(), credit(1, 4 * USD));
        assertEq(link(1).cum, 5 * USD, "cum");
        assertEq(gateway().pool, 5 * USD, "pool");
    }

    function test_lower_debit_is_refused() public {
        settle(1, junk(10 * USD), 10 * USD, 0);
        refuse(
            abi.encodeWithSelector(IVault.TotalFell.selector, 1),
            debit(1, 1, 10 * USD - 1, 0),
            noCredits()
        );
    }

    function test_not_above_the_lane() public {
        refuse(
            abi.encodeWithSelector(IVault.LaneOverdrawn.selector, 1),
            debit(1, 1, 300 * USD + 1, 0),
            noCredits()
        );
        post(debit(1, 1, 300 * USD, 0), noCredits());
    }

    function test_not_above_the_pool() public {
        refuse(IVault.PoolOverdrawn.selector, debit(1, 1, 100, 0), credit(1, 101));
        refuse(IVault.PoolOverdrawn.selector, noDebits(), credit(1, 1));
        post(debit(1, 1, 100, 0), credit(1, 100));
    }

    function test_only_lanes_and_links_that_exist() public {
        refuse(IVault.LaneUnknown.selector, debit(0, 1, 0, 0), noCredits());
        refuse(IVault.LaneUnknown.selector, debit(4, 1, 0, 0), noCredits());
        refuse(IVault.LinkUnknown.selector, debit(1, 1, 10, 0), credit(0, 1));
        refuse(IVault.LinkUnknown.selector, debit(1, 1, 10, 0), credit(3, 1));
    }

    function test_counts() public {
        refuse(IVault.BadCount.selector, debit(1, 0, 1, 0), noCredits());
        refuse(IVault.BadCount.selector, debit(1, 4097, 1, 0), noCredits());
        post(debit(1, 4096, 1, 0), noCredits());
        assertEq(lane(1).seq, 4096, "seq");
    }

    function test_credit_beyond_its_field() public {
        vault.deposit(gw, 20_000_000e6);
        vm.prank(gw);
        vault.addPool(20_000_000 * USD);
        refuse(Packed.OutOfRange.selector, noDebits(), credit(1, uint96(type(uint64).max) + 1));
        post(noDebits(), credit(1, type(uint64).max));
        refuse(Packed.OutOfRange.selector, noDebits(), credit(1, type(uint96).max));
    }

    function test_bond_covers_all_that_can_be_voided() public {
        IVault.Profile memory p = profile();
        p.minBond = 4900 * USD + 1;
        rebuild(p);
        refuse(IVault.NotCovered.selector, debit(1, 1, 100 * USD, 0), noCredits());
        post(debit(1, 1, 60 * USD, 0), noCredits());
        refuse(IVault.NotCovered.selector, debit(2, 1, 40 * USD, 0), noCredits());
        post(noDebits(), credit(1, 1)); // credits need no cover
        post(debit(2, 1, 40 * USD - 1, 0), noCredits());
        vm.warp(block.timestamp + WINDOW + 2 * ANSWER);
        refuse(IVault.NotCovered.selector, debit(2, 1, 40 * USD, 0), noCredits()); // to the second
        vm.warp(block.timestamp + 1);
        post(debit(2, 1, 100 * USD, 0), noCredits());
        assertEq(gateway().unfinal, 60 * USD + 1, "the old ones are final");
    }

    function test_credits_need_no_cover() public {
        settle(1, junk(USD), USD, 0);
        Ack memory a = Ack(gw, node(1), 1, 4500 * USD, uint64(block.timestamp) - 1);
        vault.redeem(a, sign(GATEWAY_KEY, a)); // leaves 501 of the bond, below minBond
        vm.prank(gw);
        vault.addPool(USD);
        refuse(IVault.NotCovered.selector, debit(1, 1, USD + 1, 0), noCredits());
        post(noDebits(), credit(1, USD));
        assertEq(link(1).cum, USD, "credited");
    }

    /// The same market under another profile, without the lanes' history.
    function rebuild(IVault.Profile memory p) internal {
        (vault, court) = deploy(p);
        usd.approve(address(vault), type(uint256).max);
        vault.deposit(gw, 10_000e6);
        vm.prank(gw);
        vault.addBond(gw, BOND);
        vm.prank(node(0));
        vault.openLink(gw);
        for (uint256 i; i < 2; ++i) {
            vault.deposit(requester(i), 1000e6);
            openLane(i, 0);
        }
    }
}
