// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IStakeRegistry} from "../../src/interfaces/IStakeRegistry.sol";
import {Stakes} from "../Stakes.sol";

contract SetMinimumTest is Stakes {
    function test_raises_and_lowers() public {
        vm.expectEmit(true, true, true, true);
        emit IStakeRegistry.MinimumChanged(NODE, 151e18);
        stakes.setMinimum(NODE, 151e18);
        assertTrue(!stakes.isActive(NODE, alice), "below the new minimum");
        stakes.setMinimum(NODE, 150e18);
        assertTrue(stakes.isActive(NODE, alice), "at it");
        assertEq(stakes.minimum(GATEWAY), 500e18, "of this role only");
    }

    function test_admin_only() public {
        bytes memory why = abi.encodeWithSignature(
            "AccessControlUnauthorizedAccount(address,bytes32)", bob, bytes32(0)
        );
        vm.expectRevert(why);
        vm.prank(bob);
        stakes.setMinimum(NODE, 0);
    }
}
