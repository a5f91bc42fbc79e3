// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "../src/interfaces/IVault.sol";
import "../src/libraries/Wire.sol";
import {StakedMarket} from "./StakedMarket.sol";
import {Test} from "./Test.sol";

/// One step of a random walk is one call of one of these functions: everything that moves money, by
/// everybody, at any time. Each steers its arguments to where the call should succeed and asserts
/// that it does; where it should be refused, that too. So a walk whose calls all fail cannot pass.
contract Walker is StakedMarket {
    struct Posted {
        uint64 number;
        Entry entry;
        uint256 postedAt;
        bool voided;
    }

    struct Open {
        uint256 id;
        uint256 posted;
        uint256 deadline;
        uint96 stake;
        bool closed;
    }

    Posted[] public posted;
    Open[] internal _open;
    address[] internal _accounts;
    uint64[3] internal _nonce;
    mapping(uint32 => uint96) internal _seenSpent;
    mapping(uint32 => uint88) internal _seenCum;

    uint256 public roundings; // operations that may lose up to 4 pico-units
    uint256 public openStakes;
    uint256 public settled;
    uint256 public refunds;
    uint256 public claims;
    bool public fell; // a running total went down

    /// What a walk is made of; what counts most comes most often.
    bytes4[] public STEPS = [
        this.settle.selector,
        this.settle.selector,
        this.settle.selector,
        this.challenge.selector,
        this.decide.selector,
        this.claim.selector,
        this.wait.selector,
        this.deposit.selector,
        this.withdraw.selector,
        this.addBond.selector,
        this.pause.selector,
        this.reopen.selector,
        this.pull.selector,
        this.revoke.selector,
        this.close.selector,
        this.settle.selector,
        this.overreach.selector,
        this.creditOnly.selector,
        this.collectFees.selector,
        this.retire.selector,
        this.announceOrExit.selector,
        this.claim.selector,
        this.redeem.selector,
        this.changeStake.selector,
        this.challenge.selector,
        this.decide.selector
    ];

    constructor() {
        StakedMarket.setUp();
        for (uint256 i; i < 3; ++i) {
            _accounts.push(requester(i));
        }
        _accounts.push(gw);
        _accounts.push(challenger);
        _accounts.push(treasury);
        _accounts.push(address(court));
        usd.mint(address(this), 1e18);
    }

    function setUp() public override {} // no step of a walk

    /// Time passes before each step, totals are compared after it.
    modifier watched() {
        vm.warp(block.timestamp + uint256(keccak256(abi.encode(block.timestamp))) % 40 minutes);
        _;
        for (uint32 i = 1; i <= gateway().lanes; ++i) {
            if (lane(i).spent < _seenSpent[i]) fell = true;
            _seenSpent[i] = lane(i).spent;
        }
        for (uint32 i = 1; i <= 2; ++i) {
            if (link(i).cum < _seenCum[i]) fell = true;
            _seenCum[i] = link(i).cum;
        }
    }

    // ---- what anyone may do ----

    function wait(uint256 x) external {
        vm.warp(block.timestamp + bound(x, 1, 8 hours));
    }

    function deposit(uint256 i, uint256 x) external watched {
        vault.deposit(_accounts[i % 6], uint64(bound(x, 0, 100e6)));
    }

    function withdraw(uint256 i, uint256 x) external watched {
        address a = _accounts[i % 6];
        uint64 base = uint64(bound(x, 0, vault.free(a) / 4e6));
        vm.prank(a);
        vault.withdraw(base); // never refused, paused or not
    }

    function addBond(uint256 x) external watched {
        uint96 pico = uint96(bound(x, 0, vault.free(gw)));
        vm.prank(gw);
        vault.addBond(gw, pico);
    }

    function pause(uint256 x) external watched {
        if (x % 8 != 0) return; // seldom
        if (vault.pausedUntil() != 0 && block.timestamp < vault.pausedUntil() + NOTICE) return;
        vm.prank(guardian);
        vault.pause(NOTICE / 2);
    }

    // ---- requesters ----

    function reopen(uint256 i) external watched {
        i %= 3;
        if (
            LaneId.unwrap(vault.laneOf(gw, requester(i))) != 0
                || block.timestamp < vault.pausedUntil()
        ) return;
        if (vault.free(requester(i)) < 300 * USD) vault.deposit(requester(i), 300e6);
        openLane(i, ++_nonce[i]);
    }

    function pull(uint256 i, uint256 x) external watched {
        i %= 3;
        IVault.Cap memory c = vault.capOf(capHash(caps[i]));
        IVault.Lane memory l = lane(LaneId.unwrap(c.lane));
        uint96 pico = uint96(bound(x, 0, 60 * USD));
        bool allowed = block.timestamp >= vault.pausedUntil() && block.timestamp <= c.endsAt
            && l.closeAt == 0 && c.nonce >= vault.minNonce(requester(i), gw)
            && c.pulled + pico <= caps[i].maxSpend && l.locked + pico <= caps[i].maxLocked
            && pico <= vault.free(requester(i));
        if (!allowed) vm.expectRevert();
        vm.prank(gw);
        vault.pull(caps[i], pico);
    }

    function revoke(uint256 i) external watched {
        if (i % 8 != 0) return; // seldom
        i = (i / 8) % 3;
        vm.prank(requester(i));
        vault.revoke(caps[i]);
    }

    function close(uint256 i) external watched {
        i %= 3;
        LaneId id = vault.laneOf(gw, requester(i));
        if (LaneId.unwrap(id) == 0) return;
        uint40 closeAt = lane(LaneId.unwrap(id)).closeAt;
        vm.prank(requester(i));
        if (closeAt == 0) {
            vault.announceClose(gw);
        } else {
            if (block.timestamp < closeAt) vm.expectRevert();
            vault.close(gw); // never refused after the notice, paused or not
        }
    }

    // ---- the gateway ----

    /// A batch for each of up to three lanes.
    function settle(uint256 i, uint256 x, uint256 y, uint256 k) external watched {
        vault.retire(gw, type(uint64).max);
        for (uint256 n; n < i % 4; ++n) {
            _settle(vault.laneOf(gw, requester((i / 4 % 3 + n) % 3)), x, y, k);
            (x, y, k) = (uint256(keccak256(abi.encode(x))), x ^ y, k >> 1);
        }
    }

    function _settle(LaneId id, uint256 x, uint256 y, uint256 k) internal {
        uint32 n = LaneId.unwrap(id);
        IVault.Gateway memory g = gateway();
        if (n == 0 || g.exitAt != 0 || block.timestamp < vault.pausedUntil()) return;
        if (g.bond < MIN_BOND + g.unfinal) return; // redeemed Acks have eaten it
        IVault.Lane memory l = lane(n);
        uint96 spare = g.bond - MIN_BOND - g.unfinal;
        uint96 most = l.locked < spare ? l.locked : spare;
        uint96 amount = uint96(bound(x, 0, x % 4 == 0 ? most : most / 3));
        Entry memory e =
            Entry(id, uint32(bound(k >> 8, 1, 500)), l.seq, l.spent, l.spent + amount, bytes32(k));
        uint32 to = uint32(1 + k % 2);
        uint96 credited = uint96(bound(y, 0, uint256(g.pool) + amount));
        // Never refused.
        post(debit(n, e.count, e.spent, e.tree), credit(to, link(to).cum + credited));
        posted.push(Posted(g.batches, e, block.timestamp, false));
        ++settled;
        ++roundings;
    }

    /// Every limit of settle, one pico-unit too far.
    function overreach(uint256 i, uint256 k) external watched {
        LaneId id = vault.laneOf(gw, requester(i % 3));
        if (LaneId.unwrap(id) == 0) return;
        IVault.Lane memory l = lane(LaneId.unwrap(id));
        uint64 number = gateway().batches;
        uint256[2][] memory d = noDebits();
        uint256[] memory c = noCredits();
        if (k % 3 == 0) d = debit(LaneId.unwrap(id), 1, l.spent + l.locked + 1, bytes32(k));
        else if (k % 3 == 1) c = credit(1, link(1).cum + gateway().pool + 1);
        else number = number == 0 ? 1 : number - 1;
        vm.expectRevert();
        vm.prank(gw);
        vault.settle(number, d, c);
    }

    function creditOnly(uint256 y, uint256 k) external watched {
        if (block.timestamp < vault.pausedUntil()) return;
        uint32 to = uint32(1 + k % 2);
        uint96 credited = uint96(bound(y, 0, gateway().pool));
        post(noDebits(), credit(to, link(to).cum + credited)); // never refused, jailed or exiting
        ++roundings;
    }

    function collectFees() external watched {
        vault.collectFees(gw);
    }

    function retire() external watched {
        vault.retire(gw, 3);
    }

    /// Seldom announced, since the walk has no debits after that.
    function announceOrExit(uint256 x) external watched {
        uint40 exitAt = gateway().exitAt;
        if (exitAt == 0 && x % 16 != 0) return;
        vm.prank(gw);
        if (exitAt == 0) {
            vault.announceExit();
        } else {
            if (block.timestamp < exitAt) vm.expectRevert();
            vault.exit(); // never refused after the exit period, paused or not
            if (block.timestamp >= uint256(exitAt) + EXIT) vault.sweep(gw);
        }
    }

    // ---- nodes ----

    function claim(uint256 i) external watched {
        uint256 due = vault.claimable(gw, LinkId.wrap(uint32(1 + i % 2)));
        vm.prank(node(i % 2));
        uint256 base = vault.claim(gw); // never refused, paused or not
        assertEq(base, due / 1e6, "claimed what was due");
        if (base != 0) ++claims;
    }

    function redeem(uint256 x, uint256 k) external watched {
        uint32 to = uint32(1 + k % 2);
        uint128 cum = link(to).cum + uint128(bound(x, 0, x % 5 == 0 ? 2000 * USD : 10 * USD));
        Ack memory a = Ack(gw, node(to - 1), 1, cum, uint64(block.timestamp - 1));
        vault.redeem(a, sign(GATEWAY_KEY, a)); // never refused, paused or not
        ++roundings;
    }

    function changeStake(uint256 i) external watched {
        address a = node(i % 2);
        uint128 stake = stakes.stakeOf(NODE, a);
        if (stake >= SHARE_STAKE) {
            vm.prank(a);
            stakes.announceUnbond(NODE, stake - 100e18);
        } else {
            fund(a, SHARE_STAKE);
            vm.prank(a);
            stakes.topUp(NODE, a, SHARE_STAKE);
        }
        vault.updateShare(gw, a);
        ++roundings;
    }

    // ---- challengers ----

    function challenge(uint256 i, uint256 kind) external watched {
        if (posted.length == 0) return;
        bool opening = kind % 2 == 1;
        uint256 recent = posted.length < 5 ? posted.length : 5;
        i = posted.length - 1 - i % recent;
        Posted storage p = posted[i];
        uint96 stake = opening ? OPEN_FEE * p.entry.count : LEAF_FEE;
        bool allowed =
            block.timestamp <= p.postedAt + WINDOW && !p.voided && vault.free(challenger) >= stake;
        if (!allowed) {
            vm.expectRevert();
            vm.prank(challenger);
            court.demand(gw, p.number, p.entry, new bytes32[](0), 0, opening);
            return;
        }
        uint256 id = demand(p.number, p.entry, 0, opening);
        openStakes += stake;
        _open.push(Open(id, i, block.timestamp + ANSWER, stake, false));
    }

    /// Voids the oldest demand that is open, or sometimes waits for its deadline first. In time,
    /// the refund must never fail for want of bond.
    function decide(uint256 i, uint256 k) external watched {
        if (_open.length == 0) return;
        Open storage o = _open[i % _open.length];
        if (o.closed) return;
        Posted storage p = posted[o.posted];
        if (block.timestamp <= o.deadline && k % 4 == 0) {
            vm.warp(o.deadline + 1 + (k >> 8) % ANSWER);
        }
        if (block.timestamp <= o.deadline || block.timestamp > o.deadline + ANSWER) {
            vm.expectRevert();
            court.void(o.id, p.number, p.entry);
            return;
        }
        uint96 had = vault.free(_ownerOf(p));
        court.void(o.id, p.number, p.entry);
        if (!p.voided) {
            assertEq(
                vault.free(_ownerOf(p)), had + p.entry.spent - p.entry.before, "refunded in full"
            );
            ++refunds;
        }
        p.voided = true;
        o.closed = true;
        openStakes -= o.stake;
    }

    function _ownerOf(Posted storage p) internal view returns (address) {
        return vault.laneAt(gw, p.entry.lane).owner;
    }

    // ---- for the invariants ----

    function stepCount() external view returns (uint256) {
        return STEPS.length;
    }

    function books() external view returns (uint256 held, uint256 sum) {
        return (usd.balanceOf(address(vault)) * 1e6, owed(_accounts));
    }

    function courtHolds() external view returns (uint256) {
        return vault.free(address(court));
    }

    /// What the bond must still be able to refund.
    function voidable() external view returns (uint256 sum, uint256 bond) {
        for (uint256 i; i < posted.length; ++i) {
            Posted storage p = posted[i];
            if (!p.voided && block.timestamp <= p.postedAt + WINDOW + 2 * ANSWER) {
                sum += p.entry.spent - p.entry.before;
            }
        }
        bond = gateway().bond;
    }

    /// Everything pulled under each requester's caps is in its lanes or was debited.
    function withinCaps() external view returns (bool) {
        for (uint256 i; i < 3; ++i) {
            IVault.Cap memory c = vault.capOf(capHash(caps[i]));
            IVault.Lane memory l = lane(LaneId.unwrap(c.lane));
            if (c.pulled > caps[i].maxSpend || l.spent + l.locked > c.pulled) return false;
        }
        return true;
    }

    function rootOf(uint64 number) external view returns (bytes32) {
        return vault.batchAt(gw, number).root;
    }
}

contract InvariantsTest is Test {
    Walker internal walker;

    function setUp() public {
        walker = new Walker();
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    function targetContracts() public view returns (address[] memory t) {
        t = new address[](1);
        t[0] = address(walker);
    }

    function targetSelectors() public view returns (FuzzSelector[] memory t) {
        t = new FuzzSelector[](1);
        t[0] = FuzzSelector(address(walker), new bytes4[](walker.stepCount()));
        for (uint256 i; i < t[0].selectors.length; ++i) {
            t[0].selectors[i] = walker.STEPS(i);
        }
    }

    /// One function for all, so that each walk is walked once.
    function invariant_all() public view {
        balance_is_the_sum_of_accounts();
        court_holds_the_open_stakes();
        bond_covers_all_that_can_be_voided();
        posted_batches_stay();
        assertTrue(walker.withinCaps(), "a debit beyond its lane or cap");
        assertTrue(!walker.fell(), "a running total fell");
    }

    /// The tokens held are the sum of all accounts, but for what roundings left behind.
    function balance_is_the_sum_of_accounts() internal view {
        (uint256 held, uint256 sum) = walker.books();
        assertTrue(held >= sum, "money was created");
        assertTrue(held - sum <= 4 * walker.roundings() + 4, "more was lost than roundings lose");
    }

    function court_holds_the_open_stakes() internal view {
        assertEq(walker.courtHolds(), walker.openStakes(), "stakes of open demands");
    }

    function bond_covers_all_that_can_be_voided() internal view {
        (uint256 sum, uint256 bond) = walker.voidable();
        assertTrue(bond >= sum, "a refund is not covered");
    }

    function posted_batches_stay() internal view {
        uint256 n = walker.settled();
        for (uint256 i; i < n; ++i) {
            (uint64 number, Entry memory e,,) = walker.posted(i);
            assertEq(walker.rootOf(number), keccak256(abi.encode(e)), "a number was settled twice");
        }
    }

    /// Walks must get somewhere: over fixed ones, each thing that they are there for happens often.
    function test_walks_get_somewhere() public {
        uint256 settled;
        uint256 refunds;
        uint256 claims;
        for (uint256 seed; seed < 8; ++seed) {
            walker = new Walker();
            for (uint256 i; i < 64; ++i) {
                uint256 x = uint256(keccak256(abi.encode(seed, i)));
                bytes4 selector = walker.STEPS(x % walker.stepCount());
                (bool ok,) = address(walker)
                    .call(
                        abi.encodePacked(
                            selector,
                            keccak256(abi.encode(x, 1)),
                            keccak256(abi.encode(x, 2)),
                            keccak256(abi.encode(x, 3)),
                            keccak256(abi.encode(x, 4))
                        )
                    );
                assertTrue(ok, "step");
            }
            invariant_all();
            settled += walker.settled();
            refunds += walker.refunds();
            claims += walker.claims();
        }
        assertTrue(settled >= 50, "batches");
        assertTrue(refunds >= 4, "refunds");
        assertTrue(claims >= 15, "claims");
    }
}
