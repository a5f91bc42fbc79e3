// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Who takes part in the market, and with what stake.
/// @notice An account takes part in a role by registering for it; it may hold several roles, with a
/// stake for each. It is active while its stake is at least the minimum of the role and it is not
/// banned. To leave, it announces how much it takes out, waits for the unbonding period, and
/// withdraws; until withdrawn, the money can be slashed.
///
/// Amounts are units of the stake token (1e-18 ASSAY). Shares are in basis points.
///
/// Assumptions:
/// - The stake token moves exactly what it is told to, calls nobody back, and burns on `burn`.
/// - Slashers are contracts that decide by proof or vote. A slasher can take any stake and ban any
///   account, but can pay it out only by the fixed split.
///
/// Warnings:
/// - Raising a minimum suspends all who are below it at once; they keep their stake.
/// - Endpoint and public key are the account's own claim.
interface IStakeRegistry {
    enum Role {
        Node,
        Gateway,
        Validator
    }

    /// @notice How a slashed stake is split; adds up to 10,000. A share whose receiver is the zero
    /// address (there was no challenger, or nobody was harmed) is burned.
    struct Split {
        uint16 burnBps;
        uint16 challengerBps;
        uint16 harmedBps;
        uint16 treasuryBps;
    }

    struct Position {
        /// @dev counts towards the minimum.
        uint128 stake;
        /// @dev announced to leave; still slashable.
        uint128 unbonding;
        /// @dev time from which `unbonding` may be withdrawn; 0: nothing announced.
        uint40 unbondsAt;
        bool registered;
        bool banned;
        /// @dev X25519 public key for sealed jobs; 0: none.
        bytes32 x25519;
        /// @dev endpoint or metadata: a URL or text that clients understand, at most 256 bytes.
        string endpoint;
    }

    event Registered(Role indexed role, address indexed account, string endpoint, bytes32 x25519);
    event Updated(Role indexed role, address indexed account, string endpoint, bytes32 x25519);
    event Staked(Role indexed role, address indexed account, address indexed payer, uint128 amount);
    event UnbondAnnounced(
        Role indexed role, address indexed account, uint128 amount, uint40 unbondsAt
    );
    event Withdrawn(Role indexed role, address indexed account, uint128 amount);
    event Slashed(
        Role indexed role,
        address indexed account,
        bytes32 indexed reason,
        uint128 amount,
        address challenger,
        address harmed
    );
    event Banned(Role indexed role, address indexed account);
    event MinimumChanged(Role indexed role, uint128 amount);

    error BadSplit();
    error AlreadyRegistered();
    error NotRegistered();
    error IsBanned();
    /// @notice The stake would be below the minimum of the role.
    error BelowMinimum(uint128 needed);
    error EndpointTooLong();
    error NothingAnnounced();
    error InsufficientStake();
    error TooEarly(uint40 from);

    /// @notice Registers the caller for a role, with `amount` taken from it, at least the role's
    /// minimum.
    /// @param x25519 public key for sealed jobs, or 0.
    function register(Role role, uint128 amount, string calldata endpoint, bytes32 x25519) external;

    /// @notice Replaces the caller's endpoint and key.
    function update(Role role, string calldata endpoint, bytes32 x25519) external;

    /// @notice Adds `amount`, taken from the caller, to the stake of a registered account.
    function topUp(Role role, address account, uint128 amount) external;

    /// @notice Announces that the caller takes `amount` out of its stake. A second announcement
    /// adds to the first and starts the unbonding period anew for the whole.
    function announceUnbond(Role role, uint128 amount) external;

    /// @notice Pays out what was announced, after the unbonding period.
    function withdraw(Role role) external;

    /// @notice Takes up to `amount` from an account, from its stake first, then from what is
    /// unbonding, and splits it. Slashers only.
    /// @param challenger who proved it, or 0.
    /// @param harmed who lost by it, or 0.
    /// @param reason what happened, for readers of the log.
    /// @return taken less than `amount` where the account had less.
    function slash(
        Role role,
        address account,
        uint128 amount,
        address challenger,
        address harmed,
        bytes32 reason
    ) external returns (uint128 taken);

    /// @notice Suspends an account for ever. What it still has can be withdrawn as usual. Slashers
    /// only.
    function ban(Role role, address account) external;

    /// @notice Changes the minimum stake of a role. Admin only.
    function setMinimum(Role role, uint128 amount) external;

    function token() external view returns (IERC20);
    function treasury() external view returns (address);

    /// @notice s; from the announcement to the withdrawal.
    function unbondingPeriod() external view returns (uint40);

    function split() external view returns (Split memory);
    function minimum(Role role) external view returns (uint128);
    function position(Role role, address account) external view returns (Position memory);

    /// @notice The stake that counts: not what is unbonding, and 0 for a banned account.
    function stakeOf(Role role, address account) external view returns (uint128);

    function isActive(Role role, address account) external view returns (bool);
}
