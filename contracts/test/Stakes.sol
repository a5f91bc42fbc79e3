// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {StakeRegistry} from "../src/StakeRegistry.sol";
import {Token} from "../src/Token.sol";
import {IStakeRegistry} from "../src/interfaces/IStakeRegistry.sol";
import {Test} from "./Test.sol";

/// A registry with minimums of 100, 500 and 200, and one registered node with 150. This contract is
/// admin and slasher.
abstract contract Stakes is Test {
    IStakeRegistry.Role internal constant NODE = IStakeRegistry.Role.Node;
    IStakeRegistry.Role internal constant GATEWAY = IStakeRegistry.Role.Gateway;
    IStakeRegistry.Role internal constant VALIDATOR = IStakeRegistry.Role.Validator;
    uint40 internal constant UNBONDING = 7 days;

    Token internal token;
    StakeRegistry internal stakes;
    address internal treasury = makeAddr("treasury");
    address internal alice = makeAddr("alice");
    address internal bob = makeAddr("bob");

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        token = new Token(address(this));
        stakes = new StakeRegistry(
            token,
            [uint128(100e18), 500e18, 200e18],
            UNBONDING,
            IStakeRegistry.Split({
                burnBps: 2000, challengerBps: 3000, harmedBps: 4000, treasuryBps: 1000
            }),
            treasury,
            address(this)
        );
        stakes.grantRole(stakes.SLASHER_ROLE(), address(this));
        fund(alice, 10_000e18);
        fund(bob, 10_000e18);
        register(NODE, alice, 150e18);
    }

    function fund(address account, uint256 amount) internal {
        token.transfer(account, amount);
        vm.prank(account);
        token.approve(address(stakes), type(uint256).max);
    }

    function register(IStakeRegistry.Role role, address account, uint128 amount) internal {
        vm.prank(account);
        stakes.register(role, amount, "https://example.org", bytes32(uint256(1)));
    }

    function positionOf(address account) internal view returns (IStakeRegistry.Position memory) {
        return stakes.position(NODE, account);
    }
}
