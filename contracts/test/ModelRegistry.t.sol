// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ModelRegistry} from "../src/ModelRegistry.sol";
import {IModelRegistry} from "../src/interfaces/IModelRegistry.sol";
import {Test} from "./Test.sol";

contract ModelRegistryTest is Test {
    ModelRegistry internal models;
    address internal curator = makeAddr("curator");
    address internal publisher = makeAddr("publisher");
    bytes32 internal constant DIGEST = keccak256("manifest");

    function setUp() public {
        models = new ModelRegistry(curator);
        vm.prank(publisher);
        models.register(DIGEST, "small-1", "https://example.org/small-1.json", "root");
    }

    function test_register() public {
        bytes32 digest = keccak256("another");
        vm.expectEmit(true, true, true, true);
        emit IModelRegistry.ModelRegistered(digest, address(this), "n", "u", "r");
        models.register(digest, "n", "u", "r");
        IModelRegistry.Model memory m = models.model(digest);
        assertEq(m.publisher, address(this), "publisher");
        assertEq(m.registeredAt, block.timestamp, "time");
        assertEq(m.name, "n", "name");
        assertEq(m.uri, "u", "uri");
        assertEq(m.weightsRoot, "r", "root");
        assertTrue(!m.official, "not official");
        assertEq(models.count(), 2, "count");
        assertEq(models.digestAt(0), DIGEST, "first");
        assertEq(models.digestAt(1), digest, "second");
    }

    function test_register_once() public {
        vm.expectRevert(IModelRegistry.AlreadyRegistered.selector);
        models.register(DIGEST, "other", "", 0);
        vm.expectRevert(IModelRegistry.ZeroDigest.selector);
        models.register(0, "other", "", 0);
    }

    function test_lengths() public {
        string memory s128 = string(new bytes(128));
        string memory s129 = string(new bytes(129));
        string memory s256 = string(new bytes(256));
        string memory s257 = string(new bytes(257));
        models.register("a", s128, s256, 0);
        vm.expectRevert(IModelRegistry.TextTooLong.selector);
        models.register("b", s129, "", 0);
        vm.expectRevert(IModelRegistry.TextTooLong.selector);
        models.register("b", "", s257, 0);
        vm.expectRevert(IModelRegistry.TextTooLong.selector);
        models.setUri("a", s257);
    }

    function test_setUri_by_publisher_or_curator() public {
        vm.expectEmit(true, true, true, true);
        emit IModelRegistry.ModelMoved(DIGEST, "ipfs://x");
        vm.prank(publisher);
        models.setUri(DIGEST, "ipfs://x");
        assertEq(models.model(DIGEST).uri, "ipfs://x", "publisher");
        vm.prank(curator);
        models.setUri(DIGEST, "ipfs://y");
        assertEq(models.model(DIGEST).uri, "ipfs://y", "curator");
        vm.expectRevert(IModelRegistry.NotPublisher.selector);
        models.setUri(DIGEST, "ipfs://z");
        vm.expectRevert(IModelRegistry.NotRegistered.selector);
        models.setUri("unknown", "ipfs://z");
    }

    function test_setOfficial_by_the_curator() public {
        vm.expectEmit(true, true, true, true);
        emit IModelRegistry.OfficialChanged(DIGEST, true, "true root");
        vm.prank(curator);
        models.setOfficial(DIGEST, true, "true root");
        assertTrue(models.isOfficial(DIGEST), "official");
        assertEq(models.model(DIGEST).weightsRoot, "true root", "corrected");
        vm.prank(curator);
        models.setOfficial(DIGEST, false, "true root");
        assertTrue(!models.isOfficial(DIGEST), "taken off");
        vm.expectRevert(IModelRegistry.NotRegistered.selector);
        vm.prank(curator);
        models.setOfficial("unknown", true, 0);
        vm.expectRevert(abi.encodeWithSignature("OwnableUnauthorizedAccount(address)", publisher));
        vm.prank(publisher);
        models.setOfficial(DIGEST, true, 0);
    }

    function test_curator_hands_over_in_two_steps() public {
        vm.prank(curator);
        models.transferOwnership(publisher);
        assertEq(models.owner(), curator, "not yet");
        vm.prank(publisher);
        models.acceptOwnership();
        assertEq(models.owner(), publisher, "accepted");
    }
}
