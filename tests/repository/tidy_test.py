# SPDX-License-Identifier: Apache-2.0
"""Goal: each rule of tidy notices what it is for and leaves good code alone. Method: one small
file or tree per case.
"""
import unittest

import tidy
import tidy_source
from tree import TreeTest

HEAD = "// SPDX-License-Identifier: Apache-2.0\n//\n// What this is, in a sentence.\n"
PY_HEAD = '# SPDX-License-Identifier: Apache-2.0\n"""What this is."""\n'


def rules_of(path, text):
    return {tidy.rule_of(finding) for finding in tidy_source.check_source(path, text)}


class SourceRules(unittest.TestCase):
    def assert_rule(self, rule, body, path="src/maps/a.cc"):
        self.assertIn(rule, rules_of(path, HEAD + body), body)

    def assert_clean(self, body, path="src/maps/a.cc"):
        self.assertEqual(rules_of(path, HEAD + body), set(), body)

    def test_banned_calls(self):
        for rule, line in (
            ("c-string", "strcpy(a, b);"),
            ("c-string", "std::sprintf (a, b);"),
            ("c-number", "int n = atoi(text);"),
            ("rand", "int n = std::rand();"),
            ("throw", "throw 1;"),
            ("print", "std::cout << 1;"),
            ("print", 'fprintf(stderr, "x");'),
            ("naked-new", "auto* p = new Thing(1);"),
            ("naked-new", "return new Thing;"),
            ("naked-new", "delete p;"),
            ("naked-new", "delete[] p;"),
            ("preprocessor", "#ifdef X"),
            ("if-0", "#if 0"),
            ("std-format", "#include <format>"),
            ("std-format", 'auto s = std::format("{}", 1);'),
            ("using-std", "using namespace std;"),
            ("thread-local", "thread_local int n;"),
            ("static-state", "  static int counter = 0;"),
            ("static-state", "  static std::vector<int> seen;"),
        ):
            self.assert_rule(rule, line + "\n")

    def test_good_code_is_left_alone(self):
        for line in (
            "std::unique_ptr<Thing> p(new Thing(1));",
            "return std::unique_ptr<Thing>(\n    new Thing(1));",
            "Thing(const Thing&) = delete;",
            "auto* at = new (memory) Thing;",
            "  static constexpr int kMax = 3;",
            "  static Result<int> create(int a, int b);",
            "  static const auto rows = table();",
            "// a throw in prose, and strcpy(a, b) too",
            'const char* text = "throw new delete atoi(1)";',
            "const char c = '\"'; int million = 1'000'000; // std::cout",
            'auto s = fmt::format("{}", 1); operands(3); random_(); strand(4);',
        ):
            self.assert_clean(line + "\n")

    def test_rules_hold_where_they_should(self):
        self.assert_rule("sleep", "std::this_thread::sleep_for(1ms);\n", "src/maps/a_test.cc")
        self.assert_rule("sleep", "::usleep(1);\n", "tests/system/a.cc")
        self.assert_clean("std::this_thread::sleep_for(1ms);\n", "src/dataplane/worker.cc")
        self.assert_clean("#ifdef X\n#endif\n", "src/ports/dpdk/port.cc")
        self.assert_clean('std::cout << "x";\n', "tools/lmn/main.cc")
        self.assert_rule("disabled-test", "TEST(A, DISABLED_b) {}\n", "src/maps/a_test.cc")
        self.assert_rule("silent-skip", "  GTEST_SKIP();\n", "src/maps/a_test.cc")
        self.assert_clean('  GTEST_SKIP() << "no root";\n', "src/maps/a_test.cc")

    def test_allow_marker_needs_a_reason(self):
        self.assert_clean("// tidy:allow(throw) the library's own type wants it\nthrow 1;\n")
        self.assert_clean("throw 1;  // tidy:allow(throw) because\n")
        self.assert_rule("throw", "throw 1;  // tidy:allow(throw)\n")
        self.assert_rule("throw", "throw 1;  // tidy:allow(print) because\n")

    def test_todo_needs_a_number(self):
        self.assert_rule("todo", "// TODO: later\n")
        self.assert_rule("todo", "// FIXME later\n")
        self.assert_clean("// TODO(#12): later\n")

    def test_words_of_one_machine(self):
        for word in ("/wor" + "k/main", "/tmp/lm" + "n/x", "../share" + "d/y"):
            self.assertIn("machine", rules_of("docs/a.md", f"see {word}\n"), word)
        self.assertEqual(rules_of("docs/a.md", "net/work and framework, worker\n"), set())

    def test_file_comment(self):
        self.assertIn("licence", rules_of("src/a/a.cc", "// text\n// text\n"))
        bare = "// SPDX-License-Identifier: Apache-2.0\n#include <x>\n"
        self.assertIn("file-comment", rules_of("src/a/a.cc", bare))
        self.assertIn("file-comment", rules_of("src/a/a.def", "ROW(a)\n"))
        self.assertEqual(rules_of("src/a/a.def", "// Rows.\n//   ROW(name)\nROW(a)\n"), set())
        self.assertIn(
            "file-comment",
            rules_of("scripts/a.py", "# SPDX-License-Identifier: Apache-2.0\nx = 1\n"),
        )
        self.assertEqual(rules_of("scripts/a.py", "#!/usr/bin/env python3\n" + PY_HEAD), set())
        self.assertIn("file-comment", rules_of("scripts/a.sh", "#!/bin/sh\nls\n"))

    def test_lengths(self):
        self.assert_rule("columns", "// " + "x" * 98 + "\n")
        self.assert_clean("// " + "x" * 97 + "\n")
        self.assert_rule("file-length", "int a;\n" * 600)

    def test_commented_code(self):
        self.assert_rule("commented-code", "// run(a, b);\n")
        self.assert_rule("commented-code", "  // count = 3;\n")
        self.assert_clean("//   run(a, b);   an example\n// Prose; with a semicolon.\n")

    def test_function_length(self):
        def function(lines, head="int f(int a) {"):
            return head + "\n" + "  a += 1;\n" * (lines - 2) + "}\n"

        self.assert_clean(function(70))
        self.assert_rule("function-length", function(71))
        heads = (
            "Result<int> A::f(int a) const noexcept {",
            "TEST(A, B) {",
            "A::A(int a) : b_(a), c_{} {",
            "auto f() -> int {",
        )
        for head in heads:
            self.assert_rule("function-length", function(71, head))
        self.assert_rule(
            "function-length",
            "namespace x {\nclass A {\n" + function(71, "  int f() {") + "};\n}\n",
        )
        self.assert_clean("namespace x {\n" + function(40) + function(40, "int g() {") + "}\n")
        self.assert_clean("const int rows[] = {\n" + "  1,\n" * 100 + "};\n")
        switch = "int f(int a) {\n  switch (a) {\n" + "    case 1: return g();\n" * 90 + "  }\n}\n"
        self.assert_clean(switch)


class TreeRules(TreeTest):
    check = tidy.check

    def tree(self, extra):
        cpp = HEAD + '#include "base/a.h"\nint use() { return kUsed; }\n'
        return {
            "src/base/CMakeLists.txt": "lmn_module(base SOURCES a.cc)\n",
            "src/base/a.cc": cpp,
            "src/base/a.h": HEAD + '#include "base/error_codes.def"\n',
            "src/base/error_codes.def": "// Rows.\n//   ROW(name)\nLMN_ERROR_CODE(kUsed)\n",
            **extra,
        }

    def test_good_tree_is_clean(self):
        self.assert_clean(self.tree({}))

    def test_dead_row_and_dead_table(self):
        rows = "// Rows.\n//   ROW(name)\nLMN_ERROR_CODE(kUsed)\nLMN_ERROR_CODE(kNever)\n"
        self.assert_finding(
            self.tree({"src/base/error_codes.def": rows}), "error_codes.def:4", "kNever"
        )
        self.assert_finding(
            self.tree({"src/base/x.def": "// A.\n// B.\nLMN_X(a)\n"}), "x.def", "nothing includes"
        )
        self.assert_finding(
            self.tree({"src/base/error_codes.def": "// A.\n// B.\n"}), "it has no row"
        )

    def test_dead_files(self):
        self.assert_finding(
            self.tree({"src/base/b.cc": HEAD}), "src/base/b.cc", "no CMakeLists.txt lists it"
        )
        everything = "lmn_module(base SOURCES * TESTS a_test.cc)\n"
        globbed = {"src/base/CMakeLists.txt": everything, "src/base/b.cc": HEAD}
        self.assert_clean(self.tree(globbed))
        self.assert_finding(self.tree({**globbed, "src/base/c_test.cc": HEAD}), "c_test.cc")
        self.assert_finding(
            self.tree({"src/base/b.h": HEAD}), "src/base/b.h", "nothing includes it"
        )
        self.assert_finding(
            self.tree({"scripts/x.sh": "#!/bin/sh\n# X.\nls\n"}),
            "scripts/x.sh",
            "nothing mentions",
        )
        self.assert_finding(self.tree({"docs/x.md": "text\n"}), "docs/x.md", "nothing mentions")

    def test_paths_in_pages_and_comments(self):
        self.assert_finding(
            self.tree({"README.md": "see `src/none.cc`\n"}), "README.md:1", "src/none.cc"
        )
        self.assert_finding(
            self.tree({"README.md": "see [x](docs/none.md)\n"}), "README.md:1", "docs/none.md"
        )
        self.assert_finding(
            self.tree(
                {"src/base/a.h": HEAD + '// docs/none.md\n#include "base/error_codes.def"\n'}
            ),
            "docs/none.md",
        )
        self.assert_finding(
            self.tree(
                {
                    "src/base/a.cc": HEAD
                    + '// Tested by a_test.cc.\n#include "base/a.h"\nint x = kUsed;\n'
                }
            ),
            "a_test.cc",
        )
        good = (
            "see `src/base/a.{h,cc}`, `src/*/CMakeLists.txt`, `src/base/`, `docs/<name>.md`, "
            "[x](src/base/a.cc#L1)\n"
        )
        self.assert_clean(self.tree({"README.md": good}))

    def test_verifier_rules_need_two_cases(self):
        rules = {
            "src/verifier/rules.def": "// A.\n// B.\nLMN_RULE(kUsed)\n",
            "src/base/b.h": HEAD,
            "src/base/a.cc": HEAD
            + '#include "base/a.h"\n#include "b.h"\n#include "v/rules.def"\nint x = kUsed;\n',
        }
        self.assert_finding(self.tree(rules), "kUsed", "no accept case")
        one = {**rules, "tests/filetests/verifier/a.txt": "accept kUsed\n"}
        self.assert_finding(self.tree(one), "kUsed", "no reject case")
        self.assert_clean(self.tree({**one, "tests/filetests/verifier/b.txt": "kUsed reject\n"}))

    def test_a_type_has_one_place(self):
        def tree(lines):
            uses = '#include "base/a.h"\n#include "b.h"\nint use() { return kUsed; }\n'
            body = "\n".join(["namespace lmn {", *lines, "}  // namespace lmn"])
            held = "namespace lmn {\nstruct Held {\n  int a;\n};\n}  // namespace lmn\n"
            return self.tree(
                {"src/base/b.h": HEAD + held, "src/base/a.cc": HEAD + uses + body + "\n"}
            )

        held = ["class Held {", "  char b;", "};"]
        # Files are read in the order of their names.
        self.assert_finding(tree(held), "src/base/b.h", "[one-type] lmn::Held", "src/base/a.cc")
        self.assert_clean(tree(["namespace {", *held, "}  // namespace"]))
        self.assert_clean(tree(["struct Held::Part {", "  char b;", "};"]))


class Ratchet(TreeTest):
    check = tidy.check

    def tree(self, allowed, bad_lines):
        return {
            "src/base/CMakeLists.txt": "lmn_module(base SOURCES a.cc)\n",
            "src/base/a.cc": HEAD + "throw 1;\n" * bad_lines,
            "scripts/tidy_ratchet.txt": f"# old\nthrow src/base/a.cc {allowed}\n",
        }

    def test_old_findings_are_allowed_but_not_more_and_not_fewer(self):
        self.assert_clean(self.tree(2, 2))
        self.assert_finding(self.tree(2, 3), "src/base/a.cc", "throw")
        self.assert_finding(self.tree(2, 1), "lower the 2")


if __name__ == "__main__":
    unittest.main()
