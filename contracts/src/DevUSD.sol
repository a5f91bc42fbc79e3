// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A dollar for development chains.
/// @notice FOR DEVELOPMENT CHAINS ONLY: anyone mints any amount, it is worth nothing. It stands in
/// for a dollar coin where there is none (6 decimals, like those); a real market names a real coin
/// instead.
contract DevUSD is ERC20 {
    constructor() ERC20("Assay Development Dollar (worthless)", "devUSD") {}

    /// @notice Mints `amount` (1e-6 dollars) to `to`. Open to all: this is the faucet.
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
