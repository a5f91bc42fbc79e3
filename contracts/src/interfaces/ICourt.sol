// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IVault} from "./IVault.sol";
import {SumTree} from "../libraries/SumTree.sol";
import {Checkpoint, Entry, Receipt, SpendingCap, Terms, Voucher} from "../libraries/Wire.sol";

/// @title The challenges of posted batches.
/// @notice One game: a challenger names a place (batch, entry, leaf) and posts no evidence; the
/// gateway, or anyone for it, justifies that leaf or publishes all leaves, in time. Silence is
/// guilt: the whole entry is refunded from the gateway's bond. Position is identity (leaf i of an
/// entry is the ticket with laneSeq = first + i), so a receipt that was posted twice, or for
/// another lane, has no place where it can be justified.
///
/// Signatures carry the Vault's EIP-712 domain, not one of the Court. Amounts are pico-units, times
/// seconds.
///
/// Assumptions:
/// - The Vault named at construction names this Court; the constructor refuses any other.
/// - A transaction of the gateway gets on chain within `answer`. Where a sequencer could hold it
///   back longer, the profile must say so.
///
/// Warnings:
/// - A leaf that a linked node signed is justified, even where nobody asked for the job: API-key
///   lanes trust their gateway up to what they hold. Lanes with a voucher signer do not.
/// - Whoever demands must have free money in the Vault and an allowance for the Court there.
/// - A refund is possible until `answer` after the demand's deadline and not later: then the cover
///   may be gone.
interface ICourt {
    struct Demand {
        address gateway;
        /// @dev answers count up to this time; after it, for `answer` more seconds, the entry can
        /// be voided.
        uint40 deadline;
        /// @dev one leaf: its index. All leaves: how many were published so far.
        uint32 place;
        /// @dev all leaves.
        bool opening;
        bool closed;
        /// @dev pico; to the gateway when answered, back to the challenger when not.
        uint96 stake;
        address challenger;
        /// @dev hash of gateway, batch number and entry.
        bytes32 entry;
    }

    /// @notice What justifies a leaf. For a leaf of amount 0 (a ticket that was not used) only
    /// `path` counts.
    struct Proof {
        /// @dev from the leaf to the root of the entry's sum tree; empty nodes left out.
        SumTree.Node[] path;
        Receipt receipt;
        Terms terms;
        SpendingCap cap;
        /// @dev of kind 2, signed by the node, holding the receipt at `position` (index within the
        /// checkpoint).
        Checkpoint checkpoint;
        bytes signature;
        uint32 position;
        bytes32[] receiptPath;
        /// @dev only for lanes with a voucher signer.
        Voucher voucher;
        bytes voucherSignature;
    }

    /// @notice The next 2^level leaves of an entry, or the rest of it if fewer.
    struct Chunk {
        uint256 level;
        /// @dev of the leaves; the receipt hash of a ticket that was not used is 0.
        uint96[] amounts;
        bytes32[] receipts;
        /// @dev from the chunk's node to the root of the sum tree; empty nodes left out.
        SumTree.Node[] path;
    }

    event Demanded(
        uint256 indexed id,
        address indexed gateway,
        uint64 indexed number,
        address challenger,
        Entry entry,
        uint32 index,
        bool opening,
        uint40 deadline
    );
    event Opened(uint256 indexed id, uint32 from, uint96[] amounts, bytes32[] receipts);
    event Answered(uint256 indexed id);
    event Voided(
        uint256 indexed id,
        address indexed gateway,
        uint64 indexed number,
        uint96 refund,
        uint96 reward
    );
    event Equivocated(
        address indexed gateway, address indexed peer, uint64 number, address challenger
    );

    error WrongVault();
    error UnknownBatch();
    error WindowOver();
    error NotInBatch();
    error BadIndex();
    error AlreadyVoided();
    error UnknownDemand();
    error DemandClosed();
    error WrongEntry();
    error WrongKind();
    error TooEarly();
    error TooLate();
    error BadChunk();
    /// @notice The leaves do not lead to the entry's tree, or do not add up to its debit.
    error WrongTree();
    error BadReceipt();
    error BadNode();
    error BadCheckpoint();
    error BadSignature();
    error BadTerms();
    error BadPrice();
    error BadVoucher();
    error NotEquivocal();
    error AlreadyJailed();

    /// @notice Demands that a gateway justify leaf `index` of an entry or, if `opening`, publish
    /// all its leaves. Takes the stake from the caller's free money in the Vault.
    /// @param path of the entry's hash to the batch root (sorted pairs; an odd node moves up).
    /// @param index of the leaf within the entry; 0 if `opening`.
    /// @return id counted from 0.
    function demand(
        address gateway,
        uint64 number,
        Entry calldata entry,
        bytes32[] calldata path,
        uint32 index,
        bool opening
    ) external returns (uint256 id);

    /// @notice Answers a demand for one leaf. Anyone may call; the stake goes to the gateway. The
    /// receipt must be signed by a node linked to the gateway, be of the ticket with this place of
    /// this lane under a cap registered for it, cost no more than its tokens under the ticket's
    /// prices, and these no more than the cap's.
    function prove(
        uint256 id,
        uint64 number,
        Entry calldata entry,
        uint96 amount,
        Proof calldata proof
    ) external;

    /// @notice Answers a demand for all leaves, or a part of it. Chunks come in order, each
    /// starting at a multiple of its size; the last one closes the demand. Anyone may call; the
    /// stake goes to the gateway.
    function open(uint256 id, uint64 number, Entry calldata entry, Chunk calldata chunk) external;

    /// @notice Ends a demand that was not answered in time: the entry's debit goes back to the
    /// lane's owner, the stake to the challenger, and the gateway is jailed. Anyone may call. A
    /// second demand on the same entry gives back its stake and moves nothing else.
    function void(uint256 id, uint64 number, Entry calldata entry) external;

    /// @notice Jails a gateway that signed two different ticket checkpoints with one number for one
    /// node. The reward goes to the caller.
    function equivocation(
        Checkpoint calldata a,
        bytes calldata signatureA,
        Checkpoint calldata b,
        bytes calldata signatureB
    ) external;

    function vault() external view returns (IVault);
    function demandCount() external view returns (uint256);
    function demandAt(uint256 id) external view returns (Demand memory);

    /// @notice True when the entry was refunded.
    function isVoided(address gateway, uint64 number, Entry calldata entry)
        external
        view
        returns (bool);
}
