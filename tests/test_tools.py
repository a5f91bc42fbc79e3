"""The checking tools find what they are for: each rule of tools/lint and tools/layers broken once, each way a test can end."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
failures = 0


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAILED:", what)


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)


def run(*args, **env):
    done = subprocess.run(args, capture_output=True, text=True, env={**os.environ, **env}, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout


def tree():
    """A small project that breaks no rule."""
    root = tempfile.mkdtemp()
    os.mkdir(root + "/tools")
    for tool in ("lint", "layers", "run-tests"):
        shutil.copy(f"{ROOT}/tools/{tool}", root + "/tools/")
    write(root + "/src/one/module.mk", "DEPS :=\n")
    write(root + "/src/one/one.h", "/*~ one: the first. */\n#ifndef ASY_ONE_H\n#define ASY_ONE_H\n\n/* Says so. */\nint asy_one(void);\n\n#endif\n")
    write(root + "/src/one/one.c", '#include "one/one.h"\n\nint asy_one(void) { return 1; }\n')
    write(root + "/src/one/one_priv.h", "#ifndef ASY_ONE_PRIV_H\n#define ASY_ONE_PRIV_H\n#endif\n")
    write(root + "/src/one/test/test_one.c", "int main(void) { return 0; }\n")
    write(root + "/src/two/module.mk", "DEPS := one\n")
    write(root + "/src/two/two.h", "/*~ two */\n#ifndef ASY_TWO_H\n#define ASY_TWO_H\n#endif\n")
    write(root + "/src/two/two.c", '#include "one/one.h"\n')
    write(root + "/src/two/test/test_two.c", "int main(void) { return 0; }\n")
    write(root + "/ARCHITECTURE.md", "- `one`\n- `two`\n")
    return root


def lint():
    bad = [  # file, text added to it, what must be said
        ("src/one/one.c", "static void f(char *a) { strcpy(a, \"x\"); }\n", "strcpy"),
        ("src/one/one.c", "int g(void) { return atoi(\"1\"); }\n", "atoi"),
        ("src/one/one.c", "void *h(void) { return malloc(3); }\n", "malloc"),
        ("src/one/one.c", "int s(void) { return socket(1, 2, 3); }\n", "socket"),
        ("src/one/one.c", "int r(void) { return rand(); }\n", "rand"),
        ("src/one/one.c", "int r(void) { return system(\"ls\"); }\n", "system"),
        ("src/one/one.c", "// no\n", "comment"),
        ("src/one/one.c", "\tint x;\n", "a tab"),
        ("src/one/one.c", "int x; \n", "blanks"),
        ("src/one/one.c", "/* TOD" + "O: more */\n", "unfinished"),
        ("src/one/one.c", "/* /ro" + "ot/x */\n", "machine"),
        ("docs/a.md", "see registry.npmjs" + ".org\n", "registry"),
        ("src/one/one.h", "\nint asy_two(void);\n\n#endif\n", "asy_two has no comment"),
        ("src/one/one.h", "\n/* No prefix. */\nint two(void);\n\n#endif\n", "two has no asy_ prefix"),
        ("src/one/one.h", "\n/* No prefix. */\n#define TWO 2\n\n#endif\n", "TWO has no ASY_ prefix"),
        ("src/one/other.h", "int x;\n", "include guard"),
        ("src/three/module.mk", "DEPS :=\n", "without a test"),
        ("src/three/module.mk", "DEPS :=\n", "no line about `three`"),
    ]
    root = tree()
    code, out = run(root + "/tools/lint")
    check(code == 0 and out == "", "a clean tree passes lint: " + out)
    fine = ["static const char *f = \"strcpy(a, b) // not code\"; /* malloc(3) */\n",
            "void g(char *a) { strcpy(a, \"\"); } /* allowed: a test of this tool */\n",
            "/* allowed: a test of this tool */\nvoid g(char *a) { strcpy(a, \"\"); }\n",
            "struct s { void (*free)(void *); };\nvoid h(struct s *s) { s->free(s); }\n"]
    for text in fine:
        write(root + "/src/one/one.c", text)
        code, out = run(root + "/tools/lint")
        check(code == 0, f"lint lets this pass: {text!r}: {out}")
    shutil.rmtree(root)
    for path, text, what in bad:
        root = tree()
        old = open(f"{root}/{path}", encoding="utf-8").read() if os.path.exists(f"{root}/{path}") else ""
        write(f"{root}/{path}", (old.replace("\n#endif\n", "") + text) if path.endswith(".h") else old + text)
        code, out = run(root + "/tools/lint")
        check(code == 1 and what in out, f"lint says {what!r} of {path} + {text!r}: {out}")
        shutil.rmtree(root)


def layers():
    root = tree()
    os.chdir(root)
    code, out = run("tools/layers")
    check(code == 0, "a clean tree passes layers: " + out)
    write("src/one/one.c", '#include "two/two.h"\n')
    code, out = run("tools/layers")
    check(code == 1 and "may not use 'two'" in out, "layers finds a wrong dependency: " + out)
    write("src/one/one.c", "")
    write("src/two/two.c", '#include "one/one_priv.h"\n')
    code, out = run("tools/layers")
    check(code == 1 and "private" in out, "layers finds a private include: " + out)
    os.chdir(ROOT)
    shutil.rmtree(root)


def runner():
    root = tree()
    cases = [  # script, result words, last line, exit status
        ("echo fine", "ok", "1 passed, 0 failed, 0 skipped", 0),
        ("exit 3", "exit status 3", "0 passed, 1 failed, 0 skipped", 1),
        ("kill -SEGV $$", "SIGSEGV", "0 passed, 1 failed, 0 skipped", 1),
        ("echo SKIP: no reason; exit 77", "no reason", "0 passed, 0 failed, 1 skipped", 1),
        ("echo 3 passed, 0 failed, 2 skipped", "ok", "3 passed, 0 failed, 2 skipped", 0),
        ("echo 3 passed, 1 failed, 0 skipped; exit 1", "FAIL", "3 passed, 1 failed, 0 skipped", 1),
        ("echo 3 passed, 0 failed, 0 skipped; exit 1", "FAIL", "3 passed, 1 failed, 0 skipped", 1),
        ("echo 0 passed, 0 failed, 0 skipped", "no case ran", "0 passed, 1 failed, 0 skipped", 1),
        ("# timeout: 1\nsetsid sleep 1000 & sleep 1000", "longer than 1 s", "0 passed, 1 failed, 0 skipped", 1),
        ("setsid sleep 1000 &", "left running: sleep 1000", "0 passed, 1 failed, 0 skipped", 1),
        ('test -d "$TMPDIR" && test "$ASSAY_BIN" = "$PWD/build/x/bin/assay"', "ok", "1 passed, 0 failed, 0 skipped", 0),
        ("cat; test ! -t 0", "ok", "1 passed, 0 failed, 0 skipped", 0),
    ]
    for script, words, last, status in cases:
        write(root + "/tests/test_case", "#!/bin/sh\n" + script + "\n", 0o755)
        code, out = run(root + "/tools/run-tests", "--build", "build/x", "tests/test_case", TEST_TIMEOUT="")
        check(code == status and words in out and out.splitlines()[-1] == last, f"run-tests on {script!r}: {code} {out}")
    code, out = run(root + "/tools/run-tests")
    check(code == 1 and out.splitlines()[-1] == "0 passed, 0 failed, 0 skipped", "no test at all fails: " + out)
    shutil.rmtree(root)


lint()
layers()
runner()
sys.exit(1 if failures else 0)
