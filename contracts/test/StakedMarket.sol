// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {StakeRegistry} from "../src/StakeRegistry.sol";
import {Token} from "../src/Token.sol";
import {IStakeRegistry} from "../src/interfaces/IStakeRegistry.sol";
import {IVault} from "../src/interfaces/IVault.sol";
import {Market} from "./Market.sol";

/// The market under a StakeRegistry, with 75 % for nodes and 85 % for those who stake 1,000.
abstract contract StakedMarket is Market {
    IStakeRegistry.Role internal constant NODE = IStakeRegistry.Role.Node;
    IStakeRegistry.Role internal constant GATEWAY = IStakeRegistry.Role.Gateway;
    uint128 internal constant SHARE_STAKE = 1000e18;

    Token internal token;
    StakeRegistry internal stakes;

    function setUp() public virtual override {
        token = new Token(address(this));
        stakes = new StakeRegistry(
            token,
            [uint128(100e18), 500e18, 200e18],
            7 days,
            IStakeRegistry.Split(5000, 3000, 0, 2000),
            treasury,
            address(this)
        );
        stakes.grantRole(stakes.SLASHER_ROLE(), address(this));
        registry = stakes;
        register(GATEWAY, gw, 500e18);
        register(NODE, node(0), 100e18);
        register(NODE, node(1), SHARE_STAKE);
        super.setUp();
    }

    function profile() internal view virtual override returns (IVault.Profile memory p) {
        p = super.profile();
        (p.nodeBps, p.gatewayBps, p.treasuryBps, p.stakedBps) = (7500, 1000, 1500, 8500);
        p.shareStake = SHARE_STAKE;
    }

    function fund(address account, uint256 amount) internal {
        token.transfer(account, amount);
        vm.prank(account);
        token.approve(address(stakes), type(uint256).max);
    }

    function register(IStakeRegistry.Role role, address account, uint128 amount) internal {
        fund(account, amount);
        vm.prank(account);
        stakes.register(role, amount, "wss://example.org/link", bytes32(uint256(uint160(account))));
    }
}
