// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @notice The operators of exact/1 (docs/protocol/exact.md section 4), one element or one word of
/// a trace at a time, and the pieces of the sampler that a dispute needs (docs/protocol/
/// sampling.md). Names and letters are those of the two documents.
/// @dev Total: for arguments in the ranges of the documents nothing reverts and no intermediate
/// leaves 256 bits, so arithmetic is unchecked; the `is..` functions say whether a word that a
/// stranger committed to is in range, and must be asked first. Numbers are int256 where a sign is
/// possible, else uint256.
///
/// Assembly stands in three places only: the length of a number in bits (one opcode), a word of
/// calldata, and a piece of a data contract's code; what it saves is in contracts/README.md.
library ExactOps {
    /// @notice What every number between two operators saturates at.
    int256 internal constant CAP = (1 << 30) - 1;

    /// @notice Bytes to be summed over are not a multiple of 32, or not as many as the others.
    error BadLength();

    // ---- section 1: numbers ----

    function cap(int256 x) internal pure returns (int256) {
        return x > CAP ? CAP : x < -CAP ? -CAP : x;
    }

    /// @notice floor((x + 2^(s-1)) / 2^s), s in 1 .. 62.
    function round(int256 x, uint256 s) internal pure returns (int256) {
        unchecked {
            return (x + int256(1 << (s - 1))) >> s;
        }
    }

    function round0(int256 x, uint256 s) internal pure returns (int256) {
        return s == 0 ? x : round(x, s);
    }

    function shift(int256 s) internal pure returns (uint256) {
        return s < 1 ? 1 : s > 62 ? 62 : uint256(s);
    }

    function bits(uint256 x) internal pure returns (uint256 n) {
        assembly ("memory-safe") {
            n := sub(256, clz(x))
        }
    }

    function magnitude(int256 x) internal pure returns (uint256) {
        unchecked {
            return uint256(x < 0 ? -x : x);
        }
    }

    /// @notice The top 16 bits of v >= 1, cut off.
    function mantissa(uint256 v) internal pure returns (uint256 mant, int256 exp) {
        unchecked {
            uint256 n = bits(v);
            return (n >= 16 ? v >> (n - 16) : v << (16 - n), int256(n) - 16);
        }
    }

    // ---- ranges of committed words: section 9.3 ----

    function isMaximum(int256 a) internal pure returns (bool) {
        return a >= 1 && a <= CAP;
    }

    function isSquares(int256 s) internal pure returns (bool) {
        return s >= 1 && s < 1 << 59;
    }

    function isMass(int256 l, uint256 keys) internal pure returns (bool) {
        return l >= 1 << 30 && l <= int256(keys << 30);
    }

    // ---- 4.1 embedding ----

    /// @param constants those of the id's row
    function embed(int256 w, bytes32 constants) internal pure returns (int256) {
        unchecked {
            return cap(round(w * half(constants, 8), shift(half(constants, 10))));
        }
    }

    /// @notice An int16 of a row's constants.
    function half(bytes32 constants, uint256 offset) internal pure returns (int256) {
        unchecked {
            uint256 two = uint256(constants) >> (240 - 8 * offset);
            return int256(int16(uint16(two >> 8 & 0xff | two << 8)));
        }
    }

    /// @notice The bias in a weight row's constants.
    function biasOf(bytes32 constants) internal pure returns (int256) {
        unchecked {
            return int256(int32(uint32(swapped(uint256(constants) >> 192 & 0xffffffff))));
        }
    }

    // ---- 4.2 quantisation ----

    /// @notice The quantised y, where the greatest magnitude of its vector is a.
    function quantised(int256 y, uint256 a, bool wide) internal pure returns (int256) {
        unchecked {
            uint256 s = bits(a) + (wide ? 14 : 15);
            uint256 r = (uint256(wide ? 32512 : 127) << s) / a;
            return round(y * int256(r), s);
        }
    }

    function limbs(int256 q) internal pure returns (int256 hi, int256 lo) {
        unchecked {
            hi = (q + 128) >> 8;
            lo = q - 256 * hi;
        }
    }

    function scale(uint256 a) internal pure returns (uint256 mant, int256 exp) {
        (mant, exp) = mantissa(a);
        unchecked {
            exp -= 14;
        }
    }

    // ---- 4.3, 4.4 norms ----

    function normShift(uint256 a) internal pure returns (uint256) {
        unchecked {
            uint256 n = bits(a);
            return n > 22 ? n - 22 : 0;
        }
    }

    function normInput(int256 x, uint256 h) internal pure returns (int256) {
        return round0(x, h);
    }

    function normElement(int256 v, int256 gain) internal pure returns (int256) {
        unchecked {
            return round(v * gain, 15);
        }
    }

    /// @notice Sum of the squares of a whole vector or a part of it, without eps.
    /// @param xs int32, little-endian; a multiple of 32 bytes, zeros add nothing
    function squares(bytes calldata xs, uint256 h) internal pure returns (uint256 sum) {
        if (xs.length % 32 != 0) revert BadLength();
        unchecked {
            int256 half_ = h == 0 ? int256(0) : int256(1 << (h - 1));
            for (uint256 offset; offset < xs.length; offset += 32) {
                uint256 eight = swapped(word(xs, offset));
                for (uint256 k; k < 256; k += 32) {
                    int256 v = (int256(int32(uint32(eight >> k))) + half_) >> h;
                    sum += uint256(v * v);
                }
            }
        }
    }

    function normSum(uint256 sum, uint256 eps, uint256 h) internal pure returns (uint256 s) {
        unchecked {
            s = sum + (eps >> (2 * h));
            if (s == 0) s = 1;
        }
    }

    /// @notice 1 / sqrt(s) is about r * 2^(-45 - k); k is `half` in the document.
    function inverseRoot(uint256 s) internal pure returns (uint256 r, int256 k) {
        unchecked {
            k = int256(bits(s)) - 31;
            k += k & 1;
            uint256 s1 = k >= 0 ? s >> uint256(k) : s << uint256(-k);
            r = Math.sqrt(((1 << 62) / s1) << 28);
            k /= 2;
        }
    }

    /// @notice The scale of a norm's quantised row: s its sum of squares, a the greatest magnitude
    /// of y.
    function normScale(uint256 s, uint256 a) internal pure returns (uint256 mant, int256 exp) {
        unchecked {
            (uint256 r, int256 k) = inverseRoot(s);
            (mant, exp) = mantissa(a * r);
            exp -= k + 38;
        }
    }

    function normOut(int256 y, uint256 s, int256 shift_) internal pure returns (int256) {
        unchecked {
            (uint256 r, int256 k) = inverseRoot(s);
            return cap(round(y * int256(r), shift(shift_ + k)));
        }
    }

    // ---- 4.5 linear ----

    /// @notice What follows the sum over `inputs` inputs, but for the addition to the residual.
    /// @param a,e scale of the quantised row
    /// @param constants those of the weight row
    function linear(int256 sum, uint256 inputs, bool wide, uint256 a, int256 e, bytes32 constants)
        internal
        pure
        returns (int256)
    {
        unchecked {
            if (wide) {
                uint256 n = bits(inputs - 1);
                sum = round(sum, n > 13 ? n - 9 : 4);
            }
            sum *= int256(a) * half(constants, 0);
            return cap(cap(round(sum, shift(half(constants, 2) - e))) + biasOf(constants));
        }
    }

    /// @notice Sum of w[k] * q[k] over int8 pairs.
    /// @param w,q of equal length, a multiple of 32 bytes
    function dot(bytes calldata w, bytes calldata q) internal pure returns (int256 sum) {
        if (w.length != q.length || w.length % 32 != 0) revert BadLength();
        unchecked {
            uint256 offsets;
            for (uint256 offset; offset < w.length; offset += 32) {
                uint256 x = word(q, offset) ^ SIGNS;
                uint256 y = turned(word(w, offset) ^ SIGNS);
                sum += int256(products(x, y));
                offsets += pairs(x) + pairs(y);
                if (offset & 2047 == 2016) {
                    sum -= int256(128 * total(offsets));
                    offsets = 0;
                }
            }
            sum += int256(16384 * w.length) - int256(128 * total(offsets));
        }
    }

    /// @notice Sum of w[k] * (256 hi[k] + lo[k]).
    /// @param w,hi,lo of equal length, a multiple of 32 bytes
    function dotWide(bytes calldata w, bytes calldata hi, bytes calldata lo)
        internal
        pure
        returns (int256)
    {
        unchecked {
            return 256 * dot(w, hi) + dot(w, lo);
        }
    }

    // Sums over 32 bytes at once. A byte b of an int8 is taken as b + 128, in 0 .. 255.
    uint256 private constant SIGNS =
        0x8080808080808080808080808080808080808080808080808080808080808080;
    uint256 private constant EVERY_FOURTH =
        0x000000ff000000ff000000ff000000ff000000ff000000ff000000ff000000ff;
    uint256 private constant EVERY_SECOND =
        0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;

    /// @dev y: its eight groups of four bytes in reverse order. Each of four products has, in its
    /// highest 32 bits, a sum over eight pairs; the sums below it are less than 2^20 and do not
    /// carry.
    function products(uint256 x, uint256 y) private pure returns (uint256) {
        unchecked {
            uint256 m = EVERY_FOURTH;
            return (((x & m) * (y & m)) >> 224) + (((x >> 8 & m) * (y >> 8 & m)) >> 224)
                + (((x >> 16 & m) * (y >> 16 & m)) >> 224)
                + (((x >> 24 & m) * (y >> 24 & m)) >> 224);
        }
    }

    /// @dev Sums of two neighbouring bytes, in 16 bits each: at most 510, so 64 words' sums of x
    /// and y stay below 2^16.
    function pairs(uint256 x) private pure returns (uint256) {
        unchecked {
            return (x & EVERY_SECOND) + (x >> 8 & EVERY_SECOND);
        }
    }

    function total(uint256 lanes) private pure returns (uint256) {
        unchecked {
            uint256 m = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
            lanes = (lanes & m) + (lanes >> 16 & m);
            return
                (lanes * 0x0000000100000001000000010000000100000001000000010000000100000001) >> 224;
        }
    }

    /// @dev The groups of four bytes in reverse order.
    function turned(uint256 x) private pure returns (uint256) {
        unchecked {
            uint256 m = 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;
            x = (x >> 32 & m) | (x & m) << 32;
            m = 0x0000000000000000ffffffffffffffff0000000000000000ffffffffffffffff;
            x = (x >> 64 & m) | (x & m) << 64;
            return x >> 128 | x << 128;
        }
    }

    // ---- 4.6 rotation ----

    function rotation(int256 cc, int256 cs, int256 fc, int256 fs)
        internal
        pure
        returns (int256, int256)
    {
        unchecked {
            return (_q15(cc * fc - cs * fs), _q15(cc * fs + cs * fc));
        }
    }

    function _q15(int256 x) private pure returns (int256) {
        x = round(x, 45);
        return x > 32767 ? int256(32767) : x < -32767 ? -32767 : x;
    }

    function rotate(int256 x0, int256 x1, int256 c, int256 s)
        internal
        pure
        returns (int256, int256)
    {
        unchecked {
            return (cap(round(x0 * c - x1 * s, 15)), cap(round(x0 * s + x1 * c, 15)));
        }
    }

    // ---- 4.8 to 4.10 attention ----

    /// @notice The score of a key: acc its product with the query, aq and ak the greatest
    /// magnitudes of the two.
    function score(int256 acc, uint256 aq, uint256 ak) internal pure returns (int256) {
        unchecked {
            (uint256 qa, int256 qe) = mantissa(aq);
            (uint256 ka, int256 ke) = mantissa(ak);
            return cap(round(acc * int256(((qa * ka) >> 16) * 16643), shift(24 - qe - ke)));
        }
    }

    /// @notice exp2(-d / 2^16) in 2^-30.
    function exp2(address tables, uint256 d) internal view returns (uint256) {
        unchecked {
            (int256 a, int256 b) = entries(tables, EXP2 + 4 * ((d >> 11) & 31));
            return (uint256(a - (((a - b) * int256(d & 2047)) >> 11)) << 6) >> (d >> 16);
        }
    }

    /// @notice The weight of a share in a block whose greatest share has `top` bits.
    function weight(uint256 share, uint256 top) internal pure returns (uint256) {
        unchecked {
            uint256 w = uint256(round0(int256(share), blockShift(top)));
            return w < 32767 ? w : 32767;
        }
    }

    /// @notice wb of a block, from the bits of its greatest share.
    function blockShift(uint256 top) internal pure returns (uint256) {
        unchecked {
            return top > 15 ? top - 15 : 0;
        }
    }

    /// @notice An element of the output: wm is the greatest wb of the blocks.
    function attended(int256 acc, uint256 l, uint256 keys, uint256 wm)
        internal
        pure
        returns (int256)
    {
        unchecked {
            uint256 n = bits(keys - 1);
            uint256 t = n > 16 ? n - 16 : 0;
            n = bits(l);
            uint256 down = n > 32 ? n - 32 : 0;
            l = 127 * (l >> down);
            n = bits(l) + 23 - t;
            return
                cap(
                    round(acc * int256((uint256(1) << n) / l), shift(int256(n + down) - int256(wm)))
                );
        }
    }

    // ---- 4.11 gate ----

    /// @param gelu false: SiLU
    function gate(address tables, bool gelu, int256 g, int256 u) internal view returns (int256) {
        unchecked {
            uint256 a = magnitude(g);
            uint256 ash = gelu ? 9 : 10;
            uint256 t = a >> ash;
            int256 p = 1 << 20;
            if (t < 256) {
                (int256 low, int256 high) = entries(tables, (gelu ? GELU : SILU) + 4 * t);
                int256 f = int256(a & ((1 << ash) - 1));
                p = low + (((high - low) * f + int256(1 << (ash - 1))) >> ash);
            }
            if (g < 0) p = (1 << 20) - p;
            return cap(round(round(g * p, 20) * u, 14));
        }
    }

    // ---- sampling.md ----

    /// @notice 1 / T in units of 2^-16; milli in 1 .. 100,000.
    function inverse(uint256 milli) internal pure returns (uint256) {
        unchecked {
            return (65536000 + milli / 2) / milli;
        }
    }

    /// @notice The score of an id at a temperature above 0.
    function tokenScore(address tables, int256 logit, uint256 inverse_, uint32 word_)
        internal
        view
        returns (int256)
    {
        unchecked {
            return ((logit * int256(inverse_) + 32768) >> 16) + noise(tables, word_);
        }
    }

    /// @notice The weight of an id whose logit is d below the highest.
    function tokenWeight(address tables, uint256 d) internal view returns (uint256) {
        unchecked {
            return exp2(tables, (d * 1549082005) >> 30);
        }
    }

    /// @notice G of a random word.
    function noise(address tables, uint32 word_) internal view returns (int256) {
        unchecked {
            uint256 w = 2 * uint256(word_) + 1;
            uint256 side = w >> 32;
            if (side == 1) w = (1 << 33) - w;
            uint256 octave = bits(w) - 1;
            uint256 n = w << (31 - octave);
            uint256 offset = 2049 * side + 64 * octave + ((n >> 25) & 63);
            (int256 a, int256 b) = entries(tables, GUMBEL + 4 * offset);
            return a + (((b - a) * int256((n >> 9) & 65535)) >> 16);
        }
    }

    uint256 private constant WORDS =
        0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff;

    /// @notice The random word of an id: ChaCha with 12 rounds.
    /// @dev A row of four 32-bit words in one number, each at the low end of 64 bits: four quarter
    /// rounds are one.
    function randomWord(bytes32 seed, uint32 pos, uint32 id) internal pure returns (uint32) {
        unchecked {
            uint256 key = swapped(uint256(seed));
            uint256 a = _spread(0x617078653320646e79622d326b206574);
            uint256 b = _spread(key >> 128);
            uint256 c = _spread(key & type(uint128).max);
            uint256 d = uint256(id >> 4) << 192 | uint256(pos) << 64 | 0x494e5431;
            uint256[4] memory first = [a, b, c, d];
            for (uint256 i; i < 12; ++i) {
                a = (a + b) & WORDS;
                d ^= a;
                d = (d << 16 | d >> 16) & WORDS;
                c = (c + d) & WORDS;
                b ^= c;
                b = (b << 12 | b >> 20) & WORDS;
                a = (a + b) & WORDS;
                d ^= a;
                d = (d << 8 | d >> 24) & WORDS;
                c = (c + d) & WORDS;
                b ^= c;
                b = (b << 7 | b >> 25) & WORDS;
                c = c << 128 | c >> 128;
                (b, d) = i & 1 == 0
                    ? (b << 64 | b >> 192, d << 192 | d >> 64)
                    : (b << 192 | b >> 64, d << 64 | d >> 192);
            }
            uint256 row = (id >> 2) & 3;
            uint256 sum = first[row] + (row == 0 ? a : row == 1 ? b : row == 2 ? c : d);
            return uint32(sum >> (192 - 64 * (id & 3)));
        }
    }

    function _spread(uint256 x) private pure returns (uint256) {
        unchecked {
            return (x >> 96 << 192) | (x >> 64 & 0xffffffff) << 128 | (x >> 32 & 0xffffffff) << 64
                | (x & 0xffffffff);
        }
    }

    // ---- tables: section 7 ----

    /// @notice The code hash of a contract that holds the tables.
    bytes32 internal constant TABLES =
        0x863c7ed0ce4f38b80c7db83f8e6d29dd46ec09f699efb1fbde4c7debac5ca416;
    uint256 private constant EXP2 = 0;
    uint256 private constant SILU = 4 * 33;
    uint256 private constant GELU = SILU + 4 * 257;
    uint256 private constant GUMBEL = GELU + 4 * 257;

    /// @dev Two int32 of the data contract, which the caller has checked once.
    function entries(address tables, uint256 offset) private view returns (int256, int256) {
        uint256 two;
        assembly ("memory-safe") {
            mstore(0, 0)
            extcodecopy(tables, 24, offset, 8)
            two := mload(0)
        }
        return (int256(int32(uint32(two >> 32))), int256(int32(uint32(two))));
    }

    // ---- numbers in calldata, little-endian ----

    function i8(bytes calldata b, uint256 i) internal pure returns (int256) {
        return int256(int8(uint8(b[i])));
    }

    function i32(bytes calldata b, uint256 i) internal pure returns (int256) {
        return int256(int32(uint32(swapped(uint256(uint32(bytes4(b[4 * i:4 * i + 4])))))));
    }

    function i64(bytes calldata b, uint256 i) internal pure returns (int256) {
        uint256 two = swapped(uint256(uint64(bytes8(b[8 * i:8 * i + 8]))));
        return int256(int64(uint64(two << 32 | two >> 32)));
    }

    /// @dev 32 bytes of calldata from an offset that the caller has checked.
    function word(bytes calldata b, uint256 offset) private pure returns (uint256 w) {
        assembly ("memory-safe") {
            w := calldataload(add(b.offset, offset))
        }
    }

    /// @dev The bytes of each group of four in reverse order.
    function swapped(uint256 x) private pure returns (uint256) {
        unchecked {
            x = (x >> 8 & EVERY_SECOND) | (x & EVERY_SECOND) << 8;
            uint256 m = 0x0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff0000ffff;
            return (x >> 16 & m) | (x & m) << 16;
        }
    }
}
