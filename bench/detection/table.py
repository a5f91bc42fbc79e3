#!/usr/bin/env python3
"""The table of bench/detection/run, from the lines that detect prints. usage: table.py LINES

d: share of wrong tokens [lowest-highest of the rounds]; N99: tokens that show a cheat with 99 %, if each token were wrong with
probability d by itself, and counted: the shortest window of which 99 % of all in the data hold a wrong token, wherever it begins.
Of whole answers: where the first wrong token stands, the first place being 1, and how many have one among their first 16, 64
and 256. Honest tokens at the beginning of an answer are not counted anywhere.
"""
import json
import math
import sys


def counted(answers):
    """The smallest n such that 99 % of all windows of n tokens inside of an answer hold a wrong one; None: no n does."""
    for n in range(1, max(map(len, answers), default=0) + 1):
        windows = clean = 0
        for marks in answers:
            run = 0
            for i, mark in enumerate(marks):
                run = 0 if mark == "1" else run + 1
                if i + 1 >= n:
                    windows += 1
                    clean += run >= n
        if clean <= 0.01 * windows:
            return n
    return None


def share(answers):
    tokens = "".join(answers)
    return tokens.count("1") / len(tokens) if tokens else 0.0


def main():
    rows = {}
    with open(sys.argv[1], encoding="utf-8") as f:
        for line in f:
            r = json.loads(line)
            rows.setdefault(r["settings"], {}).setdefault(r["cheat"], []).append([m[r["from"]:] for m in r["marks"]])
    for settings, cheats in rows.items():
        print(f"\n{settings}\n\n| | tokens | wrong | d | N99 by d | N99 counted | first wrong: median, last | answers refused by 16, 64, 256 |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|")
        for cheat, rounds in cheats.items():
            answers = [marks for r in rounds for marks in r if marks]
            each = [share(r) for r in rounds]
            d = share(answers)
            tokens = sum(map(len, answers))
            firsts = sorted(marks.find("1") + 1 for marks in answers if "1" in marks)
            refused = [sum("1" in marks[:n] for marks in answers) for n in (16, 64, 256)]
            n99 = math.ceil(math.log(0.01) / math.log(1 - d)) if 0 < d < 1 else 1 if d else None
            print(f"| {cheat} | {tokens:,} | {round(d * tokens):,} | {d:.3f} [{min(each):.3f}-{max(each):.3f}] | {n99 or '-'} | {counted(answers) or '-'} "
                  f"| {f'{firsts[len(firsts) // 2]}, {firsts[-1]}' if firsts else '-'} | {', '.join(map(str, refused))} of {len(answers)} |")


if __name__ == "__main__":
    main()
