// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IStakeRegistry} from "./interfaces/IStakeRegistry.sol";
import {IVault} from "./interfaces/IVault.sol";
import {LaneWord, LinkWord, Packed} from "./libraries/Packed.sol";
import {Ack, Entry, LaneId, LinkId, SpendingCap, Wire} from "./libraries/Wire.sol";

/// @notice Money, lanes, links, batches and claims: the manual is IVault.
contract Vault is IVault {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    // ---- types and constants ----

    struct LaneState {
        LaneWord word;
        address owner;
        uint40 closeAt;
        address voucherSigner;
    }

    struct LinkState {
        LinkWord word;
        address node;
        int96 taken;
    }

    /// @dev pico-units per base unit of a token with 6 decimals.
    uint256 private constant SCALE = 1e6;
    uint256 private constant BPS = 10_000;
    /// @dev An entry of this many leaves can be opened in two transactions under EIP-7825's gas
    /// limit.
    uint256 private constant MAX_COUNT = 4096;
    uint64 private constant RETIRED_PER_BATCH = 8;
    uint256 private constant REWARD_PERCENT = 40;
    uint8 private constant CLASS_STAKED = 1;

    // ---- immutables ----

    IERC20 public immutable token;
    address public immutable court;
    address public immutable guardian;
    IStakeRegistry public immutable registry;

    uint40 private immutable WINDOW;
    uint40 private immutable ANSWER;
    uint40 private immutable HOLD;
    uint40 private immutable NOTICE;
    uint40 private immutable EXIT;
    uint40 private immutable GRACE;
    uint16 private immutable NODE_BPS;
    uint16 private immutable GATEWAY_BPS;
    uint16 private immutable STAKED_BPS;
    uint96 private immutable MIN_BOND;
    uint96 private immutable LEAF_FEE;
    uint96 private immutable OPEN_FEE;
    uint128 private immutable SHARE_STAKE;
    address private immutable TREASURY;

    // ---- storage ----

    uint40 public pausedUntil;
    mapping(address account => uint96) public free;
    mapping(address owner => mapping(address spender => uint96)) public allowance;
    mapping(address gateway => Gateway) private _gateways;
    mapping(address gateway => mapping(LaneId => LaneState)) private _lanes;
    mapping(address gateway => mapping(address requester => LaneId)) public laneOf;
    mapping(bytes32 capHash => Cap) private _caps;
    mapping(address requester => mapping(address gateway => uint128)) public minNonce;
    mapping(address gateway => mapping(LinkId => LinkState)) private _links;
    mapping(address gateway => mapping(address node => LinkId)) public linkOf;
    mapping(address gateway => mapping(uint64 number => Batch)) private _batches;

    // ---- modifiers ----

    modifier whenLive() {
        if (block.timestamp < pausedUntil) revert PausedUntil(pausedUntil);
        _;
    }

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert NotGuardian();
        _;
    }

    // ---- constructor ----

    /// @param court_ address of the Court, which is deployed next and refuses a Vault that names
    /// another.
    /// @param registry_ where gateways and nodes must be active; 0: anyone may open links.
    constructor(
        IERC20 token_,
        Profile memory p,
        address guardian_,
        address court_,
        IStakeRegistry registry_
    ) {
        if (
            IERC20Metadata(address(token_)).decimals() != 6 || p.hold == 0
                || p.exit <= uint256(p.window) + 2 * uint256(p.answer)
                || uint256(p.nodeBps) + p.gatewayBps + p.treasuryBps != BPS
                || p.stakedBps < p.nodeBps || p.stakedBps > BPS
                || (p.stakedBps != p.nodeBps && address(registry_) == address(0))
                || p.treasury == address(0) || court_ == address(0)
        ) revert BadProfile();
        token = token_;
        court = court_;
        guardian = guardian_;
        registry = registry_;
        WINDOW = p.window;
        ANSWER = p.answer;
        HOLD = p.hold;
        NOTICE = p.notice;
        EXIT = p.exit;
        GRACE = p.grace;
        NODE_BPS = p.nodeBps;
        GATEWAY_BPS = p.gatewayBps;
        STAKED_BPS = p.stakedBps;
        MIN_BOND = p.minBond;
        LEAF_FEE = p.leafFee;
        OPEN_FEE = p.openFee;
        SHARE_STAKE = p.shareStake;
        TREASURY = p.treasury;
    }

    // ---- accounts ----

    /// @inheritdoc IVault
    function deposit(address to, uint64 base) external {
        token.safeTransferFrom(msg.sender, address(this), base);
        uint256 pico = base * SCALE;
        free[to] += uint96(pico); // 2^64 * 1e6 < 2^96
        emit Deposited(to, msg.sender, pico);
    }

    /// @inheritdoc IVault
    function withdraw(uint64 base) external {
        uint256 pico = base * SCALE;
        _debitFree(msg.sender, pico);
        emit Withdrawn(msg.sender, pico);
        token.safeTransfer(msg.sender, base);
    }

    /// @inheritdoc IVault
    function give(address to, uint96 pico) external {
        _move(msg.sender, to, pico);
    }

    /// @inheritdoc IVault
    function allow(address spender, uint96 pico) external {
        allowance[msg.sender][spender] = pico;
        emit Allowed(msg.sender, spender, pico);
    }

    /// @inheritdoc IVault
    function take(address from, uint96 pico) external {
        uint96 allowed = allowance[from][msg.sender];
        if (allowed < pico) revert InsufficientAllowance(from);
        if (allowed != type(uint96).max) allowance[from][msg.sender] = allowed - pico;
        _move(from, msg.sender, pico);
    }

    // ---- guardian ----

    /// @inheritdoc IVault
    function pause(uint40 time) external onlyGuardian {
        uint256 last = pausedUntil;
        if (time > NOTICE / 2 || (last != 0 && block.timestamp < last + NOTICE)) revert BadPause();
        pausedUntil = uint40(block.timestamp) + time;
        emit Paused(pausedUntil);
    }

    /// @inheritdoc IVault
    function unpause() external onlyGuardian {
        if (block.timestamp >= pausedUntil) revert BadPause();
        pausedUntil = uint40(block.timestamp);
        emit Paused(pausedUntil);
    }

    // ---- gateways ----

    /// @inheritdoc IVault
    function addBond(address gateway, uint96 pico) external {
        _debitFree(msg.sender, pico);
        _gateways[gateway].bond += pico;
        emit BondAdded(gateway, msg.sender, pico);
    }

    /// @inheritdoc IVault
    function addPool(uint96 pico) external {
        _debitFree(msg.sender, pico);
        _gateways[msg.sender].pool += pico;
        emit PoolAdded(msg.sender, pico);
    }

    /// @inheritdoc IVault
    function announceExit() external {
        Gateway storage g = _gateways[msg.sender];
        if (g.exitAt != 0) revert GatewayExiting();
        g.exitAt = uint40(block.timestamp) + EXIT;
        emit ExitAnnounced(msg.sender, g.exitAt);
    }

    /// @inheritdoc IVault
    function exit() external {
        Gateway storage g = _gateways[msg.sender];
        if (g.exitAt == 0) revert NotExiting();
        if (block.timestamp < g.exitAt) revert TooEarly(g.exitAt);
        uint96 bond = g.bond;
        g.bond = 0;
        free[msg.sender] += bond;
        emit Exited(msg.sender, bond);
    }

    /// @inheritdoc IVault
    function collectFees(address gateway) external {
        Gateway storage g = _gateways[gateway];
        uint96 fees = g.fees;
        if (fees == 0) return; // always so where nodes get everything
        uint96 toGateway = uint96(uint256(fees) * GATEWAY_BPS / (BPS - NODE_BPS)); // rounded down
        g.fees = 0;
        free[gateway] += toGateway;
        free[TREASURY] += fees - toGateway;
        emit FeesCollected(gateway, toGateway, fees - toGateway);
    }

    /// @inheritdoc IVault
    function sweep(address gateway) external {
        Gateway storage g = _gateways[gateway];
        if (g.exitAt == 0) revert NotExiting();
        uint256 from = uint256(g.exitAt) + EXIT;
        if (block.timestamp < from) revert TooEarly(from);
        uint96 pool = g.pool;
        g.pool = 0;
        free[TREASURY] += pool;
        emit Swept(gateway, pool);
    }

    // ---- lanes ----

    /// @inheritdoc IVault
    function openLane(SpendingCap calldata cap, bytes calldata signature, uint96 pico)
        external
        whenLive
        returns (LaneId id)
    {
        if (msg.sender != cap.gateway) revert NotGateway();
        if (block.timestamp > cap.deadline || cap.nonce < minNonce[cap.requester][msg.sender]) {
            revert CapEnded();
        }
        if (cap.models != 0) revert ModelsUnsupported();
        bytes32 h = Wire.hash(cap);
        if (LaneId.unwrap(_caps[h].lane) != 0) revert CapKnown();
        if (!SignatureChecker.isValidSignatureNowCalldata(cap.requester, _digest(h), signature)) {
            revert BadSignature();
        }
        id = laneOf[msg.sender][cap.requester];
        if (LaneId.unwrap(id) == 0) {
            id = LaneId.wrap(++_gateways[msg.sender].lanes);
            laneOf[msg.sender][cap.requester] = id;
            LaneState storage l = _lanes[msg.sender][id];
            l.owner = cap.requester;
            l.voucherSigner = cap.voucherSigner;
            emit LaneOpened(msg.sender, id, cap.requester, cap.voucherSigner);
        } else {
            LaneState storage l = _lanes[msg.sender][id];
            if (l.closeAt != 0) revert LaneEnding();
            if (l.voucherSigner != cap.voucherSigner) revert VoucherSignerDiffers();
        }
        uint40 endsAt = cap.deadline < type(uint40).max ? uint40(cap.deadline) : type(uint40).max;
        _caps[h] = Cap(id, endsAt, 0, cap.nonce);
        emit CapRegistered(msg.sender, id, h, endsAt);
        if (pico != 0) _pull(cap, h, pico);
    }

    /// @inheritdoc IVault
    function pull(SpendingCap calldata cap, uint96 pico) external whenLive {
        if (msg.sender != cap.gateway) revert NotGateway();
        _pull(cap, Wire.hash(cap), pico);
    }

    /// @inheritdoc IVault
    function revoke(SpendingCap calldata cap) external {
        if (msg.sender != cap.requester) revert NotRequester();
        bytes32 h = Wire.hash(cap);
        Cap storage c = _caps[h];
        uint40 endsAt = uint40(block.timestamp) + GRACE;
        if (LaneId.unwrap(c.lane) != 0 && endsAt < c.endsAt) c.endsAt = endsAt;
        if (minNonce[msg.sender][cap.gateway] <= cap.nonce) {
            minNonce[msg.sender][cap.gateway] = uint128(cap.nonce) + 1;
        }
        emit CapRevoked(cap.gateway, msg.sender, h, cap.nonce);
    }

    /// @inheritdoc IVault
    function announceClose(address gateway) external {
        LaneId id = laneOf[gateway][msg.sender];
        if (LaneId.unwrap(id) == 0) revert LaneUnknown();
        LaneState storage l = _lanes[gateway][id];
        if (l.closeAt != 0) revert LaneEnding();
        l.closeAt = uint40(block.timestamp) + NOTICE;
        emit LaneClosing(gateway, id, l.closeAt);
    }

    /// @inheritdoc IVault
    function close(address gateway) external {
        LaneId id = laneOf[gateway][msg.sender];
        if (LaneId.unwrap(id) == 0) revert LaneUnknown();
        LaneState storage l = _lanes[gateway][id];
        if (l.closeAt == 0 || block.timestamp < l.closeAt) revert TooEarly(l.closeAt);
        LaneWord w = l.word;
        uint96 rest = w.locked();
        l.word = Packed.packLane(0, w.spent(), w.seq());
        free[msg.sender] += rest;
        laneOf[gateway][msg.sender] = LaneId.wrap(0); // the owner stays in the lane, for refunds
        emit LaneClosed(gateway, id, rest);
    }

    // ---- links ----

    /// @inheritdoc IVault
    function openLink(address gateway) external returns (LinkId id) {
        if (LinkId.unwrap(linkOf[gateway][msg.sender]) != 0) revert LinkKnown();
        if (address(registry) != address(0)) {
            if (!registry.isActive(IStakeRegistry.Role.Node, msg.sender)) {
                revert NotActive(msg.sender);
            }
            if (!registry.isActive(IStakeRegistry.Role.Gateway, gateway)) {
                revert NotActive(gateway);
            }
        }
        id = LinkId.wrap(++_gateways[gateway].links);
        linkOf[gateway][msg.sender] = id;
        LinkState storage k = _links[gateway][id];
        k.node = msg.sender;
        uint8 class = _classOf(msg.sender);
        if (class != 0) k.word = Packed.packLink(0, 0, 0, 0, class);
        emit LinkOpened(gateway, id, msg.sender, _share(class));
    }

    /// @inheritdoc IVault
    function updateShare(address gateway, address node) external {
        LinkId id = linkOf[gateway][node];
        if (LinkId.unwrap(id) == 0) revert LinkUnknown();
        LinkState storage k = _links[gateway][id];
        LinkWord w = k.word;
        uint8 class = _classOf(node);
        if (class == w.class()) return;
        // From here on `cum` counts at the new share. Rounded so that the node never gains.
        uint256 cum = w.cum();
        uint256 after_ = (cum * _share(class) + BPS - 1) / BPS;
        uint256 before = cum * _share(w.class()) / BPS;
        k.taken += int96(int256(after_) - int256(before)); // |difference| < 2^88
        k.word = Packed.packLink(w.cum(), w.cur(), w.prev(), w.epoch(), class);
        emit ShareChanged(gateway, id, _share(class));
    }

    // ---- settlement ----

    /// @inheritdoc IVault
    function settle(uint64 number, uint256[2][] calldata debits, uint256[] calldata credits)
        external
        whenLive
    {
        Gateway storage g = _gateways[msg.sender];
        if (debits.length != 0 && g.exitAt != 0) revert GatewayExiting();
        if (number != g.batches) revert WrongNumber(g.batches);
        (bytes32 root, uint256 debited) = _debitLanes(debits, g.lanes);
        (uint256 credited, uint256 fees) = _creditLinks(credits, g.links);
        if (credited > g.pool + debited) revert PoolOverdrawn();
        uint256 unfinal = _retire(g, msg.sender, number, RETIRED_PER_BATCH) + debited;
        if (debits.length != 0 && g.bond < MIN_BOND + unfinal) revert NotCovered();
        g.batches = number + 1;
        g.unfinal = unfinal.toUint96();
        g.pool = (g.pool + debited - credited).toUint96();
        g.fees += uint96(fees); // <= credited
        _batches[msg.sender][number] =
            Batch(debited.toUint96(), uint40(block.timestamp), uint32(debits.length), root);
        emit Settled(msg.sender, number, root, uint96(debited), uint96(credited));
    }

    /// @inheritdoc IVault
    function retire(address gateway, uint64 max) external {
        Gateway storage g = _gateways[gateway];
        g.unfinal = uint96(_retire(g, gateway, g.batches, max)); // never more than it was
    }

    // ---- nodes ----

    /// @inheritdoc IVault
    function claim(address gateway) external returns (uint256 base) {
        LinkId id = linkOf[gateway][msg.sender];
        if (LinkId.unwrap(id) == 0) revert LinkUnknown();
        base = claimable(gateway, id) / SCALE; // the rest of a base unit stays in the account
        _links[gateway][id].taken += int96(int256(base * SCALE)); // <= cum < 2^88
        emit Claimed(gateway, id, msg.sender, base * SCALE);
        token.safeTransfer(msg.sender, base);
    }

    /// @inheritdoc IVault
    function redeem(Ack calldata ack, bytes calldata signature) external returns (uint96 paid) {
        LinkId id = linkOf[ack.gateway][ack.node];
        if (LinkId.unwrap(id) == 0) revert LinkUnknown();
        if (block.timestamp <= ack.payBy) revert TooEarly(uint256(ack.payBy) + 1);
        if (!Wire.isSignedBy(ack.gateway, _digest(Wire.hash(ack)), signature)) {
            revert BadSignature();
        }
        LinkState storage k = _links[ack.gateway][id];
        uint256 cum = k.word.cum();
        if (ack.cum <= cum) return 0;
        Gateway storage g = _gateways[ack.gateway];
        uint256 owed = ack.cum - cum;
        uint256 fromPool = owed < g.pool ? owed : g.pool;
        uint256 fromBond = owed - fromPool;
        uint256 spare = _spare(g);
        if (fromBond > spare) fromBond = spare;
        paid = (fromPool + fromBond).toUint96();
        g.pool -= uint96(fromPool);
        g.bond -= uint96(fromBond);
        g.fees += uint96(uint256(paid) * (BPS - _share(k.word.class())) / BPS);
        (k.word,) = k.word.raise(cum + paid, block.timestamp / HOLD);
        emit Redeemed(ack.gateway, id, uint96(fromPool), uint96(fromBond));
    }

    // ---- Court only ----

    /// @inheritdoc IVault
    function voidEntry(
        address gateway,
        uint64 number,
        LaneId lane,
        uint96 refund,
        address challenger
    ) external returns (uint96 reward) {
        if (msg.sender != court) revert NotCourt();
        Gateway storage g = _gateways[gateway];
        if (refund != 0) {
            // What is refunded needs no cover any more, and so does not shrink the penalty.
            _batches[gateway][number].total -= refund;
            g.unfinal -= refund;
            g.bond -= refund;
            free[_lanes[gateway][lane].owner] += refund;
            emit EntryVoided(gateway, number, lane, refund);
        }
        if (g.jailed) return 0;
        g.jailed = true;
        uint256 spare = _spare(g);
        uint96 penalty = spare < MIN_BOND ? uint96(spare) : MIN_BOND;
        reward = uint96(uint256(penalty) * REWARD_PERCENT / 100); // rounded down
        g.bond -= penalty;
        free[challenger] += reward;
        free[TREASURY] += penalty - reward;
        if (g.exitAt == 0) g.exitAt = uint40(block.timestamp) + EXIT;
        emit Jailed(gateway, penalty, reward);
    }

    // ---- views ----

    /// @inheritdoc IVault
    function profile() external view returns (Profile memory) {
        return Profile({
            window: WINDOW,
            answer: ANSWER,
            hold: HOLD,
            notice: NOTICE,
            exit: EXIT,
            grace: GRACE,
            nodeBps: NODE_BPS,
            gatewayBps: GATEWAY_BPS,
            treasuryBps: uint16(BPS) - NODE_BPS - GATEWAY_BPS,
            stakedBps: STAKED_BPS,
            minBond: MIN_BOND,
            leafFee: LEAF_FEE,
            openFee: OPEN_FEE,
            shareStake: SHARE_STAKE,
            treasury: TREASURY
        });
    }

    /// @inheritdoc IVault
    function domainSeparator() external view returns (bytes32) {
        return Wire.domain(address(this));
    }

    /// @inheritdoc IVault
    function gatewayOf(address account) external view returns (Gateway memory) {
        return _gateways[account];
    }

    /// @inheritdoc IVault
    function laneAt(address gateway, LaneId id) external view returns (Lane memory) {
        LaneState storage l = _lanes[gateway][id];
        LaneWord w = l.word;
        return Lane(w.locked(), w.spent(), w.seq(), l.owner, l.closeAt, l.voucherSigner);
    }

    /// @inheritdoc IVault
    function capOf(bytes32 hash) external view returns (Cap memory) {
        return _caps[hash];
    }

    /// @inheritdoc IVault
    function linkAt(address gateway, LinkId id) external view returns (Link memory) {
        LinkState storage k = _links[gateway][id];
        LinkWord w = k.word;
        return Link(w.cum(), w.cur(), w.prev(), w.epoch(), _share(w.class()), k.node, k.taken);
    }

    /// @inheritdoc IVault
    function batchAt(address gateway, uint64 number) external view returns (Batch memory) {
        return _batches[gateway][number];
    }

    /// @inheritdoc IVault
    function matured(address gateway, LinkId id) public view returns (uint256 gross) {
        LinkWord w = _links[gateway][id].word;
        uint256 epoch = block.timestamp / HOLD;
        gross = w.cum();
        if (w.epoch() == epoch) gross -= uint256(w.cur()) + w.prev();
        else if (uint256(w.epoch()) + 1 == epoch) gross -= w.cur();
    }

    /// @inheritdoc IVault
    function claimable(address gateway, LinkId id) public view returns (uint256) {
        LinkState storage k = _links[gateway][id];
        int256 net = int256(matured(gateway, id) * _share(k.word.class()) / BPS) - k.taken;
        // Negative while credits from before a rise of share are in hold.
        return net > 0 ? uint256(net) : 0;
    }

    // ---- private ----

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(Wire.domain(address(this)), structHash);
    }

    function _debitFree(address account, uint256 pico) private {
        uint96 has = free[account];
        if (has < pico) revert InsufficientFunds(account);
        free[account] = uint96(has - pico);
    }

    function _move(address from, address to, uint96 pico) private {
        _debitFree(from, pico);
        free[to] += pico;
        emit Given(from, to, pico);
    }

    function _pull(SpendingCap calldata cap, bytes32 h, uint96 pico) private {
        Cap storage c = _caps[h];
        LaneId id = c.lane;
        if (LaneId.unwrap(id) == 0) revert CapUnknown();
        if (block.timestamp > c.endsAt || c.nonce < minNonce[cap.requester][cap.gateway]) {
            revert CapEnded();
        }
        LaneState storage l = _lanes[cap.gateway][id];
        if (l.closeAt != 0) revert LaneEnding();
        LaneWord w = l.word;
        uint256 pulled = uint256(c.pulled) + pico;
        uint256 locked = uint256(w.locked()) + pico;
        if (pulled > cap.maxSpend) revert CapExceeded();
        if (locked > cap.maxLocked) revert LaneFull();
        _debitFree(cap.requester, pico);
        c.pulled = pulled.toUint96();
        l.word = Packed.packLane(locked.toUint96(), w.spent(), w.seq());
        emit Pulled(cap.gateway, id, h, pico);
    }

    function _debitLanes(uint256[2][] calldata debits, uint256 lanes)
        private
        returns (bytes32 root, uint256 total)
    {
        mapping(LaneId => LaneState) storage mine = _lanes[msg.sender];
        bytes32[] memory hashes = new bytes32[](debits.length);
        for (uint256 i; i < debits.length; ++i) {
            uint256 word = debits[i][0];
            LaneId id = LaneId.wrap(uint32(word >> 128));
            if (LaneId.unwrap(id) == 0 || LaneId.unwrap(id) > lanes) revert LaneUnknown();
            uint96 amount;
            (hashes[i], amount) =
                _debit(mine[id], id, uint32(word >> 96), uint96(word), bytes32(debits[i][1]));
            total += amount;
        }
        root = _root(hashes);
    }

    function _debit(LaneState storage l, LaneId id, uint32 count, uint96 spent, bytes32 tree)
        private
        returns (bytes32 entryHash, uint96 amount)
    {
        LaneWord w = l.word;
        uint64 first = w.seq();
        uint96 before = w.spent();
        if (count == 0 || count > MAX_COUNT) revert BadCount();
        if (spent < before) revert TotalFell(id);
        amount = spent - before;
        if (amount > w.locked()) revert LaneOverdrawn(id);
        l.word = Packed.packLane(w.locked() - amount, spent, first + count);
        entryHash = keccak256(abi.encode(Entry(id, count, first, before, spent, tree)));
    }

    /// @dev The tree that OpenZeppelin's MerkleProof verifies; an odd node moves up. Overwrites its
    /// input.
    function _root(bytes32[] memory h) private pure returns (bytes32) {
        uint256 n = h.length;
        if (n == 0) return 0;
        for (; n > 1; n = (n + 1) >> 1) {
            for (uint256 i; i < n; i += 2) {
                h[i >> 1] = i + 1 < n ? Hashes.commutativeKeccak256(h[i], h[i + 1]) : h[i];
            }
        }
        return h[0];
    }

    function _creditLinks(uint256[] calldata credits, uint256 links)
        private
        returns (uint256 total, uint256 fees)
    {
        mapping(LinkId => LinkState) storage mine = _links[msg.sender];
        uint256 epoch = block.timestamp / HOLD;
        uint256 staked; // the part of the total that was credited to nodes with stakedBps
        for (uint256 i; i < credits.length; ++i) {
            uint256 word = credits[i];
            LinkId id = LinkId.wrap(uint32(word >> 96));
            if (LinkId.unwrap(id) == 0 || LinkId.unwrap(id) > links) revert LinkUnknown();
            LinkState storage k = mine[id];
            (LinkWord w, uint256 gain) = k.word.raise(uint96(word), epoch);
            if (gain == 0) continue;
            k.word = w;
            total += gain;
            if (w.class() == CLASS_STAKED) staked += gain;
        }
        // Rounded down.
        fees = ((total - staked) * (BPS - NODE_BPS) + staked * (BPS - STAKED_BPS)) / BPS;
    }

    /// @dev Takes batches that can no longer be voided out of the cover. Strictly later than the
    /// last moment at which the Court may void: demand by at + window, deadline answer later, void
    /// answer later still.
    function _retire(Gateway storage g, address gateway, uint64 batches, uint64 max)
        private
        returns (uint256 unfinal)
    {
        unfinal = g.unfinal;
        uint64 oldest = g.oldest;
        uint64 end = batches - oldest < max ? batches : oldest + max;
        uint64 next = oldest;
        while (next < end) {
            Batch storage b = _batches[gateway][next];
            if (block.timestamp <= uint256(b.postedAt) + WINDOW + 2 * uint256(ANSWER)) break;
            unfinal -= b.total;
            ++next;
        }
        if (next == oldest) return unfinal;
        g.oldest = next;
        emit Retired(gateway, next, uint96(unfinal));
    }

    /// @dev What the bond holds above the cover of debits.
    function _spare(Gateway storage g) private view returns (uint256) {
        return g.bond > g.unfinal ? g.bond - g.unfinal : 0;
    }

    function _classOf(address node) private view returns (uint8) {
        if (STAKED_BPS == NODE_BPS) return 0;
        return registry.stakeOf(IStakeRegistry.Role.Node, node) >= SHARE_STAKE ? CLASS_STAKED : 0;
    }

    function _share(uint8 class) private view returns (uint16) {
        return class == CLASS_STAKED ? STAKED_BPS : NODE_BPS;
    }
}
