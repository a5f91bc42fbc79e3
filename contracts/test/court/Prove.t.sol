// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {SumTree} from "../../src/libraries/SumTree.sol";
import "../../src/libraries/Wire.sol";
import {Market} from "../Market.sol";

contract ProveTest is Market {
    function amount(uint256 i) internal view returns (uint96) {
        return amountOf(i);
    }

    function test_honest_leaf(uint256 seed, uint8 n_, uint8 i_) public {
        uint256 n = bound(n_, 1, 40);
        uint256 i = i_ % n;
        makeJobs(0, 0, n, seed);
        (uint64 b, Entry memory e) = settle(1, leaves(), total(), total());
        uint256 id = demand(b, e, uint32(i), false);
        uint96 had = vault.free(gw);
        ICourt.Proof memory p = proof(i, leaves(), 0);
        vm.expectEmit(true, true, true, true);
        emit ICourt.Answered(id);
        court.prove(id, b, e, amountOf(i), p);
        assertEq(vault.free(gw), had + LEAF_FEE, "the stake pays the gateway");
        assertTrue(court.demandAt(id).closed, "closed");
        uint96 a = amountOf(i);
        vm.expectRevert(ICourt.DemandClosed.selector);
        court.prove(id, b, e, a, p);
        vm.warp(block.timestamp + ANSWER + 1);
        vm.expectRevert(ICourt.DemandClosed.selector);
        court.void(id, b, e);
    }

    /// The proof is refused, and the entry is refunded when the time is over.
    function refused(
        uint64 b,
        Entry memory e,
        uint32 i,
        uint96 a,
        ICourt.Proof memory p,
        bytes4 why
    ) internal {
        uint96 hadOwner = vault.free(requester(0));
        uint96 hadChallenger = vault.free(challenger);
        uint96 bond = gateway().bond;
        uint256 id = demand(b, e, i, false);
        vm.expectRevert(why);
        court.prove(id, b, e, a, p);
        vm.expectRevert(ICourt.TooEarly.selector);
        court.void(id, b, e);
        vm.warp(block.timestamp + ANSWER + 1);
        court.void(id, b, e);
        uint96 debited = e.spent - e.before;
        assertEq(vault.free(requester(0)), hadOwner + debited, "refund");
        assertEq(vault.free(challenger), hadChallenger + 400 * USD, "reward, and the stake back");
        assertEq(gateway().bond, bond - debited - MIN_BOND, "bond");
        refuse(IVault.GatewayExiting.selector, debit(1, 1, e.spent + 1, 0), noCredits());
        post(noDebits(), noCredits()); // it may still credit nodes
    }

    /// Posts the jobs in hand as they are.
    function posted() internal returns (uint64 b, Entry memory e) {
        return settle(1, leaves(), total(), 0);
    }

    function test_invented_job() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.signature = sign(GATEWAY_KEY, p.checkpoint); // no node signs it
        refused(b, e, 2, amount(2), p, ICourt.BadSignature.selector);
    }

    function test_node_without_link() public {
        makeJobs(0, 0, 5, 1);
        jobs[2].terms.node = vm.addr(99);
        bindReceipt(2);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.checkpoint.signer = vm.addr(99);
        p.signature = sign(99, p.checkpoint);
        refused(b, e, 2, amount(2), p, ICourt.BadNode.selector);
    }

    function test_another_nodes_checkpoint() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.checkpoint.signer = node(1);
        p.signature = sign(nodeKey(1), p.checkpoint);
        refused(b, e, 2, amount(2), p, ICourt.BadNode.selector);
    }

    function test_overprice_out() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].terms.priceOut = 4e6 + 1;
        bindReceipt(3);
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadPrice.selector);
    }

    function test_overprice_in() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].terms.priceIn = 1e6 + 1;
        bindReceipt(3);
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadPrice.selector);
    }

    function test_overprice_cached() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].terms.priceCached = 1e6 + 1;
        bindReceipt(3);
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadPrice.selector);
    }

    function test_another_caps_prices() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].terms.priceOut = 5e6;
        bindReceipt(3);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(3, leaves(), 0);
        p.cap.maxPriceOut = 5e6;
        refused(b, e, 3, amount(3), p, ICourt.BadPrice.selector);
    }

    function test_amount_above_the_tokens() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].receipt.amount += 1;
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadReceipt.selector);
    }

    function test_amount_below_the_tokens_is_a_gift() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].receipt.amount -= 1;
        (uint64 b, Entry memory e) = posted();
        court.prove(demand(b, e, 3, false), b, e, amount(3), proof(3, leaves(), 0));
    }

    function test_leaf_of_another_amount_than_the_receipt() public {
        makeJobs(0, 0, 5, 1);
        SumTree.Node[] memory l = leaves();
        l[3] = SumTree.leaf(3, amountOf(3) + 7, receiptHash(jobs[3].receipt));
        (uint64 b, Entry memory e) = settle(1, l, total() + 7, 0);
        refused(b, e, 3, amount(3) + 7, proof(3, l, 0), ICourt.BadReceipt.selector);
    }

    function test_more_tokens_in_than_agreed() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].receipt.inTokens = 1001;
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadReceipt.selector);
    }

    function test_more_tokens_out_than_agreed() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].receipt.outTokens = 1001;
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadReceipt.selector);
    }

    function test_more_cached_than_given() public {
        makeJobs(0, 0, 5, 1);
        jobs[3].receipt.cachedTokens = jobs[3].receipt.inTokens + 1;
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 3, amount(3), proof(3, leaves(), 0), ICourt.BadReceipt.selector);
    }

    function test_receipt_of_other_terms() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(3, leaves(), 0);
        p.terms.segment = 1;
        refused(b, e, 3, amount(3), p, ICourt.BadReceipt.selector);
    }

    function test_wrong_sum() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = settle(1, leaves(), total() + 1, 0);
        refused(b, e, 0, amount(0), proof(0, leaves(), 0), ICourt.WrongTree.selector);
    }

    function test_wrong_tree() public {
        makeJobs(0, 0, 5, 1);
        SumTree.Node[] memory l = leaves();
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(1, l, 0);
        p.path[0].hash = keccak256("another sibling");
        refused(b, e, 1, amount(1), p, ICourt.WrongTree.selector);
    }

    /// Six leaves, a count of five: leaf 4 would need a sibling where there is none.
    function test_leaf_hidden_in_the_padding() public {
        makeJobs(0, 0, 6, 1);
        SumTree.Node[] memory l = leaves();
        (SumTree.Node memory root,) = sumTree(l, 0);
        Entry memory e = Entry(LaneId.wrap(1), 5, 0, 0, total(), root.hash);
        uint64 b = post(debit(1, 5, total(), root.hash), noCredits());
        refused(b, e, 4, amount(4), proof(4, l, 0), SumTree.BadTree.selector);
    }

    function test_path_too_short() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(0, leaves(), 0);
        p.path = new SumTree.Node[](2);
        refused(b, e, 0, amount(0), p, SumTree.BadTree.selector);
    }

    function test_receipt_in_two_places_of_one_batch() public {
        makeJobs(0, 0, 4, 1);
        jobs[2] = jobs[1];
        SumTree.Node[] memory l = leaves();
        l[2] = SumTree.leaf(2, amountOf(1), receiptHash(jobs[1].receipt));
        (uint64 b, Entry memory e) = settle(1, l, total(), 0);
        refused(b, e, 2, amount(1), proof(2, l, 0), ICourt.BadTerms.selector);
    }

    function test_receipt_in_two_batches() public {
        makeJobs(0, 0, 4, 1);
        posted();
        SumTree.Node[] memory l = leaves();
        for (uint256 i; i < 4; ++i) {
            l[i] = SumTree.leaf(uint64(4 + i), amountOf(i), receiptHash(jobs[i].receipt));
        }
        (uint64 b, Entry memory e) = settle(1, l, total(), 0);
        refused(b, e, 0, amount(0), proof(0, l, 0), ICourt.BadTerms.selector);
    }

    function test_receipt_of_another_lane() public {
        makeJobs(1, 0, 4, 1); // jobs of requester 1, debited to requester 0
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 0, amount(0), proof(0, leaves(), 1), ICourt.BadTerms.selector);
    }

    function test_receipt_of_a_closed_lane() public {
        makeJobs(0, 0, 4, 1);
        posted();
        vm.prank(requester(0));
        vault.announceClose(gw);
        vm.warp(block.timestamp + NOTICE);
        vm.prank(requester(0));
        vault.close(gw);
        SpendingCap memory old = caps[0];
        openLane(0, 1);
        // Same requester, same places, new lane.
        (uint64 b, Entry memory e) = settle(4, leaves(), total(), 0);
        uint256 id = demand(b, e, 2, false);
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.cap = old;
        uint96 a = amount(2);
        vm.expectRevert(ICourt.BadTerms.selector);
        court.prove(id, b, e, a, p);
    }

    function test_receipt_for_another_gateway() public {
        makeJobs(0, 0, 4, 1);
        jobs[1].terms.gateway = makeAddr("another gateway");
        bindReceipt(1);
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 1, amount(1), proof(1, leaves(), 0), ICourt.BadTerms.selector);
    }

    function test_terms_of_a_stranger() public {
        makeJobs(0, 0, 4, 1);
        jobs[1].terms.requester = makeAddr("stranger");
        bindReceipt(1);
        (uint64 b, Entry memory e) = posted();
        refused(b, e, 1, amount(1), proof(1, leaves(), 0), ICourt.BadTerms.selector);
    }

    function test_ticket_after_the_revocation() public {
        vm.prank(requester(0));
        vault.revoke(caps[0]);
        vm.warp(block.timestamp + GRACE);
        makeJobs(0, 0, 2, 1);
        (uint64 b, Entry memory e) = posted();
        // Within the grace.
        court.prove(demand(b, e, 0, false), b, e, amount(0), proof(0, leaves(), 0));
        vm.warp(block.timestamp + 1);
        makeJobs(0, 2, 2, 1);
        (b, e) = posted();
        refused(b, e, 1, amount(1), proof(1, leaves(), 0), ICourt.BadTerms.selector);
    }

    function test_checkpoint_for_another_gateway() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.checkpoint.peer = makeAddr("another gateway");
        p.signature = sign(nodeKey(0), p.checkpoint);
        refused(b, e, 2, amount(2), p, ICourt.BadCheckpoint.selector);
    }

    function test_checkpoint_of_tickets() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.checkpoint.kind = 1;
        p.signature = sign(nodeKey(0), p.checkpoint);
        refused(b, e, 2, amount(2), p, ICourt.BadCheckpoint.selector);
    }

    function test_checkpoint_without_the_receipt() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.checkpoint.root = keccak256("other receipts");
        p.signature = sign(nodeKey(0), p.checkpoint);
        refused(b, e, 2, amount(2), p, ICourt.BadCheckpoint.selector);
    }

    function test_checkpoint_with_too_many_items() public {
        makeJobs(0, 0, 1, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(0, leaves(), 0);
        p.checkpoint.count = 257;
        p.receiptPath = new bytes32[](9);
        p.checkpoint.root = receiptHash(jobs[0].receipt);
        for (uint256 i; i < 9; ++i) {
            p.checkpoint.root = keccak256(abi.encodePacked(uint8(1), p.checkpoint.root, bytes32(0)));
        }
        p.signature = sign(nodeKey(0), p.checkpoint);
        refused(b, e, 0, amount(0), p, ICourt.BadCheckpoint.selector);
    }

    function test_position_outside_the_checkpoint() public {
        makeJobs(0, 0, 8, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(7, leaves(), 0);
        p.position = 8 + 7; // the same way up
        refused(b, e, 7, amount(7), p, Wire.BadPath.selector);
    }

    function test_receipt_path_too_long_or_short() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        p.receiptPath = new bytes32[](2);
        uint256 id = demand(b, e, 2, false);
        uint96 a = amount(2);
        vm.expectRevert(Wire.BadPath.selector);
        court.prove(id, b, e, a, p);
        p.receiptPath = new bytes32[](4);
        vm.expectRevert(Wire.BadPath.selector);
        court.prove(id, b, e, a, p);
    }

    function test_unused_ticket_needs_no_receipt() public {
        makeJobs(0, 0, 3, 1);
        jobs[1].receipt.amount = 0;
        SumTree.Node[] memory l = leaves();
        l[1] = SumTree.leaf(1, 0, 0);
        (uint64 b, Entry memory e) = settle(1, l, total(), 0);
        ICourt.Proof memory p;
        (, p.path) = sumTree(l, 1);
        court.prove(demand(b, e, 1, false), b, e, 0, p);
    }

    function test_voucher_lane(uint256 seed) public {
        makeJobs(2, 0, 6, seed);
        (uint64 b, Entry memory e) = settle(3, leaves(), total(), 0);
        ICourt.Proof memory p = proof(4, leaves(), 2);
        p.voucher = Voucher(requester(2), gw, LaneId.wrap(3), total());
        p.voucherSignature = sign(BRIDGE_KEY, p.voucher);
        court.prove(demand(b, e, 4, false), b, e, amount(4), p);
    }

    function voucherRefused(uint64 b, Entry memory e, ICourt.Proof memory p, uint256 key) internal {
        p.voucherSignature = sign(key, p.voucher);
        uint256 id = demand(b, e, 4, false);
        uint96 a = amount(4);
        vm.expectRevert(ICourt.BadVoucher.selector);
        court.prove(id, b, e, a, p);
    }

    function test_bad_vouchers() public {
        makeJobs(2, 0, 6, 1);
        (uint64 b, Entry memory e) = settle(3, leaves(), total(), 0);
        ICourt.Proof memory p = proof(4, leaves(), 2);
        p.voucher = Voucher(requester(2), gw, LaneId.wrap(3), total() - 1);
        voucherRefused(b, e, p, BRIDGE_KEY); // covers less than was debited
        p.voucher.cum = total();
        voucherRefused(b, e, p, GATEWAY_KEY);
        p.voucher.lane = LaneId.wrap(1);
        voucherRefused(b, e, p, BRIDGE_KEY);
        p.voucher.lane = LaneId.wrap(3);
        p.voucher.gateway = makeAddr("another gateway");
        voucherRefused(b, e, p, BRIDGE_KEY);
        p.voucher.gateway = gw;
        p.voucher.requester = requester(0);
        voucherRefused(b, e, p, BRIDGE_KEY);
    }

    function test_in_time_and_of_its_kind() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        ICourt.Proof memory p = proof(2, leaves(), 0);
        uint96 a = amount(2);
        uint256 opening = demand(b, e, 0, true);
        vm.expectRevert(ICourt.WrongKind.selector);
        court.prove(opening, b, e, a, p);
        vm.expectRevert(ICourt.UnknownDemand.selector);
        court.prove(opening + 1, b, e, a, p);
        uint256 id = demand(b, e, 2, false);
        vm.expectRevert(ICourt.WrongEntry.selector);
        court.prove(id, b + 1, e, a, p);
        vm.warp(block.timestamp + ANSWER + 1);
        vm.expectRevert(ICourt.TooLate.selector);
        court.prove(id, b, e, a, p);
        vm.warp(block.timestamp - 1);
        court.prove(id, b, e, a, p); // the last second
    }

    /// All domains are the Vault's: a signature for another market does not count.
    function test_signature_of_another_chain() public {
        makeJobs(0, 0, 5, 1);
        (uint64 b, Entry memory e) = posted();
        vm.chainId(1);
        ICourt.Proof memory p = proof(2, leaves(), 0);
        vm.chainId(31337);
        refused(b, e, 2, amount(2), p, ICourt.BadSignature.selector);
    }
}
