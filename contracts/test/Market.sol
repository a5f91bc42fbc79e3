// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Court} from "../src/Court.sol";
import {DevUSD} from "../src/DevUSD.sol";
import {Vault} from "../src/Vault.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {IStakeRegistry} from "../src/interfaces/IStakeRegistry.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import "../src/libraries/Wire.sol";
import {Test} from "./Test.sol";

/// A market of one gateway, three requesters and two nodes, with jobs, trees and signatures. Lanes
/// 1 and 2 are API-key lanes, lane 3 needs vouchers of the bridge. Each lane holds 300 of its
/// requester's 1,000 dollars.
abstract contract Market is Test {
    struct Job {
        Terms terms;
        Receipt receipt;
    }

    uint96 internal constant USD = 1e12; // in pico-units
    uint40 internal constant WINDOW = 1 days;
    uint40 internal constant ANSWER = 4 hours;
    uint40 internal constant HOLD = 30 minutes;
    uint40 internal constant NOTICE = 1 days;
    uint40 internal constant EXIT = 3 days;
    uint40 internal constant GRACE = 60;
    uint96 internal constant MIN_BOND = 1000 * USD;
    uint96 internal constant LEAF_FEE = USD / 20;
    uint96 internal constant OPEN_FEE = USD / 2000;
    uint96 internal constant BOND = 5000 * USD;

    uint256 internal constant GATEWAY_KEY = 0xA11CE;
    uint256 internal constant BRIDGE_KEY = 0x5E55;

    DevUSD internal usd;
    Vault internal vault;
    Court internal court;
    IStakeRegistry internal registry; // none, unless a test sets one up before super.setUp()
    address internal gw = vm.addr(GATEWAY_KEY);
    address internal treasury = makeAddr("treasury");
    address internal challenger = makeAddr("challenger");
    address internal guardian = makeAddr("guardian");
    SpendingCap[3] internal caps;
    Job[] internal jobs; // of the lane in hand

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        usd = new DevUSD();
        usd.mint(address(this), 1e18);
        (vault, court) = deploy(profile());
        usd.approve(address(vault), type(uint256).max);
        vault.deposit(gw, 10_000e6);
        vault.deposit(challenger, 1_000e6);
        vm.prank(challenger);
        vault.allow(address(court), type(uint96).max);
        vm.prank(gw);
        vault.addBond(gw, BOND);
        for (uint256 i; i < 2; ++i) {
            vm.prank(node(i));
            vault.openLink(gw);
        }
        for (uint256 i; i < 3; ++i) {
            vault.deposit(requester(i), 1000e6);
            openLane(i, 0);
        }
    }

    // ---- the cast ----

    function requesterKey(uint256 i) internal pure returns (uint256) {
        return 0xB0B00 + i;
    }

    function nodeKey(uint256 i) internal pure returns (uint256) {
        return 0xD0D00 + i;
    }

    function requester(uint256 i) internal pure returns (address) {
        return vm.addr(requesterKey(i));
    }

    function node(uint256 i) internal pure returns (address) {
        return vm.addr(nodeKey(i));
    }

    // ---- deployment ----

    function profile() internal view virtual returns (IVault.Profile memory) {
        return IVault.Profile({
            window: WINDOW,
            answer: ANSWER,
            hold: HOLD,
            notice: NOTICE,
            exit: EXIT,
            grace: GRACE,
            nodeBps: 9500,
            gatewayBps: 250,
            treasuryBps: 250,
            stakedBps: 9500,
            minBond: MIN_BOND,
            leafFee: LEAF_FEE,
            openFee: OPEN_FEE,
            shareStake: 0,
            treasury: treasury
        });
    }

    function deploy(IVault.Profile memory p) internal returns (Vault v, Court c) {
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        v = new Vault(usd, p, guardian, next, registry);
        c = new Court(v);
    }

    // ---- signatures ----

    function signHash(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", vault.domainSeparator(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function sign(uint256 key, SpendingCap memory x) internal view returns (bytes memory) {
        return signHash(key, keccak256(abi.encode(Wire.SPENDING_CAP, x)));
    }

    function sign(uint256 key, Checkpoint memory x) internal view returns (bytes memory) {
        return signHash(key, keccak256(abi.encode(Wire.CHECKPOINT, x)));
    }

    function sign(uint256 key, Ack memory x) internal view returns (bytes memory) {
        return signHash(key, keccak256(abi.encode(Wire.ACK, x)));
    }

    function sign(uint256 key, Voucher memory x) internal view returns (bytes memory) {
        return signHash(key, keccak256(abi.encode(Wire.VOUCHER, x)));
    }

    function capHash(SpendingCap memory x) internal pure returns (bytes32) {
        return keccak256(abi.encode(Wire.SPENDING_CAP, x));
    }

    function receiptHash(Receipt memory x) internal pure returns (bytes32) {
        return keccak256(abi.encode(Wire.RECEIPT, x));
    }

    // ---- lanes ----

    function newCap(uint256 i, uint64 nonce) internal view returns (SpendingCap memory) {
        return SpendingCap({
            requester: requester(i),
            gateway: gw,
            maxSpend: 500 * USD,
            maxLocked: 300 * USD,
            maxPriceIn: 1e6,
            maxPriceOut: 4e6,
            models: 0,
            voucherSigner: i == 2 ? vm.addr(BRIDGE_KEY) : address(0),
            nonce: nonce,
            deadline: uint64(block.timestamp + 30 days)
        });
    }

    function openLane(uint256 i, uint64 nonce) internal returns (LaneId) {
        caps[i] = newCap(i, nonce);
        bytes memory signature = sign(requesterKey(i), caps[i]);
        vm.prank(gw);
        return vault.openLane(caps[i], signature, 300 * USD);
    }

    function lane(uint32 id) internal view returns (IVault.Lane memory) {
        return vault.laneAt(gw, LaneId.wrap(id));
    }

    function link(uint32 id) internal view returns (IVault.Link memory) {
        return vault.linkAt(gw, LinkId.wrap(id));
    }

    function gateway() internal view returns (IVault.Gateway memory) {
        return vault.gatewayOf(gw);
    }

    // ---- trees ----

    function sumTree(SumTree.Node[] memory bottom, uint256 index)
        internal
        pure
        returns (SumTree.Node memory root, SumTree.Node[] memory path)
    {
        SumTree.Node[] memory siblings = new SumTree.Node[](32);
        SumTree.Node[] memory level = new SumTree.Node[](bottom.length);
        for (uint256 i; i < bottom.length; ++i) {
            level[i] = bottom[i];
        }
        SumTree.Node memory empty;
        uint256 used;
        for (uint256 n = bottom.length; n > 1; n = (n + 1) / 2) {
            if (index & 1 == 1) siblings[used++] = level[index - 1];
            else if (index + 1 < n) siblings[used++] = level[index + 1];
            for (uint256 i; i < n; i += 2) {
                level[i / 2] = SumTree.join(level[i], i + 1 < n ? level[i + 1] : empty);
            }
            index /= 2;
        }
        path = new SumTree.Node[](used);
        for (uint256 i; i < used; ++i) {
            path[i] = siblings[i];
        }
        root = level[0];
    }

    function checkpointTree(bytes32[] memory hashes, uint256 index)
        internal
        pure
        returns (bytes32 root, bytes32[] memory path)
    {
        bytes32[] memory siblings = new bytes32[](32);
        bytes32[] memory level = new bytes32[](hashes.length);
        for (uint256 i; i < hashes.length; ++i) {
            level[i] = hashes[i];
        }
        uint256 used;
        for (uint256 n = hashes.length; n > 1; n = (n + 1) / 2) {
            if (index & 1 == 1) siblings[used++] = level[index - 1];
            else if (index + 1 < n) siblings[used++] = level[index + 1];
            for (uint256 i; i < n; i += 2) {
                level[i / 2] = i + 1 < n
                    ? keccak256(abi.encodePacked(uint8(1), level[i], level[i + 1]))
                    : level[i];
            }
            index /= 2;
        }
        path = new bytes32[](used);
        for (uint256 i; i < used; ++i) {
            path[i] = siblings[i];
        }
        root = level[0];
    }

    // ---- jobs ----

    /// Fills `jobs` with `n` jobs of requester `r`, from laneSeq `first` on, all served by node 0.
    function makeJobs(uint256 r, uint64 first, uint256 n, uint256 seed) internal {
        delete jobs;
        for (uint256 i; i < n; ++i) {
            uint256 x = uint256(keccak256(abi.encode(seed, i)));
            Job storage j = jobs.push();
            j.terms = Terms({
                jobId: bytes32(x),
                segment: 0,
                requester: requester(r),
                gateway: gw,
                node: node(0),
                cap: capHash(caps[r]),
                laneSeq: first + uint64(i),
                linkSeq: uint64(i),
                model: bytes32(uint256(1)),
                request: bytes32(uint256(2)),
                sampling: bytes32(uint256(3)),
                maxIn: 1000,
                maxOut: 1000,
                priceIn: 1e6,
                priceCached: 5e5,
                priceOut: 4e6,
                tier: 1,
                issuedAt: uint64(block.timestamp),
                deadline: uint64(block.timestamp + 120)
            });
            uint64 inTokens = uint64(1 + x % 1000);
            j.receipt = Receipt({
                terms: 0,
                inTokens: inTokens,
                cachedTokens: uint64((x >> 32) % inTokens),
                outTokens: uint64((x >> 64) % 1001),
                output: bytes32(x),
                finish: 1,
                firstMs: 10,
                lastMs: 20,
                amount: 0
            });
            bindReceipt(i);
            j.receipt.amount = cost(i);
        }
    }

    /// After a change of terms: the receipt is of these terms.
    function bindReceipt(uint256 i) internal {
        jobs[i].receipt.terms = keccak256(abi.encode(Wire.TERMS, jobs[i].terms));
    }

    function cost(uint256 i) internal view returns (uint128) {
        Terms storage t = jobs[i].terms;
        Receipt storage r = jobs[i].receipt;
        return (r.inTokens - r.cachedTokens) * t.priceIn + r.cachedTokens * t.priceCached
            + r.outTokens * t.priceOut;
    }

    function amountOf(uint256 i) internal view returns (uint96) {
        return uint96(jobs[i].receipt.amount);
    }

    function total() internal view returns (uint96 sum) {
        for (uint256 i; i < jobs.length; ++i) {
            sum += amountOf(i);
        }
    }

    function leaves() internal view returns (SumTree.Node[] memory l) {
        l = new SumTree.Node[](jobs.length);
        for (uint256 i; i < l.length; ++i) {
            l[i] = SumTree.leaf(jobs[i].terms.laneSeq, amountOf(i), receiptHash(jobs[i].receipt));
        }
    }

    /// Leaves that nobody can justify, worth `sum`.
    function junk(uint96 sum) internal pure returns (SumTree.Node[] memory l) {
        l = new SumTree.Node[](7);
        l[0] = SumTree.Node(keccak256("junk"), sum);
    }

    // ---- batches ----

    function debit(uint32 id, uint32 count, uint96 spent, bytes32 tree)
        internal
        pure
        returns (uint256[2][] memory d)
    {
        d = new uint256[2][](1);
        d[0] = [uint256(id) << 128 | uint256(count) << 96 | spent, uint256(tree)];
    }

    function noDebits() internal pure returns (uint256[2][] memory) {
        return new uint256[2][](0);
    }

    function credit(uint32 id, uint96 cum) internal pure returns (uint256[] memory c) {
        c = new uint256[](1);
        c[0] = uint256(id) << 96 | cum;
    }

    function noCredits() internal pure returns (uint256[] memory) {
        return new uint256[](0);
    }

    /// Posts the next batch; everything but the call itself is done before, so that a caller's
    /// expectRevert holds.
    function post(uint256[2][] memory debits, uint256[] memory credits)
        internal
        returns (uint64 number)
    {
        number = gateway().batches;
        vm.prank(gw);
        vault.settle(number, debits, credits);
    }

    /// Expects the next batch to be refused.
    function refuse(bytes memory why, uint256[2][] memory debits, uint256[] memory credits)
        internal
    {
        uint64 number = gateway().batches;
        vm.expectRevert(why);
        vm.prank(gw);
        vault.settle(number, debits, credits);
    }

    function refuse(bytes4 why, uint256[2][] memory debits, uint256[] memory credits) internal {
        refuse(abi.encodePacked(why), debits, credits);
    }

    /// Posts a batch of one entry with these leaves that debits `debited`, and credits `credited`
    /// more to link 1.
    function settle(uint32 id, SumTree.Node[] memory l, uint96 debited, uint96 credited)
        internal
        returns (uint64 number, Entry memory e)
    {
        (SumTree.Node memory root,) = sumTree(l, 0);
        IVault.Lane memory a = lane(id);
        e = Entry(LaneId.wrap(id), uint32(l.length), a.seq, a.spent, a.spent + debited, root.hash);
        uint96 cum = link(1).cum + credited;
        number =
            post(debit(id, e.count, e.spent, e.tree), credited == 0 ? noCredits() : credit(1, cum));
    }

    // ---- challenges ----

    function demand(uint64 number, Entry memory e, uint32 index, bool opening)
        internal
        returns (uint256)
    {
        vm.prank(challenger);
        return court.demand(gw, number, e, new bytes32[](0), index, opening);
    }

    /// The honest proof of leaf `i`, under the receipts of all jobs in hand as one checkpoint.
    function proof(uint256 i, SumTree.Node[] memory l, uint256 r)
        internal
        view
        returns (ICourt.Proof memory p)
    {
        (, p.path) = sumTree(l, i);
        bytes32[] memory hashes = new bytes32[](jobs.length);
        for (uint256 j; j < hashes.length; ++j) {
            hashes[j] = receiptHash(jobs[j].receipt);
        }
        bytes32 root;
        (root, p.receiptPath) = checkpointTree(hashes, i);
        p.receipt = jobs[i].receipt;
        p.terms = jobs[i].terms;
        p.cap = caps[r];
        p.position = uint32(i);
        p.checkpoint = Checkpoint(2, node(0), gw, 7, 0, uint32(hashes.length), root);
        p.signature = sign(nodeKey(0), p.checkpoint);
    }

    /// Sum of everything that the Vault owes, in pico-units: free accounts of `accounts`, the
    /// gateway's books, its lanes and its links.
    function owed(address[] memory accounts) internal view returns (uint256) {
        IVault.Gateway memory g = gateway();
        uint256 sum = uint256(g.bond) + g.pool + g.fees;
        for (uint256 i; i < accounts.length; ++i) {
            sum += vault.free(accounts[i]);
        }
        for (uint32 i = 1; i <= g.lanes; ++i) {
            sum += lane(i).locked;
        }
        int256 nodes; // a link is at most one pico-unit below zero, after a change of share
        for (uint32 i = 1; i <= g.links; ++i) {
            IVault.Link memory k = link(i);
            nodes += int256(uint256(k.cum) * k.shareBps / 10_000) - k.taken;
        }
        return uint256(int256(sum) + nodes);
    }
}
