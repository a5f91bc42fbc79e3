// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IStakeRegistry} from "./interfaces/IStakeRegistry.sol";

/// @notice Roles, stakes, unbonding and slashing: the manual is IStakeRegistry.
contract StakeRegistry is IStakeRegistry, AccessControl {
    using SafeERC20 for IERC20;

    // ---- types and constants ----

    bytes32 public constant SLASHER_ROLE = keccak256("SLASHER_ROLE");
    uint256 private constant BPS = 10_000;
    uint256 private constant MAX_ENDPOINT = 256;

    // ---- immutables ----

    IERC20 public immutable token;
    address public immutable treasury;
    uint40 public immutable unbondingPeriod;
    uint16 private immutable CHALLENGER_BPS;
    uint16 private immutable HARMED_BPS;
    uint16 private immutable TREASURY_BPS;

    // ---- storage ----

    mapping(Role => uint128) public minimum;
    mapping(Role => mapping(address account => Position)) private _positions;

    // ---- constructor ----

    /// @param minimums by role, in the order of Role.
    /// @param admin changes minimums and names slashers: the Timelock, where there is governance.
    constructor(
        ERC20Burnable token_,
        uint128[3] memory minimums,
        uint40 unbondingPeriod_,
        Split memory split_,
        address treasury_,
        address admin
    ) {
        if (
            uint256(split_.burnBps) + split_.challengerBps + split_.harmedBps + split_.treasuryBps
                    != BPS || treasury_ == address(0)
        ) revert BadSplit();
        token = token_;
        treasury = treasury_;
        unbondingPeriod = unbondingPeriod_;
        CHALLENGER_BPS = split_.challengerBps;
        HARMED_BPS = split_.harmedBps;
        TREASURY_BPS = split_.treasuryBps;
        for (uint8 i; i < minimums.length; ++i) {
            minimum[Role(i)] = minimums[i];
            emit MinimumChanged(Role(i), minimums[i]);
        }
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
    }

    // ---- accounts ----

    /// @inheritdoc IStakeRegistry
    function register(Role role, uint128 amount, string calldata endpoint, bytes32 x25519)
        external
    {
        Position storage p = _positions[role][msg.sender];
        if (p.registered) revert AlreadyRegistered();
        if (amount < minimum[role]) revert BelowMinimum(minimum[role]);
        p.registered = true;
        _describe(p, endpoint, x25519);
        emit Registered(role, msg.sender, endpoint, x25519);
        _stake(role, p, msg.sender, amount);
    }

    /// @inheritdoc IStakeRegistry
    function update(Role role, string calldata endpoint, bytes32 x25519) external {
        _describe(_registered(role, msg.sender), endpoint, x25519);
        emit Updated(role, msg.sender, endpoint, x25519);
    }

    /// @inheritdoc IStakeRegistry
    function topUp(Role role, address account, uint128 amount) external {
        Position storage p = _registered(role, account);
        if (p.banned) revert IsBanned();
        _stake(role, p, account, amount);
    }

    /// @inheritdoc IStakeRegistry
    function announceUnbond(Role role, uint128 amount) external {
        Position storage p = _registered(role, msg.sender);
        if (amount == 0) revert NothingAnnounced();
        if (amount > p.stake) revert InsufficientStake();
        p.stake -= amount;
        p.unbonding += amount;
        p.unbondsAt = uint40(block.timestamp) + unbondingPeriod;
        emit UnbondAnnounced(role, msg.sender, amount, p.unbondsAt);
    }

    /// @inheritdoc IStakeRegistry
    function withdraw(Role role) external {
        Position storage p = _positions[role][msg.sender];
        if (p.unbondsAt == 0) revert NothingAnnounced();
        if (block.timestamp < p.unbondsAt) revert TooEarly(p.unbondsAt);
        uint128 amount = p.unbonding;
        p.unbonding = 0;
        p.unbondsAt = 0;
        emit Withdrawn(role, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ---- slashers ----

    /// @inheritdoc IStakeRegistry
    function slash(
        Role role,
        address account,
        uint128 amount,
        address challenger,
        address harmed,
        bytes32 reason
    ) external onlyRole(SLASHER_ROLE) returns (uint128 taken) {
        Position storage p = _registered(role, account);
        uint128 fromStake = amount < p.stake ? amount : p.stake;
        uint128 rest = amount - fromStake;
        uint128 fromUnbonding = rest < p.unbonding ? rest : p.unbonding;
        taken = fromStake + fromUnbonding;
        p.stake -= fromStake;
        p.unbonding -= fromUnbonding;
        emit Slashed(role, account, reason, taken, challenger, harmed);
        _distribute(taken, challenger, harmed);
    }

    /// @inheritdoc IStakeRegistry
    function ban(Role role, address account) external onlyRole(SLASHER_ROLE) {
        Position storage p = _registered(role, account);
        if (p.banned) revert IsBanned();
        p.banned = true;
        emit Banned(role, account);
    }

    // ---- admin ----

    /// @inheritdoc IStakeRegistry
    function setMinimum(Role role, uint128 amount) external onlyRole(DEFAULT_ADMIN_ROLE) {
        minimum[role] = amount;
        emit MinimumChanged(role, amount);
    }

    // ---- views ----

    /// @inheritdoc IStakeRegistry
    function split() external view returns (Split memory) {
        return Split({
            burnBps: uint16(BPS) - CHALLENGER_BPS - HARMED_BPS - TREASURY_BPS,
            challengerBps: CHALLENGER_BPS,
            harmedBps: HARMED_BPS,
            treasuryBps: TREASURY_BPS
        });
    }

    /// @inheritdoc IStakeRegistry
    function position(Role role, address account) external view returns (Position memory) {
        return _positions[role][account];
    }

    /// @inheritdoc IStakeRegistry
    function stakeOf(Role role, address account) public view returns (uint128) {
        Position storage p = _positions[role][account];
        return p.banned ? 0 : p.stake;
    }

    /// @inheritdoc IStakeRegistry
    function isActive(Role role, address account) external view returns (bool) {
        Position storage p = _positions[role][account];
        return p.registered && !p.banned && p.stake >= minimum[role];
    }

    // ---- private ----

    function _registered(Role role, address account) private view returns (Position storage p) {
        p = _positions[role][account];
        if (!p.registered) revert NotRegistered();
    }

    function _describe(Position storage p, string calldata endpoint, bytes32 x25519) private {
        if (bytes(endpoint).length > MAX_ENDPOINT) revert EndpointTooLong();
        p.endpoint = endpoint;
        p.x25519 = x25519;
    }

    function _stake(Role role, Position storage p, address account, uint128 amount) private {
        p.stake += amount;
        emit Staked(role, account, msg.sender, amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @dev Shares are rounded down; what is left over, and shares without a receiver, are burned.
    function _distribute(uint128 amount, address challenger, address harmed) private {
        uint256 burned = amount;
        burned -= _pay(treasury, uint256(amount) * TREASURY_BPS / BPS);
        burned -= _pay(challenger, uint256(amount) * CHALLENGER_BPS / BPS);
        burned -= _pay(harmed, uint256(amount) * HARMED_BPS / BPS);
        if (burned != 0) ERC20Burnable(address(token)).burn(burned);
    }

    function _pay(address to, uint256 amount) private returns (uint256) {
        if (to == address(0) || amount == 0) return 0;
        token.safeTransfer(to, amount);
        return amount;
    }
}
