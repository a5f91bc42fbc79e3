// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ICourt} from "./interfaces/ICourt.sol";
import {IVault} from "./interfaces/IVault.sol";
import {SumTree} from "./libraries/SumTree.sol";
import {
    Checkpoint,
    Entry,
    LaneId,
    LinkId,
    Receipt,
    Terms,
    Voucher,
    Wire
} from "./libraries/Wire.sol";

/// @notice Demands, answers, refunds and equivocation: the manual is ICourt.
contract Court is ICourt {
    // ---- types and constants ----

    /// @dev The Vault posts no entry with more than 2^12 leaves.
    uint256 private constant MAX_LEVEL = 12;
    uint256 private constant MAX_CHECKPOINT = 256;

    // ---- immutables ----

    IVault public immutable vault;
    uint40 private immutable WINDOW;
    uint40 private immutable ANSWER;
    uint96 private immutable LEAF_FEE;
    uint96 private immutable OPEN_FEE;

    // ---- storage ----

    uint256 public demandCount;
    mapping(uint256 id => Demand) private _demands;
    mapping(bytes32 key => bool) private _voided;

    // ---- constructor ----

    constructor(IVault vault_) {
        if (vault_.court() != address(this)) revert WrongVault();
        IVault.Profile memory p = vault_.profile();
        vault = vault_;
        WINDOW = p.window;
        ANSWER = p.answer;
        LEAF_FEE = p.leafFee;
        OPEN_FEE = p.openFee;
    }

    // ---- demands ----

    /// @inheritdoc ICourt
    function demand(
        address gateway,
        uint64 number,
        Entry calldata entry,
        bytes32[] calldata path,
        uint32 index,
        bool opening
    ) external returns (uint256 id) {
        IVault.Batch memory b = vault.batchAt(gateway, number);
        if (b.postedAt == 0) revert UnknownBatch();
        if (block.timestamp > uint256(b.postedAt) + WINDOW) revert WindowOver();
        bytes32 h = keccak256(abi.encode(entry));
        if (!MerkleProof.verifyCalldata(path, b.root, h)) revert NotInBatch();
        if (index >= entry.count || (opening && index != 0)) revert BadIndex();
        bytes32 key = _key(gateway, number, h);
        if (_voided[key]) revert AlreadyVoided();
        uint96 stake = opening ? OPEN_FEE * uint96(entry.count) : LEAF_FEE;
        uint40 deadline = uint40(block.timestamp) + ANSWER;
        id = demandCount++;
        _demands[id] = Demand(gateway, deadline, index, opening, false, stake, msg.sender, key);
        vault.take(msg.sender, stake);
        emit Demanded(id, gateway, number, msg.sender, entry, index, opening, deadline);
    }

    /// @inheritdoc ICourt
    function prove(
        uint256 id,
        uint64 number,
        Entry calldata entry,
        uint96 amount,
        Proof calldata proof
    ) external {
        Demand storage d = _load(id, number, entry);
        if (d.opening) revert WrongKind();
        if (block.timestamp > d.deadline) revert TooLate();
        uint32 index = d.place;
        uint64 seq = entry.first + index;
        bytes32 receipt = amount == 0 ? bytes32(0) : Wire.hash(proof.receipt);
        _checkRoot(
            entry,
            SumTree.climb(SumTree.leaf(seq, amount, receipt), index, 0, entry.count, proof.path)
        );
        if (amount != 0) {
            _checkReceipt(d.gateway, amount, receipt, proof);
            _checkTerms(d.gateway, entry, seq, proof);
        }
        _answer(id, d);
    }

    /// @inheritdoc ICourt
    function open(uint256 id, uint64 number, Entry calldata entry, Chunk calldata chunk) external {
        Demand storage d = _load(id, number, entry);
        if (!d.opening) revert WrongKind();
        if (block.timestamp > d.deadline) revert TooLate();
        uint32 from = d.place;
        if (chunk.level > MAX_LEVEL || from & ((1 << chunk.level) - 1) != 0) revert BadChunk();
        uint256 rest = entry.count - from;
        uint256 size = 1 << chunk.level < rest ? 1 << chunk.level : rest;
        if (chunk.amounts.length != size) revert BadChunk();
        SumTree.Node memory node =
            SumTree.chunk(entry.first + from, chunk.level, chunk.amounts, chunk.receipts);
        _checkRoot(
            entry, SumTree.climb(node, from >> chunk.level, chunk.level, entry.count, chunk.path)
        );
        d.place = from + uint32(size);
        emit Opened(id, from, chunk.amounts, chunk.receipts);
        if (size == rest) _answer(id, d);
    }

    /// @inheritdoc ICourt
    function void(uint256 id, uint64 number, Entry calldata entry) external {
        Demand storage d = _load(id, number, entry);
        if (block.timestamp <= d.deadline) revert TooEarly();
        if (block.timestamp > uint256(d.deadline) + ANSWER) revert TooLate();
        d.closed = true;
        uint96 refund;
        uint96 reward;
        if (!_voided[d.entry]) {
            _voided[d.entry] = true;
            refund = entry.spent - entry.before;
            reward = vault.voidEntry(d.gateway, number, entry.lane, refund, d.challenger);
        }
        vault.give(d.challenger, d.stake);
        emit Voided(id, d.gateway, number, refund, reward);
    }

    // ---- equivocation ----

    /// @inheritdoc ICourt
    function equivocation(
        Checkpoint calldata a,
        bytes calldata signatureA,
        Checkpoint calldata b,
        bytes calldata signatureB
    ) external {
        bytes32 hashA = Wire.hash(a);
        bytes32 hashB = Wire.hash(b);
        if (
            a.kind != Wire.KIND_TICKETS || b.kind != Wire.KIND_TICKETS || a.signer != b.signer
                || a.peer != b.peer || a.number != b.number || hashA == hashB
        ) revert NotEquivocal();
        if (!_isSignedBy(a.signer, hashA, signatureA) || !_isSignedBy(a.signer, hashB, signatureB))
        {
            revert BadSignature();
        }
        if (vault.gatewayOf(a.signer).jailed) revert AlreadyJailed();
        vault.voidEntry(a.signer, 0, LaneId.wrap(0), 0, msg.sender);
        emit Equivocated(a.signer, a.peer, a.number, msg.sender);
    }

    // ---- views ----

    /// @inheritdoc ICourt
    function demandAt(uint256 id) external view returns (Demand memory) {
        return _demands[id];
    }

    /// @inheritdoc ICourt
    function isVoided(address gateway, uint64 number, Entry calldata entry)
        external
        view
        returns (bool)
    {
        return _voided[_key(gateway, number, keccak256(abi.encode(entry)))];
    }

    // ---- private ----

    function _key(address gateway, uint64 number, bytes32 entryHash)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(gateway, number, entryHash));
    }

    function _load(uint256 id, uint64 number, Entry calldata entry)
        private
        view
        returns (Demand storage d)
    {
        if (id >= demandCount) revert UnknownDemand();
        d = _demands[id];
        if (d.closed) revert DemandClosed();
        if (d.entry != _key(d.gateway, number, keccak256(abi.encode(entry)))) revert WrongEntry();
    }

    function _answer(uint256 id, Demand storage d) private {
        d.closed = true;
        vault.give(d.gateway, d.stake);
        emit Answered(id);
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(Wire.domain(address(vault)), structHash);
    }

    function _isSignedBy(address signer, bytes32 structHash, bytes calldata signature)
        private
        view
        returns (bool)
    {
        return Wire.isSignedBy(signer, _digest(structHash), signature);
    }

    function _checkRoot(Entry calldata entry, SumTree.Node memory root) private pure {
        if (root.hash != entry.tree || root.sum != entry.spent - entry.before) revert WrongTree();
    }

    function _checkReceipt(
        address gateway,
        uint96 amount,
        bytes32 receiptHash,
        Proof calldata proof
    ) private view {
        Receipt calldata r = proof.receipt;
        Terms calldata t = proof.terms;
        Checkpoint calldata c = proof.checkpoint;
        if (
            r.terms != Wire.hash(t) || r.amount != amount || r.cachedTokens > r.inTokens
                || r.inTokens > t.maxIn || r.outTokens > t.maxOut || r.amount > Wire.cost(t, r)
        ) revert BadReceipt();
        if (c.signer != t.node || LinkId.unwrap(vault.linkOf(gateway, t.node)) == 0) {
            revert BadNode();
        }
        if (
            c.kind != Wire.KIND_RECEIPTS || c.peer != gateway || c.count > MAX_CHECKPOINT
                || Wire.checkpointRoot(receiptHash, proof.position, c.count, proof.receiptPath)
                    != c.root
        ) revert BadCheckpoint();
        if (!_isSignedBy(t.node, Wire.hash(c), proof.signature)) revert BadSignature();
    }

    function _checkTerms(address gateway, Entry calldata entry, uint64 seq, Proof calldata proof)
        private
        view
    {
        Terms calldata t = proof.terms;
        IVault.Lane memory l = vault.laneAt(gateway, entry.lane);
        IVault.Cap memory c = vault.capOf(t.cap);
        if (
            t.gateway != gateway || t.requester != l.owner || t.laneSeq != seq
                || LaneId.unwrap(c.lane) != LaneId.unwrap(entry.lane) || t.issuedAt > c.endsAt
        ) revert BadTerms();
        if (
            Wire.hash(proof.cap) != t.cap || t.priceIn > proof.cap.maxPriceIn
                || t.priceCached > t.priceIn || t.priceOut > proof.cap.maxPriceOut
        ) revert BadPrice();
        if (l.voucherSigner == address(0)) return;
        Voucher calldata v = proof.voucher;
        if (
            v.requester != l.owner || v.gateway != gateway
                || LaneId.unwrap(v.lane) != LaneId.unwrap(entry.lane) || v.cum < entry.spent
                || !SignatureChecker.isValidSignatureNowCalldata(
                    l.voucherSigner, _digest(Wire.hash(v)), proof.voucherSignature
                )
        ) revert BadVoucher();
    }
}
