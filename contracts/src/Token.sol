// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

/// @title ASSAY: staking and governance.
/// @notice A billion tokens of 18 decimals, minted once; nobody can mint, pause or take back.
/// Holders may burn their own, permit spending by signature (ERC-2612) and delegate votes
/// (ERC-5805). Votes are counted by timestamp, not by block number, so that voting periods mean the
/// same on every chain.
contract Token is ERC20, ERC20Burnable, ERC20Permit, ERC20Votes {
    uint256 public constant SUPPLY = 1_000_000_000e18;

    /// @param holder receives the whole supply.
    constructor(address holder) ERC20("Assay", "ASSAY") ERC20Permit("Assay") {
        _mint(holder, SUPPLY);
    }

    /// @notice The clock of ERC-6372: seconds.
    function clock() public view override returns (uint48) {
        return uint48(block.timestamp);
    }

    /// @notice The name and the text are those of ERC-6372.
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }
}
