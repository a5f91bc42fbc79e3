// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice What `settle` changes of a lane, in one word: locked u96 | spent u96 | seq u64, from the
/// low end. An account costs one load and one store, whatever the compiler makes of struct fields.
type LaneWord is uint256;

/// @notice What a credit changes of a link, in one word:
/// cum u88 | cur u64 | prev u64 | epoch u32 | share class u8, from the low end.
type LinkWord is uint256;

using Packed for LaneWord global;
using Packed for LinkWord global;

library Packed {
    /// @notice A credit does not fit its field.
    error OutOfRange();

    function packLane(uint96 locked_, uint96 spent_, uint64 seq_) internal pure returns (LaneWord) {
        return LaneWord.wrap(uint256(seq_) << 192 | uint256(spent_) << 96 | locked_);
    }

    function locked(LaneWord w) internal pure returns (uint96) {
        return uint96(LaneWord.unwrap(w));
    }

    function spent(LaneWord w) internal pure returns (uint96) {
        return uint96(LaneWord.unwrap(w) >> 96);
    }

    function seq(LaneWord w) internal pure returns (uint64) {
        return uint64(LaneWord.unwrap(w) >> 192);
    }

    function packLink(uint88 cum_, uint64 cur_, uint64 prev_, uint32 epoch_, uint8 class_)
        internal
        pure
        returns (LinkWord)
    {
        return LinkWord.wrap(
            uint256(class_) << 248 | uint256(epoch_) << 216 | uint256(prev_) << 152 | uint256(cur_)
                << 88 | cum_
        );
    }

    /// @notice The word after a credit in `now_`, the current epoch: the total is `to`, what was
    /// credited in this epoch and in the one before is kept apart. A total that was reached before
    /// changes nothing.
    /// @dev The inner loop of `settle`: written on the word as a whole, without checks that cannot
    /// fail.
    function raise(LinkWord w, uint256 to, uint256 now_)
        internal
        pure
        returns (LinkWord, uint256 gain)
    {
        uint256 word = LinkWord.unwrap(w);
        if (to <= uint88(word)) return (w, 0);
        unchecked {
            gain = to - uint88(word);
            uint256 last = uint32(word >> 216);
            uint256 current = gain;
            uint256 previous;
            if (last == now_) {
                current += uint64(word >> 88); // both below 2^96: no overflow
                previous = uint64(word >> 152);
            } else if (last + 1 == now_) {
                previous = uint64(word >> 88);
            }
            if (to > type(uint88).max || current > type(uint64).max) revert OutOfRange();
            word = word >> 248 << 248 | now_ << 216 | previous << 152 | current << 88 | to;
        }
        return (LinkWord.wrap(word), gain);
    }

    function cum(LinkWord w) internal pure returns (uint88) {
        return uint88(LinkWord.unwrap(w));
    }

    function cur(LinkWord w) internal pure returns (uint64) {
        return uint64(LinkWord.unwrap(w) >> 88);
    }

    function prev(LinkWord w) internal pure returns (uint64) {
        return uint64(LinkWord.unwrap(w) >> 152);
    }

    function epoch(LinkWord w) internal pure returns (uint32) {
        return uint32(LinkWord.unwrap(w) >> 216);
    }

    function class(LinkWord w) internal pure returns (uint8) {
        return uint8(LinkWord.unwrap(w) >> 248);
    }
}
