// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IStakeRegistry} from "./IStakeRegistry.sol";
import {Ack, LaneId, LinkId, SpendingCap} from "../libraries/Wire.sol";

/// @title The money of the market: accounts, lanes, links, batches, claims.
/// @notice A requester's money is in one of two places: its free account, from which it may be
/// withdrawn at once, or a lane, from which exactly one gateway may debit it. A gateway posts
/// batches: debits of lanes go into its pool, credits of links come out of the pool, and both are
/// running totals that only grow. A node claims what was credited to its link as soon as it has
/// matured.
///
/// Amounts are pico-units: 1e-6 of a base unit of the payment token, 1e-12 of a dollar coin. Only
/// `deposit`, `withdraw` and `claim` move tokens; they count whole base units and leave the rest in
/// the account. Times are seconds of the chain. Shares are in basis points.
///
/// Assumptions:
/// - The payment token has 6 decimals, moves exactly what it is told to, calls nobody back and does
///   not change balances by itself. A token that takes fees or rebases breaks `tokens held >= sum
///   of accounts`.
/// - The Court was written for this Vault: it calls `voidEntry` once per entry, with what the entry
///   debited, while the entry's cover is still there.
/// - `block.timestamp` may be off by some seconds; no period here is shorter than a minute.
///
/// Warnings:
/// - A bond in the payment token stands behind every debit that can still be voided, one to one. It
///   does not stand behind Acks: those are paid from the pool and from what the bond holds above
///   that cover.
/// - Without vouchers (a cap whose voucherSigner is 0) a gateway and a node of its own can invent
///   jobs up to what the lane holds and the cap still lets the gateway pull. Keep maxLocked small.
/// - Debits count until `close` is called, which the requester may do from `closeAt` on.
/// - There is no owner and no upgrade. The guardian can delay `settle`, `pull` and `openLane` for
///   half a notice period at most; every other call, and so every way out, always works.
interface IVault {
    /// @notice The parameters of a market; fixed for the life of the contract.
    struct Profile {
        /// @dev s; a debit can be challenged this long after its batch.
        uint40 window;
        /// @dev s; time to answer a demand, and again to void it.
        uint40 answer;
        /// @dev s; a credit matures at the end of the hold after the one in which it was posted.
        uint40 hold;
        /// @dev s; from announcing the end of a lane to closing it.
        uint40 notice;
        /// @dev s; from announcing a gateway's exit to taking its bond; more than window + 2 *
        /// answer.
        uint40 exit;
        /// @dev s; tickets dated up to this long after a revocation stay payable.
        uint40 grace;
        /// @dev bps of a debit that goes to the node; with gatewayBps and treasuryBps it adds up to
        /// 10,000.
        uint16 nodeBps;
        uint16 gatewayBps;
        uint16 treasuryBps;
        /// @dev bps for a node that stakes shareStake; the fees of gateway and treasury shrink in
        /// proportion. Equal to nodeBps where stake makes no difference.
        uint16 stakedBps;
        /// @dev pico; never covers debits; pays rewards and penalties.
        uint96 minBond;
        /// @dev pico; stake of a demand for one leaf.
        uint96 leafFee;
        /// @dev pico; stake of a demand for all leaves, per leaf.
        uint96 openFee;
        /// @dev units of the stake token at which a node has stakedBps.
        uint128 shareStake;
        /// @dev account of the treasury in the Vault; takes fees, penalties and swept pools.
        address treasury;
    }

    struct Gateway {
        /// @dev pico; pays refunds, rewards and penalties.
        uint96 bond;
        /// @dev pico; debits that can still be voided.
        uint96 unfinal;
        /// @dev count of batches posted = number of the next batch.
        uint64 batches;
        /// @dev pico; debited, not yet credited (gross).
        uint96 pool;
        /// @dev pico; fees of gateway and treasury, not yet split.
        uint96 fees;
        /// @dev number of the oldest batch in `unfinal`.
        uint64 oldest;
        /// @dev 0, or the time from which the bond may be taken; from the announcement on no debits
        /// are accepted.
        uint40 exitAt;
        /// @dev count of lanes ever opened = highest lane number; links likewise.
        uint32 lanes;
        uint32 links;
        bool jailed;
    }

    struct Lane {
        /// @dev pico; what the gateway may still debit.
        uint96 locked;
        /// @dev pico; running total of all debits.
        uint96 spent;
        /// @dev laneSeq of the next ticket to be posted.
        uint64 seq;
        address owner;
        /// @dev 0, or the time from which the owner may close the lane.
        uint40 closeAt;
        /// @dev 0: an API-key lane; else debits need vouchers by this signer.
        address voucherSigner;
    }

    struct Cap {
        /// @dev 0: not registered.
        LaneId lane;
        /// @dev no pulls, and no tickets dated, after this.
        uint40 endsAt;
        /// @dev pico; of the cap's maxSpend.
        uint96 pulled;
        uint64 nonce;
    }

    struct Link {
        /// @dev pico; running total of all credits, gross.
        uint88 cum;
        /// @dev pico; the part of cum that was credited in `epoch`, and in the epoch before it.
        uint64 cur;
        uint64 prev;
        /// @dev number of the hold period of the last credit: time / hold.
        uint32 epoch;
        /// @dev bps of further credits that go to the node.
        uint16 shareBps;
        address node;
        /// @dev pico; paid to the node, less what changes of share have shifted (may be negative).
        int96 taken;
    }

    struct Batch {
        /// @dev pico; debits of the batch that were not voided.
        uint96 total;
        /// @dev time of posting; 0: no such batch.
        uint40 postedAt;
        /// @dev count of debits.
        uint32 entries;
        /// @dev Merkle root of the entries' hashes in order; 0 for a batch of credits only.
        bytes32 root;
    }

    event Deposited(address indexed account, address indexed payer, uint256 pico);
    event Withdrawn(address indexed account, uint256 pico);
    event Given(address indexed from, address indexed to, uint96 pico);
    event Allowed(address indexed owner, address indexed spender, uint96 pico);
    event Paused(uint40 until);
    event BondAdded(address indexed gateway, address indexed payer, uint96 pico);
    event PoolAdded(address indexed gateway, uint96 pico);
    event ExitAnnounced(address indexed gateway, uint40 exitAt);
    event Exited(address indexed gateway, uint96 pico);
    event FeesCollected(address indexed gateway, uint96 toGateway, uint96 toTreasury);
    event Swept(address indexed gateway, uint96 pico);
    event LaneOpened(
        address indexed gateway,
        LaneId indexed lane,
        address indexed requester,
        address voucherSigner
    );
    event CapRegistered(
        address indexed gateway, LaneId indexed lane, bytes32 indexed cap, uint40 endsAt
    );
    event Pulled(address indexed gateway, LaneId indexed lane, bytes32 indexed cap, uint96 pico);
    event CapRevoked(
        address indexed gateway, address indexed requester, bytes32 indexed cap, uint64 nonce
    );
    event LaneClosing(address indexed gateway, LaneId indexed lane, uint40 closeAt);
    event LaneClosed(address indexed gateway, LaneId indexed lane, uint96 pico);
    event LinkOpened(
        address indexed gateway, LinkId indexed link, address indexed node, uint16 shareBps
    );
    event ShareChanged(address indexed gateway, LinkId indexed link, uint16 shareBps);
    event Settled(
        address indexed gateway,
        uint64 indexed number,
        bytes32 root,
        uint96 debited,
        uint96 credited
    );
    event Retired(address indexed gateway, uint64 oldest, uint96 unfinal);
    event Claimed(address indexed gateway, LinkId indexed link, address indexed node, uint256 pico);
    event Redeemed(address indexed gateway, LinkId indexed link, uint96 fromPool, uint96 fromBond);
    event EntryVoided(
        address indexed gateway, uint64 indexed number, LaneId indexed lane, uint96 refund
    );
    event Jailed(address indexed gateway, uint96 penalty, uint96 reward);

    /// @notice A parameter of the constructor contradicts another, or the token has not 6 decimals.
    error BadProfile();
    error NotGuardian();
    error NotCourt();
    error PausedUntil(uint40 time);
    /// @notice A pause may last notice / 2, and the next one start a notice period after the last
    /// one's end.
    error BadPause();
    error InsufficientFunds(address account);
    error InsufficientAllowance(address owner);
    error BadSignature();
    error NotGateway();
    error NotRequester();
    error NotExiting();
    error GatewayExiting();
    error TooEarly(uint256 from);
    error CapUnknown();
    error CapKnown();
    /// @notice Past the cap's deadline, or revoked, or replaced by a cap with a higher nonce.
    error CapEnded();
    error CapExceeded();
    error ModelsUnsupported();
    error LaneUnknown();
    error LaneEnding();
    /// @notice The pull would lock more than the cap's maxLocked.
    error LaneFull();
    error LaneOverdrawn(LaneId lane);
    error VoucherSignerDiffers();
    error LinkUnknown();
    error LinkKnown();
    error NotActive(address account);
    error WrongNumber(uint64 expected);
    error BadCount();
    error TotalFell(LaneId lane);
    error PoolOverdrawn();
    /// @notice The bond is smaller than minBond plus all debits that can still be voided.
    error NotCovered();

    // ---- accounts ----

    /// @notice Pays `base` units of the token, taken from the caller, into the free account of
    /// `to`.
    function deposit(address to, uint64 base) external;

    /// @notice Pays `base` units out of the caller's free account, at once. Works while paused.
    function withdraw(uint64 base) external;

    /// @notice Moves free money of the caller to another account of the Vault.
    function give(address to, uint96 pico) external;

    /// @notice Lets `spender` take up to `pico` of the caller's free money; type(uint96).max is
    /// without limit. Replaces the allowance that was there. A challenger allows the Court to take
    /// the stakes of its demands.
    function allow(address spender, uint96 pico) external;

    /// @notice Moves free money of `from` to the caller, within the allowance.
    function take(address from, uint96 pico) external;

    // ---- guardian ----

    /// @notice Stops `settle`, `pull` and `openLane` for `time` seconds, at most notice / 2, so
    /// that a pause always ends before a closing lane does. Not again before a notice period has
    /// passed after its end.
    function pause(uint40 time) external;

    /// @notice Ends a pause early.
    function unpause() external;

    // ---- gateways ----

    /// @notice Adds free money of the caller to the bond of `gateway`.
    function addBond(address gateway, uint96 pico) external;

    /// @notice Adds free money of the calling gateway to its own pool: for promotions and jobs
    /// posted too late.
    function addPool(uint96 pico) external;

    /// @notice No more debits from now on; the bond is free after `exit` seconds. Credits go on.
    /// There is no way back.
    function announceExit() external;

    /// @notice Moves the caller's bond to its free account.
    function exit() external;

    /// @notice Splits the fees of `gateway` between it and the treasury. Anyone may call.
    function collectFees(address gateway) external;

    /// @notice Moves what is left in the pool of a gone gateway to the treasury, one exit period
    /// after its bond was free. Anyone may call.
    function sweep(address gateway) external;

    // ---- lanes ----

    /// @notice Registers a cap, called by its gateway: opens the requester's lane if there is none,
    /// or adds the cap to it, and pulls `pico` at once (0: nothing). The signature is checked here
    /// and never again, so that a contract wallet (ERC-1271) which changes its owner later takes
    /// nothing back.
    /// @return lane the lane that the cap belongs to for ever, even after that lane was closed.
    function openLane(SpendingCap calldata cap, bytes calldata signature, uint96 pico)
        external
        returns (LaneId lane);

    /// @notice Moves `pico` of the requester's free money into its lane, called by the cap's
    /// gateway.
    function pull(SpendingCap calldata cap, uint96 pico) external;

    /// @notice Ends a cap, called by its requester: no pulls from now on, and no tickets dated
    /// after now + grace. Caps for the same gateway with the same or a lower nonce, registered or
    /// not, pull nothing any more either.
    function revoke(SpendingCap calldata cap) external;

    /// @notice Announces the end of the caller's lane at `gateway`: no pulls from now on, `close`
    /// after the notice.
    function announceClose(address gateway) external;

    /// @notice Moves what is left in the caller's lane to its free account. The number of the lane
    /// is dead then.
    function close(address gateway) external;

    // ---- links ----

    /// @notice Opens the calling node's link to `gateway`. Both must be active in the
    /// StakeRegistry, where the Vault has one.
    function openLink(address gateway) external returns (LinkId link);

    /// @notice Fits the share of a link to the node's stake of now; anyone may call. What was
    /// credited before keeps the share of its time, to the pico-unit, rounded against the node.
    /// After a step down, the difference on credits still in hold matures at once.
    function updateShare(address gateway, address node) external;

    // ---- settlement ----

    /// @notice Posts a batch, called by a gateway.
    /// @param number the count of the gateway's batches so far; the same batch sent again reverts.
    /// @param debits two words each: lane u32 << 128 | count u32 << 96 | spent u96, and the hash of
    /// the sum tree of the lane's next `count` tickets, 1 to 4,096. `spent` is the lane's new
    /// total.
    /// @param credits a word each: link u32 << 96 | cum u96, the link's new gross total. A total at
    /// or under the one on chain moves nothing.
    function settle(uint64 number, uint256[2][] calldata debits, uint256[] calldata credits)
        external;

    /// @notice Takes up to `max` batches that can no longer be voided out of a gateway's `unfinal`.
    /// Each `settle` does so for 8; this is for the creditors of a gateway that settles no more.
    /// Anyone may call.
    function retire(address gateway, uint64 max) external;

    // ---- nodes ----

    /// @notice Pays the calling node what has matured on its link, in whole base units. Works while
    /// paused.
    function claim(address gateway) external returns (uint256 base);

    /// @notice Enforces an Ack after its payBy: credits the node what is missing to `cum`, from the
    /// gateway's pool, then from its bond above the cover of debits. Pays in part when these do not
    /// suffice, and may be repeated. Anyone may call. Nothing missing is no error.
    function redeem(Ack calldata ack, bytes calldata signature) external returns (uint96 paid);

    // ---- Court only ----

    /// @notice Refunds `refund` pico of batch `number` to the owner of `lane` from the gateway's
    /// bond, and jails the gateway: no more debits, exit announced, and once, minBond (or what the
    /// bond has above its cover) taken: 40 % to `challenger`, the rest to the treasury. A refund of
    /// 0 only jails.
    function voidEntry(
        address gateway,
        uint64 number,
        LaneId lane,
        uint96 refund,
        address challenger
    ) external returns (uint96 reward);

    // ---- views ----

    function token() external view returns (IERC20);
    function court() external view returns (address);
    function guardian() external view returns (address);
    function registry() external view returns (IStakeRegistry);
    function profile() external view returns (Profile memory);

    /// @notice EIP-712 domain separator of every signed object of the market.
    function domainSeparator() external view returns (bytes32);

    function pausedUntil() external view returns (uint40);

    /// @notice pico; withdrawable money of an account.
    function free(address account) external view returns (uint96);

    function allowance(address owner, address spender) external view returns (uint96);

    function gatewayOf(address account) external view returns (Gateway memory);
    function laneAt(address gateway, LaneId id) external view returns (Lane memory);

    /// @notice The open lane of a requester at a gateway; 0: none.
    function laneOf(address gateway, address requester) external view returns (LaneId);

    /// @param hash EIP-712 struct hash of the SpendingCap.
    function capOf(bytes32 hash) external view returns (Cap memory);

    /// @notice Caps of the requester for the gateway with a lower nonce than this can pull nothing.
    function minNonce(address requester, address gateway) external view returns (uint128);

    function linkAt(address gateway, LinkId id) external view returns (Link memory);

    /// @notice The link of a node to a gateway; 0: none.
    function linkOf(address gateway, address node) external view returns (LinkId);

    function batchAt(address gateway, uint64 number) external view returns (Batch memory);

    /// @notice pico, gross; the part of a link's total that is out of hold.
    function matured(address gateway, LinkId id) external view returns (uint256);

    /// @notice pico, net; what `claim` would pay, before rounding down to base units.
    function claimable(address gateway, LinkId id) external view returns (uint256);
}
