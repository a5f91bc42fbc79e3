// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Court} from "../src/Court.sol";
import {DevUSD} from "../src/DevUSD.sol";
import {Vault} from "../src/Vault.sol";
import {IStakeRegistry} from "../src/interfaces/IStakeRegistry.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {SumTree} from "../src/libraries/SumTree.sol";
import "../src/libraries/Wire.sol";
import {Test} from "./Test.sol";

/// The libraries, callable with calldata.
contract Libraries {
    function spendingCap(SpendingCap calldata x) external pure returns (bytes32) {
        return Wire.hash(x);
    }

    function terms(Terms calldata x) external pure returns (bytes32) {
        return Wire.hash(x);
    }

    function receipt(Receipt calldata x) external pure returns (bytes32) {
        return Wire.hash(x);
    }

    function checkpoint(Checkpoint calldata x) external pure returns (bytes32) {
        return Wire.hash(x);
    }

    function ack(Ack calldata x) external pure returns (bytes32) {
        return Wire.hash(x);
    }

    function voucher(Voucher calldata x) external pure returns (bytes32) {
        return Wire.hash(x);
    }

    function domain(address vault) external view returns (bytes32) {
        return Wire.domain(vault);
    }

    function isSignedBy(address signer, bytes32 digest, bytes calldata signature)
        external
        pure
        returns (bool)
    {
        return Wire.isSignedBy(signer, digest, signature);
    }

    function checkpointRoot(bytes32 node, uint256 index, uint256 count, bytes32[] calldata path)
        external
        pure
        returns (bytes32)
    {
        return Wire.checkpointRoot(node, index, count, path);
    }

    function climb(
        SumTree.Node calldata node,
        uint256 index,
        uint256 count,
        SumTree.Node[] calldata path
    ) external pure returns (SumTree.Node memory) {
        return SumTree.climb(node, index, 0, count, path);
    }
}

/// What tools/vectors.mjs computed on its own must be what the contracts compute and accept.
contract VectorsTest is Test {
    Libraries internal lib = new Libraries();
    string internal json;

    // ---- reading ----

    function key(string memory a, string memory b) internal pure returns (string memory) {
        return string.concat(a, ".", b);
    }

    function item(string memory a, uint256 i) internal pure returns (string memory) {
        return string.concat(a, "[", vm.toString(i), "]");
    }

    function has(string memory k) internal view returns (bool) {
        return vm.keyExistsJson(json, k);
    }

    function num(string memory a, string memory b) internal view returns (uint256) {
        return vm.parseJsonUint(json, key(a, b));
    }

    function word(string memory a, string memory b) internal view returns (bytes32) {
        return vm.parseJsonBytes32(json, key(a, b));
    }

    function account(string memory a, string memory b) internal view returns (address) {
        return vm.parseJsonAddress(json, key(a, b));
    }

    function text(string memory a, string memory b) internal view returns (string memory) {
        return vm.parseJsonString(json, key(a, b));
    }

    function data(string memory a, string memory b) internal view returns (bytes memory) {
        return vm.parseJsonBytes(json, key(a, b));
    }

    function readCap(string memory k) internal view returns (SpendingCap memory x) {
        x.requester = account(k, "requester");
        x.gateway = account(k, "gateway");
        x.maxSpend = uint128(num(k, "maxSpend"));
        x.maxLocked = uint128(num(k, "maxLocked"));
        x.maxPriceIn = uint128(num(k, "maxPriceIn"));
        x.maxPriceOut = uint128(num(k, "maxPriceOut"));
        x.models = word(k, "models");
        x.voucherSigner = account(k, "voucherSigner");
        x.nonce = uint64(num(k, "nonce"));
        x.deadline = uint64(num(k, "deadline"));
    }

    function readTerms(string memory k) internal view returns (Terms memory x) {
        x.jobId = word(k, "jobId");
        x.segment = uint32(num(k, "segment"));
        x.requester = account(k, "requester");
        x.gateway = account(k, "gateway");
        x.node = account(k, "node");
        x.cap = word(k, "cap");
        x.laneSeq = uint64(num(k, "laneSeq"));
        x.linkSeq = uint64(num(k, "linkSeq"));
        x.model = word(k, "model");
        x.request = word(k, "request");
        x.sampling = word(k, "sampling");
        x.maxIn = uint64(num(k, "maxIn"));
        x.maxOut = uint64(num(k, "maxOut"));
        x.priceIn = uint128(num(k, "priceIn"));
        x.priceCached = uint128(num(k, "priceCached"));
        x.priceOut = uint128(num(k, "priceOut"));
        x.tier = uint8(num(k, "tier"));
        x.issuedAt = uint64(num(k, "issuedAt"));
        x.deadline = uint64(num(k, "deadline"));
    }

    function readReceipt(string memory k) internal view returns (Receipt memory x) {
        x.terms = word(k, "terms");
        x.inTokens = uint64(num(k, "inTokens"));
        x.cachedTokens = uint64(num(k, "cachedTokens"));
        x.outTokens = uint64(num(k, "outTokens"));
        x.output = word(k, "output");
        x.finish = uint8(num(k, "finish"));
        x.firstMs = uint64(num(k, "firstMs"));
        x.lastMs = uint64(num(k, "lastMs"));
        x.amount = uint128(num(k, "amount"));
    }

    function structHash(string memory kind, string memory k) internal view returns (bytes32) {
        bytes32 t = keccak256(bytes(kind));
        if (t == keccak256("SpendingCap")) return lib.spendingCap(readCap(k));
        if (t == keccak256("Terms")) return lib.terms(readTerms(k));
        if (t == keccak256("Receipt")) return lib.receipt(readReceipt(k));
        if (t == keccak256("Checkpoint")) {
            return lib.checkpoint(
                Checkpoint({
                    kind: uint8(num(k, "kind")),
                    signer: account(k, "signer"),
                    peer: account(k, "peer"),
                    number: uint64(num(k, "number")),
                    first: uint64(num(k, "first")),
                    count: uint32(num(k, "count")),
                    root: word(k, "root")
                })
            );
        }
        if (t == keccak256("Ack")) {
            return lib.ack(
                Ack({
                    gateway: account(k, "gateway"),
                    node: account(k, "node"),
                    upTo: uint64(num(k, "upTo")),
                    cum: uint128(num(k, "cum")),
                    payBy: uint64(num(k, "payBy"))
                })
            );
        }
        assertEq(kind, "Voucher", "a type of the protocol");
        return lib.voucher(
            Voucher({
                requester: account(k, "requester"),
                gateway: account(k, "gateway"),
                lane: LaneId.wrap(uint32(num(k, "lane"))),
                cum: uint128(num(k, "cum"))
            })
        );
    }

    function typeHashOf(string memory kind) internal pure returns (bytes32) {
        bytes32 t = keccak256(bytes(kind));
        if (t == keccak256("SpendingCap")) return Wire.SPENDING_CAP;
        if (t == keccak256("Terms")) return Wire.TERMS;
        if (t == keccak256("Receipt")) return Wire.RECEIPT;
        if (t == keccak256("Checkpoint")) return Wire.CHECKPOINT;
        if (t == keccak256("Ack")) return Wire.ACK;
        assertEq(kind, "Voucher", "a type of the protocol");
        return Wire.VOUCHER;
    }

    // ---- tests ----

    function test_typedData() public {
        json = vm.readFile("vectors/eip712.json");
        uint256 n;
        for (; has(item(".types", n)); ++n) {
            string memory k = item(".types", n);
            assertEq(word(k, "typehash"), typeHashOf(text(k, "name")), "type hash");
            assertEq(
                word(k, "typehash"), keccak256(bytes(text(k, "string"))), "hash of the type string"
            );
        }
        assertEq(n, 6, "types");
        for (n = 0; has(item(".vectors", n)); ++n) {
            _checkTyped(item(".vectors", n));
        }
        assertEq(n, 24, "vectors");
    }

    function _checkTyped(string memory k) internal {
        string memory d = item(".domains", num(k, "domain"));
        vm.chainId(num(d, "chainId"));
        bytes32 separator = lib.domain(account(d, "verifyingContract"));
        assertEq(separator, word(d, "separator"), "domain separator");
        bytes32 h = structHash(text(k, "type"), key(k, "value"));
        assertEq(h, word(k, "structHash"), text(k, "type"));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", separator, h));
        assertEq(digest, word(k, "digest"), "digest");
        address signer = account(string.concat(".keys.", text(k, "signer")), "address");
        assertTrue(lib.isSignedBy(signer, digest, data(k, "signature")), "signature");
        assertTrue(
            !lib.isSignedBy(signer, digest ^ bytes32(uint256(1)), data(k, "signature")),
            "another digest"
        );
    }

    function test_sumTrees() public {
        json = vm.readFile("vectors/sumtree.json");
        uint256 n;
        uint256 paths;
        for (; has(item(".trees", n)); ++n) {
            string memory t = item(".trees", n);
            uint256 count = num(t, "count");
            for (uint256 j; has(item(key(t, "paths"), j)); ++j) {
                string memory p = item(key(t, "paths"), j);
                uint256 index = num(p, "index");
                string memory l = item(key(t, "leaves"), index);
                SumTree.Node memory leaf = SumTree.leaf(
                    uint64(num(l, "laneSeq")), uint96(num(l, "amount")), word(l, "receipt")
                );
                assertEq(leaf.hash, word(l, "hash"), "leaf");
                SumTree.Node memory root = lib.climb(leaf, index, count, readNodes(key(p, "path")));
                assertEq(root.hash, word(t, "root.hash"), "root");
                assertEq(root.sum, num(t, "root.sum"), "sum");
                ++paths;
            }
        }
        assertEq(n, 10, "trees");
        assertEq(paths, 45 + 7, "paths");
        SumTree.Node memory largest = SumTree.leaf(
            uint64(num(".largest", "laneSeq")),
            uint96(num(".largest", "amount")),
            word(".largest", "receipt")
        );
        assertEq(largest.hash, word(".largest", "root.hash"), "largest leaf");
    }

    function readNodes(string memory k) internal view returns (SumTree.Node[] memory nodes) {
        uint256 n;
        while (has(item(k, n))) ++n;
        nodes = new SumTree.Node[](n);
        for (uint256 i; i < n; ++i) {
            nodes[i] = SumTree.Node(word(item(k, i), "hash"), uint96(num(item(k, i), "sum")));
        }
    }

    function readWords(string memory k) internal view returns (bytes32[] memory words) {
        uint256 n;
        while (has(item(k, n))) ++n;
        words = new bytes32[](n);
        for (uint256 i; i < n; ++i) {
            words[i] = vm.parseJsonBytes32(json, item(k, i));
        }
    }

    function test_checkpointTrees() public {
        json = vm.readFile("vectors/checkpoint.json");
        uint256 n;
        for (; has(item(".trees", n)); ++n) {
            string memory t = item(".trees", n);
            for (uint256 j; has(item(key(t, "paths"), j)); ++j) {
                string memory p = item(key(t, "paths"), j);
                uint256 index = num(p, "index");
                bytes32 leaf = keccak256(bytes(string.concat("item ", vm.toString(index))));
                assertEq(leaf, word(p, "leaf"), "leaf");
                bytes32 root =
                    lib.checkpointRoot(leaf, index, num(t, "count"), readWords(key(p, "path")));
                assertEq(root, word(t, "root"), "root");
            }
        }
        assertEq(n, 12, "trees");
    }

    /// Signed caps, two batches, a demanded and justified leaf and an Ack: every call is accepted
    /// as it stands, and leaves what the file says.
    function test_batches() public {
        json = vm.readFile("vectors/batch.json");
        vm.chainId(num(".domain", "chainId"));
        vm.warp(vm.parseJsonUint(json, ".now"));
        (Vault vault, Court court) = placeMarket(account(".domain", "verifyingContract"));
        uint256 n;
        for (; has(item(".calls", n)); ++n) {
            string memory k = item(".calls", n);
            bool toVault = keccak256(bytes(text(k, "to"))) == keccak256("Vault");
            vm.prank(account(string.concat(".keys.", text(k, "from")), "address"));
            (bool ok,) = (toVault ? address(vault) : address(court)).call(data(k, "calldata"));
            assertTrue(ok, text(k, "function"));
        }
        assertEq(n, 10, "calls");
        address gw = account(".keys.gateway", "address");
        for (uint256 i; i < 2; ++i) {
            string memory b = item(".batches", i);
            assertEq(vault.batchAt(gw, uint64(i)).root, word(b, "root"), "batch root");
            for (uint256 j; has(item(key(b, "entries"), j)); ++j) {
                string memory e = item(key(b, "entries"), j);
                Entry memory entry = Entry({
                    lane: LaneId.wrap(uint32(num(e, "lane"))),
                    count: uint32(num(e, "count")),
                    first: uint64(num(e, "first")),
                    before: uint96(num(e, "before")),
                    spent: uint96(num(e, "spent")),
                    tree: word(e, "tree")
                });
                assertEq(keccak256(abi.encode(entry)), word(e, "hash"), "entry");
            }
        }
        assertTrue(court.demandAt(0).closed, "the leaf was justified");
        assertEq(vault.linkAt(gw, LinkId.wrap(2)).cum, num(".ack", "cum"), "the Ack was paid");
    }

    /// A market whose Vault has this address. Its code holds all that the constructor decided, so
    /// it can be moved.
    function placeMarket(address place) internal returns (Vault vault, Court court) {
        DevUSD usd = new DevUSD();
        IVault.Profile memory p = IVault.Profile({
            window: 1 days,
            answer: 4 hours,
            hold: 30 minutes,
            notice: 1 days,
            exit: 3 days,
            grace: 60,
            nodeBps: 9500,
            gatewayBps: 250,
            treasuryBps: 250,
            stakedBps: 9500,
            minBond: 1000e12,
            leafFee: 0.05e12,
            openFee: 0.0005e12,
            shareStake: 0,
            treasury: address(this)
        });
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        vm.etch(
            place, address(new Vault(usd, p, address(this), next, IStakeRegistry(address(0)))).code
        );
        vault = Vault(place);
        court = new Court(vault);
        usd.mint(address(this), 1e12);
        usd.approve(place, type(uint256).max);
        string[4] memory funded = ["requester0", "requester1", "requester2", "challenger"];
        for (uint256 i; i < funded.length; ++i) {
            vault.deposit(account(string.concat(".keys.", funded[i]), "address"), 1000e6);
        }
        address gw = account(".keys.gateway", "address");
        vault.deposit(address(this), 5000e6);
        vault.addBond(gw, 5000e12);
        vm.prank(account(".keys.challenger", "address"));
        vault.allow(address(court), type(uint96).max);
    }
}
