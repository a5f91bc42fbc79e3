// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Which models there are.
/// @notice A model is its manifest, named by the manifest's SHA-256 digest. Anyone may register a
/// digest, once; the curator keeps the list of official models.
///
/// Warnings:
/// - Name, URI and weights root of a model that is not official are its publisher's claim: the
///   first to register a digest need not be its author. Whoever has the manifest can check all
///   three against the digest.
/// - A contract that adjudicates by the weights root must require that the model is official.
interface IModelRegistry {
    struct Model {
        /// @dev who registered it; 0: unknown model.
        address publisher;
        /// @dev time of registration.
        uint40 registeredAt;
        bool official;
        /// @dev Merkle root of the weights for engine class exact/1; 0: none.
        bytes32 weightsRoot;
        /// @dev at most 128 bytes.
        string name;
        /// @dev where the manifest is found; at most 256 bytes.
        string uri;
    }

    event ModelRegistered(
        bytes32 indexed digest,
        address indexed publisher,
        string name,
        string uri,
        bytes32 weightsRoot
    );
    event ModelMoved(bytes32 indexed digest, string uri);
    event OfficialChanged(bytes32 indexed digest, bool official, bytes32 weightsRoot);

    error ZeroDigest();
    error AlreadyRegistered();
    error NotRegistered();
    error NotPublisher();
    error TextTooLong();

    /// @notice Registers a manifest.
    /// @param digest SHA-256 of the canonical manifest; not 0.
    function register(
        bytes32 digest,
        string calldata name,
        string calldata uri,
        bytes32 weightsRoot
    ) external;

    /// @notice Replaces the URI. Publisher, or curator (owner).
    function setUri(bytes32 digest, string calldata uri) external;

    /// @notice Puts a model on the official list or takes it off, and states its weights root,
    /// whatever the publisher had claimed. Curator (owner) only.
    function setOfficial(bytes32 digest, bool official, bytes32 weightsRoot) external;

    /// @notice count of registered models.
    function count() external view returns (uint256);

    /// @notice Digest of the model registered as number `index`, from 0.
    function digestAt(uint256 index) external view returns (bytes32);

    function model(bytes32 digest) external view returns (Model memory);
    function isOfficial(bytes32 digest) external view returns (bool);
}
