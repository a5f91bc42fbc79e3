// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LaneWord, LinkWord, Packed} from "../src/libraries/Packed.sol";
import {Test} from "./Test.sol";

contract PackedTest is Test {
    uint88 internal constant MAX_CUM = type(uint88).max;

    function test_lane_round_trip(uint96 locked, uint96 spent, uint64 seq) public pure {
        LaneWord w = Packed.packLane(locked, spent, seq);
        assertEq(w.locked(), locked, "locked");
        assertEq(w.spent(), spent, "spent");
        assertEq(w.seq(), seq, "seq");
    }

    function test_link_round_trip(uint88 cum, uint64 cur, uint64 prev, uint32 epoch, uint8 class)
        public
        pure
    {
        LinkWord w = Packed.packLink(cum, cur, prev, epoch, class);
        assertEq(w.cum(), cum, "cum");
        assertEq(w.cur(), cur, "cur");
        assertEq(w.prev(), prev, "prev");
        assertEq(w.epoch(), epoch, "epoch");
        assertEq(w.class(), class, "class");
    }

    function raise(LinkWord w, uint256 to, uint256 epoch)
        external
        pure
        returns (LinkWord, uint256)
    {
        return w.raise(to, epoch);
    }

    function test_raise_keeps_the_other_fields(uint8 class) public pure {
        LinkWord w = Packed.packLink(100, 7, 5, 9, class);
        (LinkWord same, uint256 none) = w.raise(100, 10);
        assertEq(LinkWord.unwrap(same), LinkWord.unwrap(w), "nothing new, nothing changed");
        assertEq(none, 0, "no gain");
        (LinkWord now_, uint256 gain) = w.raise(103, 9);
        assertEq(gain, 3, "gain");
        LinkWord wanted = Packed.packLink(103, 10, 5, 9, class);
        assertEq(LinkWord.unwrap(now_), LinkWord.unwrap(wanted), "same epoch");
        (LinkWord next,) = w.raise(103, 10);
        wanted = Packed.packLink(103, 3, 7, 10, class);
        assertEq(LinkWord.unwrap(next), LinkWord.unwrap(wanted), "next epoch");
        (LinkWord later,) = w.raise(103, 11);
        wanted = Packed.packLink(103, 3, 0, 11, class);
        assertEq(LinkWord.unwrap(later), LinkWord.unwrap(wanted), "later");
    }

    function test_raise_to_the_ends_of_its_fields() public {
        LinkWord w = Packed.packLink(MAX_CUM - 5, 0, 0, 1, 0);
        (LinkWord full,) = w.raise(MAX_CUM, 2);
        assertEq(full.cum(), MAX_CUM, "full");
        vm.expectRevert(Packed.OutOfRange.selector);
        this.raise(w, uint256(MAX_CUM) + 1, 2);
        w = Packed.packLink(0, type(uint64).max - 5, 0, 1, 0);
        (full,) = w.raise(5, 1);
        assertEq(full.cur(), type(uint64).max, "full");
        vm.expectRevert(Packed.OutOfRange.selector);
        this.raise(w, 6, 1);
    }
}
