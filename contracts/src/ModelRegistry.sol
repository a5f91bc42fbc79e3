// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";

/// @notice Registered and official models: the manual is IModelRegistry.
contract ModelRegistry is IModelRegistry, Ownable2Step {
    // ---- types and constants ----

    uint256 private constant MAX_NAME = 128;
    uint256 private constant MAX_URI = 256;

    // ---- storage ----

    mapping(bytes32 digest => Model) private _models;
    bytes32[] private _digests;

    // ---- constructor ----

    constructor(address curator) Ownable(curator) {}

    // ---- models ----

    /// @inheritdoc IModelRegistry
    function register(
        bytes32 digest,
        string calldata name,
        string calldata uri,
        bytes32 weightsRoot
    ) external {
        if (digest == 0) revert ZeroDigest();
        if (_models[digest].publisher != address(0)) revert AlreadyRegistered();
        if (bytes(name).length > MAX_NAME || bytes(uri).length > MAX_URI) revert TextTooLong();
        _models[digest] = Model(msg.sender, uint40(block.timestamp), false, weightsRoot, name, uri);
        _digests.push(digest);
        emit ModelRegistered(digest, msg.sender, name, uri, weightsRoot);
    }

    /// @inheritdoc IModelRegistry
    function setUri(bytes32 digest, string calldata uri) external {
        Model storage m = _registered(digest);
        if (msg.sender != m.publisher && msg.sender != owner()) revert NotPublisher();
        if (bytes(uri).length > MAX_URI) revert TextTooLong();
        m.uri = uri;
        emit ModelMoved(digest, uri);
    }

    /// @inheritdoc IModelRegistry
    function setOfficial(bytes32 digest, bool official, bytes32 weightsRoot) external onlyOwner {
        Model storage m = _registered(digest);
        m.official = official;
        m.weightsRoot = weightsRoot;
        emit OfficialChanged(digest, official, weightsRoot);
    }

    // ---- views ----

    /// @inheritdoc IModelRegistry
    function count() external view returns (uint256) {
        return _digests.length;
    }

    /// @inheritdoc IModelRegistry
    function digestAt(uint256 index) external view returns (bytes32) {
        return _digests[index];
    }

    /// @inheritdoc IModelRegistry
    function model(bytes32 digest) external view returns (Model memory) {
        return _models[digest];
    }

    /// @inheritdoc IModelRegistry
    function isOfficial(bytes32 digest) external view returns (bool) {
        return _models[digest].official;
    }

    // ---- private ----

    function _registered(bytes32 digest) private view returns (Model storage m) {
        m = _models[digest];
        if (m.publisher == address(0)) revert NotRegistered();
    }
}
