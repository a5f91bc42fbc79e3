// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Court} from "../../src/Court.sol";
import {Token} from "../../src/Token.sol";
import {Vault} from "../../src/Vault.sol";
import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IStakeRegistry} from "../../src/interfaces/IStakeRegistry.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Market} from "../Market.sol";

contract ProfileTest is Market {
    function test_reads_back() public {
        IVault.Profile memory p =
            IVault.Profile(10, 11, 12, 13, 33, 14, 7500, 1000, 1500, 8500, 1, 2, 3, 4, treasury);
        registry = IStakeRegistry(makeAddr("registry"));
        (Vault v, Court c) = deploy(p);
        assertEq(keccak256(abi.encode(v.profile())), keccak256(abi.encode(p)), "profile");
        assertEq(address(v.token()), address(usd), "token");
        assertEq(v.court(), address(c), "court");
        assertEq(v.guardian(), guardian, "guardian");
        assertEq(address(v.registry()), address(registry), "registry");
        assertEq(address(c.vault()), address(v), "the court's vault");
    }

    function refused(IVault.Profile memory p) internal {
        vm.expectRevert(IVault.BadProfile.selector);
        new Vault(usd, p, guardian, address(1), registry);
    }

    function test_contradictions() public {
        IVault.Profile memory p = profile();
        p.exit = p.window + 2 * p.answer;
        refused(p);
        p = profile();
        p.nodeBps += 1;
        refused(p);
        p = profile();
        p.hold = 0;
        refused(p);
        p = profile();
        p.stakedBps = p.nodeBps - 1;
        refused(p);
        p.stakedBps = 10_001;
        refused(p);
        p.stakedBps = 9_600; // but no registry
        refused(p);
        p = profile();
        p.treasury = address(0);
        refused(p);
        vm.expectRevert(IVault.BadProfile.selector);
        new Vault(usd, profile(), guardian, address(0), registry);
    }

    function test_token_of_six_decimals_only() public {
        Token t = new Token(address(this));
        vm.expectRevert(IVault.BadProfile.selector);
        new Vault(t, profile(), guardian, address(1), registry);
    }

    function test_nodes_may_get_everything() public {
        IVault.Profile memory p = profile();
        (p.nodeBps, p.gatewayBps, p.treasuryBps, p.stakedBps) = (10_000, 0, 0, 10_000);
        (vault, court) = deploy(p);
        usd.approve(address(vault), type(uint256).max);
        vault.deposit(gw, 5000e6);
        vm.prank(gw);
        vault.addBond(gw, BOND);
        vm.prank(node(0));
        vault.openLink(gw);
        vault.deposit(requester(0), 1000e6);
        openLane(0, 0);
        settle(1, junk(100 * USD), 100 * USD, 100 * USD);
        vm.warp(block.timestamp + 2 * HOLD);
        vm.prank(node(0));
        assertEq(vault.claim(gw), 100e6, "all");
        vault.collectFees(gw);
        assertEq(vault.free(treasury), 0, "no fees");
    }

    function test_a_court_refuses_another_vault() public {
        vm.expectRevert(ICourt.WrongVault.selector);
        new Court(vault);
    }
}
