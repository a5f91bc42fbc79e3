#!/usr/bin/env python3
"""Vectors for docs/protocol/manifest.md, made from the document alone with Python's own JSON and SHA-256.

  gen.py write    writes cases.json here
  gen.py check    fails when the committed file differs from what this program makes

A case is {name, text, canonical, digest} or {name, text, error}: `text` is what a reader is given.
"""
import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def sha(s):
    return "0x" + hashlib.sha256(s.encode()).hexdigest()


def canonical(m):
    # RFC 8785 for these values: ASCII strings and names, integers, booleans
    return json.dumps(m, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def base(**change):
    m = {
        "format": "assay/manifest/1", "name": "org/test-1b:q4_1", "family": "llama", "licence": "Apache-2.0",
        "quantization": "Q4_1", "engine": "llama.cpp/0.5-0.6", "context": 8192, "vocabulary": 49152,
        "tokenizer": sha("tokenizer"), "template": sha("template"),
        "files": [{"name": "test-1b.gguf", "bytes": 98362432, "sha256": sha("file")}],
        "calibration": {"backend": "cpu", "flash_attention": False, "kv_type": "f16"},
    }
    for k, v in change.items():
        if v is None:
            del m[k]
        else:
            m[k] = v
    return m


def file(**change):
    return {**{"name": "a.gguf", "bytes": 1, "sha256": sha("a")}, **change}


def good(name, m, text=None):
    c = canonical(m)
    return {"name": name, "text": text or json.dumps(m), "canonical": c, "digest": sha(c)}


def bad(name, error, m=None, text=None):
    return {"name": name, "text": text or json.dumps(m), "error": error}


def cases():
    exact = base(engine="exact/1", calibration=None, weights_root=sha("root"), quantization="int8")
    echo = base(name="echo", family="echo", licence="NONE", quantization="none", engine="echo/1", files=[], template=None,
                calibration=None, vocabulary=1 << 26, tokenizer=sha("assay/tokenizer/echo/1"))
    remote = base(engine="remote", files=[], calibration=None, tokenizer=None, template=None, vocabulary=None)
    return [
        good("llama.cpp", base()),
        good("exact", exact),
        good("echo", echo),
        good("remote, the fewest fields", remote),
        good("remote, the most fields", base(engine="remote", weights_root=sha("root"))),
        good("other spelling, same digest", base(), json.dumps(dict(reversed(base().items())), indent=3)),
        good("escapes that need not be", base(), json.dumps(base()).replace("Apache", "\\u0041pache")),
        good("escapes that must be", base(licence='LicenseRef-"a\\b"')),
        good("several files", base(files=[file(), file(name="b.gguf", bytes=(1 << 53) - 1)])),
        good("no template", base(template=None)),
        bad("no object", "TYPE", []),
        bad("no JSON", "SYNTAX", text="{"),
        bad("bytes behind", "SYNTAX", text=json.dumps(base()) + "x"),
        bad("a member twice", "DUPLICATE", text=json.dumps(base())[:-1] + ',"name":"x"}'),
        bad("unknown member", "UNKNOWN", base(note="x")),
        bad("unknown member of a file", "UNKNOWN", base(files=[file(note="x")])),
        bad("unknown member of the calibration", "UNKNOWN",
            base(calibration={"backend": "cpu", "flash_attention": False, "kv_type": "f16", "x": 1})),
        bad("later format", "VERSION", base(format="assay/manifest/2", more=1)),
        bad("no format", "MISSING", base(format=None)),
        bad("no name", "MISSING", base(name=None)),
        bad("no files", "MISSING", base(files=None)),
        bad("llama.cpp without files", "MISSING", base(files=[])),
        bad("llama.cpp without calibration", "MISSING", base(calibration=None)),
        bad("exact without a root", "MISSING", base(engine="exact/1", calibration=None)),
        bad("exact with a calibration", "UNSUPPORTED", base(engine="exact/1", weights_root=sha("root"))),
        bad("echo with a file", "UNSUPPORTED", base(engine="echo/1", calibration=None)),
        bad("null for an absent member", "SYNTAX", text=json.dumps(base(template=None))[:-1] + ',"template":null}'),
        bad("digest in capitals", "SYNTAX", base(tokenizer="0x" + sha("tokenizer")[2:].upper())),
        bad("digest of zeros", "SYNTAX", base(template="0x" + "00" * 32)),
        bad("digest too short", "SYNTAX", base(template="0x00")),
        bad("number as a string", "TYPE", base(context="8192")),
        bad("number with a fraction", "TYPE", text=json.dumps(base()).replace("8192", "8192.0")),
        bad("context of zero", "RANGE", base(context=0)),
        bad("context too large", "RANGE", base(context=1 << 31)),
        bad("a file of no bytes", "RANGE", base(files=[file(bytes=0)])),
        bad("a file too large", "RANGE", base(files=[file(bytes=1 << 53)])),
        bad("a file name with a folder", "SYNTAX", base(files=[file(name="../a.gguf")])),
        bad("a hidden file name", "SYNTAX", base(files=[file(name=".a")])),
        bad("a file name twice", "DUPLICATE", base(files=[file(), file()])),
        bad("17 files", "RANGE", base(files=[file(name=f"{i}.gguf") for i in range(17)])),
        bad("a name with a blank", "SYNTAX", base(name="a b")),
        bad("an empty name", "SYNTAX", base(name="")),
        bad("a long name", "RANGE", base(name="n" * 129)),
        bad("unknown engine", "SYNTAX", base(engine="vllm/1")),
        bad("later exact engine", "SYNTAX", base(engine="exact/2")),
        bad("llama.cpp without versions", "SYNTAX", base(engine="llama.cpp/")),
        bad("llama.cpp with an empty range", "SYNTAX", base(engine="llama.cpp/0.6-0.5")),
        bad("too long", "TOO_LONG", text=json.dumps(base()) + " " * 16384),
    ]


def main():
    text = json.dumps(cases(), indent=1) + "\n"
    path = os.path.join(HERE, "cases.json")
    if sys.argv[1:] == ["write"]:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return 0
    if sys.argv[1:] == ["check"]:
        with open(path, encoding="utf-8") as f:
            return 0 if f.read() == text else 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
