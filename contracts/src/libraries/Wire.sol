// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice Number of a lane: counted from 1 per gateway, never used twice.
type LaneId is uint32;

/// @notice Number of a link: counted from 1 per gateway, never used twice.
type LinkId is uint32;

/// @notice What a requester signs once per gateway: how much the gateway may pull, and at which
/// prices it may sell.
struct SpendingCap {
    address requester;
    address gateway;
    uint128 maxSpend;
    uint128 maxLocked;
    uint128 maxPriceIn;
    uint128 maxPriceOut;
    bytes32 models;
    address voucherSigner;
    uint64 nonce;
    uint64 deadline;
}

/// @notice A ticket: one segment of one job, at one place of one lane and one link.
struct Terms {
    bytes32 jobId;
    uint32 segment;
    address requester;
    address gateway;
    address node;
    bytes32 cap;
    uint64 laneSeq;
    uint64 linkSeq;
    bytes32 model;
    bytes32 request;
    bytes32 sampling;
    uint64 maxIn;
    uint64 maxOut;
    uint128 priceIn;
    uint128 priceCached;
    uint128 priceOut;
    uint8 tier;
    uint64 issuedAt;
    uint64 deadline;
}

/// @notice The node's statement of what a ticket took, gave and cost.
struct Receipt {
    bytes32 terms;
    uint64 inTokens;
    uint64 cachedTokens;
    uint64 outTokens;
    bytes32 output;
    uint8 finish;
    uint64 firstMs;
    uint64 lastMs;
    uint128 amount;
}

/// @notice One signature over many tickets (kind 1, by the gateway) or receipts (kind 2, by the
/// node).
struct Checkpoint {
    uint8 kind;
    address signer;
    address peer;
    uint64 number;
    uint64 first;
    uint32 count;
    bytes32 root;
}

/// @notice The gateway's promise that the link's total will be `cum` on chain by `payBy`.
struct Ack {
    address gateway;
    address node;
    uint64 upTo;
    uint128 cum;
    uint64 payBy;
}

/// @notice The requester's running total for one lane, where its cap names a voucher signer.
struct Voucher {
    address requester;
    address gateway;
    LaneId lane;
    uint128 cum;
}

/// @notice One debit of a batch: `count` tickets of a lane from `first` on cost `spent - before`;
/// `tree` is the hash of their sum tree.
struct Entry {
    LaneId lane;
    uint32 count;
    uint64 first;
    uint96 before;
    uint96 spent;
    bytes32 tree;
}

/// @notice The signed and hashed objects. Field order is the order of the EIP-712 types. Amounts
/// are pico-units of the payment token, prices pico-units per token of text, times seconds unless
/// named `Ms`.
library Wire {
    bytes32 internal constant SPENDING_CAP = keccak256(
        "SpendingCap(address requester,address gateway,uint128 maxSpend,uint128 maxLocked,uint128 maxPriceIn,uint128 maxPriceOut,bytes32 models,address voucherSigner,uint64 nonce,uint64 deadline)"
    );
    bytes32 internal constant TERMS = keccak256(
        "Terms(bytes32 jobId,uint32 segment,address requester,address gateway,address node,bytes32 cap,uint64 laneSeq,uint64 linkSeq,bytes32 model,bytes32 request,bytes32 sampling,uint64 maxIn,uint64 maxOut,uint128 priceIn,uint128 priceCached,uint128 priceOut,uint8 tier,uint64 issuedAt,uint64 deadline)"
    );
    bytes32 internal constant RECEIPT = keccak256(
        "Receipt(bytes32 terms,uint64 inTokens,uint64 cachedTokens,uint64 outTokens,bytes32 output,uint8 finish,uint64 firstMs,uint64 lastMs,uint128 amount)"
    );
    bytes32 internal constant CHECKPOINT = keccak256(
        "Checkpoint(uint8 kind,address signer,address peer,uint64 number,uint64 first,uint32 count,bytes32 root)"
    );
    bytes32 internal constant ACK =
        keccak256("Ack(address gateway,address node,uint64 upTo,uint128 cum,uint64 payBy)");
    bytes32 internal constant VOUCHER =
        keccak256("Voucher(address requester,address gateway,uint32 lane,uint128 cum)");
    bytes32 private constant DOMAIN = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );

    /// @notice Checkpoint kinds.
    uint8 internal constant KIND_TICKETS = 1;
    uint8 internal constant KIND_RECEIPTS = 2;

    /// @notice The path does not fit the place it is for.
    error BadPath();

    function hash(SpendingCap calldata x) internal pure returns (bytes32) {
        return keccak256(abi.encode(SPENDING_CAP, x));
    }

    function hash(Terms calldata x) internal pure returns (bytes32) {
        return keccak256(abi.encode(TERMS, x));
    }

    function hash(Receipt calldata x) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT, x));
    }

    function hash(Checkpoint calldata x) internal pure returns (bytes32) {
        return keccak256(abi.encode(CHECKPOINT, x));
    }

    function hash(Ack calldata x) internal pure returns (bytes32) {
        return keccak256(abi.encode(ACK, x));
    }

    function hash(Voucher calldata x) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER, x));
    }

    /// @notice The domain of every signature of the market: `vault` is the verifying contract for
    /// all of them.
    function domain(address vault) internal view returns (bytes32) {
        return
            keccak256(abi.encode(DOMAIN, keccak256("Assay"), keccak256("1"), block.chainid, vault));
    }

    /// @notice True when `signer`'s key, and not merely a contract on its behalf, signed `digest`.
    function isSignedBy(address signer, bytes32 digest, bytes calldata signature)
        internal
        pure
        returns (bool)
    {
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, signature);
        return err == ECDSA.RecoverError.NoError && recovered == signer;
    }

    /// @notice Root of the checkpoint tree that holds `node` at place `index` of `count`. Leaves
    /// are struct hashes, inner nodes keccak256(0x01 || left || right); the last node of an odd
    /// level moves up unhashed.
    function checkpointRoot(bytes32 node, uint256 index, uint256 count, bytes32[] calldata path)
        internal
        pure
        returns (bytes32)
    {
        if (index >= count) revert BadPath();
        uint256 used;
        for (; count > 1; count = (count + 1) >> 1) {
            bool right = index & 1 == 1;
            if (right || index + 1 < count) {
                if (used == path.length) revert BadPath();
                bytes32 other = path[used++];
                node = right
                    ? keccak256(abi.encodePacked(uint8(1), other, node))
                    : keccak256(abi.encodePacked(uint8(1), node, other));
            }
            index >>= 1;
        }
        if (used != path.length) revert BadPath();
        return node;
    }

    /// @notice The most a receipt may charge: cached input at its own price, the rest of the input
    /// at the full one. The caller has checked `cachedTokens <= inTokens`.
    function cost(Terms calldata t, Receipt calldata r) internal pure returns (uint256) {
        return uint256(r.inTokens - r.cachedTokens) * t.priceIn + uint256(r.cachedTokens)
            * t.priceCached + uint256(r.outTokens) * t.priceOut;
    }
}
