#!/usr/bin/env python3
"""The text that quality is measured on, from two Debian packages (both free to pass on): prose of an essay, and of a handbook
with commands in it. usage: text.py FOLDER OUT    where FOLDER holds the unpacked packages

The same bytes each time: pieces of fixed places, their markup taken away, one behind the other.
"""
import gzip
import html
import re
import sys

ESSAYS = ["secF3", "secE5", "secF8"]
CHAPTERS = ["case-study", "packaging-system", "sect.existing-setup", "sect.apt-get", "sect.manipulating-packages-with-dpkg",
            "sect.network-config", "sect.filesystem-hierarchy", "sect.remote-login", "sect.firewall-packet-filtering",
            "sect.backup", "sect.virtualization", "sect.why-debian"]
ESSAY_BYTES, CHAPTER_BYTES = 16000, 4000


def essay(path):
    with gzip.open(path, "rt", encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)  # links
    text = re.sub(r"[*_#>`]|^-+$", "", text, flags=re.M)
    return " ".join(text.split())


def chapter(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"(?s)<(script|style|head).*?</\1>", " ", text)
    text = re.sub(r"(?s)<pre[^>]*>(.*?)</pre>", lambda m: "\n" + m.group(1) + "\n", text)
    text = html.unescape(re.sub(r"(?s)<[^>]*>", " ", text))
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def cut(text, start, length):
    raw = text.encode()[start:start + length]
    return raw.decode("utf-8", "ignore")


def main():
    folder, out = sys.argv[1:]
    parts = [cut(essay(f"{folder}/usr/share/doc/anarchism/markdown/{name}.md.gz"), 3000, ESSAY_BYTES) for name in ESSAYS]
    handbook = f"{folder}/usr/share/doc/debian-handbook/html/en-US"
    for name in CHAPTERS:
        try:
            parts.append(cut(chapter(f"{handbook}/{name}.html"), 800, CHAPTER_BYTES))
        except FileNotFoundError:
            pass
    with open(out, "w", encoding="utf-8") as f:
        f.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
