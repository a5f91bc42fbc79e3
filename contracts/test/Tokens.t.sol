// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {DevUSD} from "../src/DevUSD.sol";
import {Token} from "../src/Token.sol";
import {Test} from "./Test.sol";

contract TokensTest is Test {
    Token internal token = new Token(address(this));
    DevUSD internal usd = new DevUSD();
    uint256 internal constant KEY = 0xA11CE;
    address internal alice = vm.addr(KEY);

    function test_token_supply_is_fixed() public view {
        assertEq(token.totalSupply(), 1_000_000_000e18, "a billion");
        assertEq(token.balanceOf(address(this)), token.totalSupply(), "to the holder");
        assertEq(token.decimals(), 18, "decimals");
        assertEq(token.symbol(), "ASSAY", "symbol");
    }

    function test_token_burns() public {
        token.burn(5e18);
        assertEq(token.totalSupply(), 1_000_000_000e18 - 5e18, "less");
    }

    function test_token_permit() public {
        token.transfer(alice, 10e18);
        bytes32 h = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                alice,
                address(this),
                10e18,
                0,
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(KEY, keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), h)));
        token.permit(alice, address(this), 10e18, block.timestamp, v, r, s);
        token.transferFrom(alice, address(this), 10e18);
        assertEq(token.balanceOf(alice), 0, "spent by signature");
        assertEq(token.nonces(alice), 1, "nonce");
    }

    function test_token_votes_by_timestamp() public {
        assertEq(token.CLOCK_MODE(), "mode=timestamp", "mode");
        token.delegate(address(this));
        uint256 then = block.timestamp;
        vm.warp(then + 100);
        assertEq(token.clock(), then + 100, "clock");
        token.transfer(alice, 400e18);
        assertEq(token.getVotes(address(this)), 1_000_000_000e18 - 400e18, "now");
        assertEq(token.getPastVotes(address(this), then), 1_000_000_000e18, "then");
    }

    function test_devUSD_is_open_to_all() public {
        vm.prank(alice);
        usd.mint(alice, 5e6);
        assertEq(usd.balanceOf(alice), 5e6, "minted");
        assertEq(usd.decimals(), 6, "decimals");
    }
}
