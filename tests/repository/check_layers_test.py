# SPDX-License-Identifier: Apache-2.0
"""Goal: a wrong include cannot get in. Method: a correct tree of three modules, broken in one way
per case.
"""
import unittest

import check_layers
from tree import TreeTest

GOOD = {
    "src/base/CMakeLists.txt": "lmn_module(base SOURCES a.cc)  # comment (with brackets)\n",
    "src/base/a.h": "#include <vector>\n",
    "src/abi/CMakeLists.txt": "lmn_module(abi DEPS base)\n",
    "src/abi/b.h": '#include "base/a.h"\n',
    "src/maps/CMakeLists.txt": "lmn_module(maps\n  SOURCES m.cc\n  DEPS abi base\n"
    "  TESTS m_test.cc TEST_DEPS helpers)\n",
    "src/maps/m.cc": '#include "maps/m.h"\n#include "abi/b.h"\n#include "base/a.h"\n',
    "src/maps/m.h": "#include <span>\n",
    "src/maps/m_test.cc": '#include <gtest/gtest.h>\n#include "helpers/h.h"\n#include "maps/m.h"\n',
    "src/helpers/CMakeLists.txt": "lmn_module(helpers DEPS maps)\n",
    "src/helpers/h.h": '#include "maps/m.h"\n',
    "tools/lmn/CMakeLists.txt": "target_link_libraries(lmn PRIVATE lmn_maps)\n",
    "tools/lmn/main.cc": '#include <CLI/CLI.hpp>\n#include "lmn/local.h"\n#include "maps/m.h"\n',
}


def with_file(path, text):
    return {**GOOD, path: text}


class Layers(TreeTest):
    check = check_layers.check

    def test_good_tree_is_clean(self):
        self.assert_clean(GOOD)

    def test_include_of_an_unlisted_module(self):
        tree = with_file("src/abi/CMakeLists.txt", "lmn_module(abi)\n")
        self.assert_finding(tree, "src/abi/b.h:1", "does not list 'base'")

    def test_upward_include(self):
        self.assert_finding(
            with_file("src/base/a.cc", '#include "maps/m.h"\n'), "src/base/a.cc:1", "'maps'"
        )

    def test_upward_dependency_even_when_listed(self):
        tree = with_file("src/base/CMakeLists.txt", "lmn_module(base DEPS maps)\n")
        self.assert_finding(tree, "src/base/CMakeLists.txt:1", "only lower levels")

    def test_sideways_dependency(self):
        tree = with_file("src/verifier/CMakeLists.txt", "lmn_module(verifier DEPS maps)\n")
        self.assert_finding(
            {**tree, "src/verifier/v.cc": '#include "maps/m.h"\n'}, "only lower levels"
        )

    def test_test_dependency_is_not_for_the_product(self):
        self.assert_finding(
            with_file("src/maps/n.cc", '#include "helpers/h.h"\n'), "src/maps/n.cc:1", "'helpers'"
        )

    def test_stale_dependency(self):
        self.assert_finding(with_file("src/helpers/h.h", "\n"), "DEPS lists 'maps', but nothing")

    def test_dependency_that_is_no_module(self):
        tree = with_file("src/abi/CMakeLists.txt", "lmn_module(abi DEPS base nonsense)\n")
        self.assert_finding(tree, "'nonsense', which is no module")

    def test_folder_without_module(self):
        self.assert_finding(with_file("src/new/n.cc", "\n"), "src/new has no lmn_module")

    def test_module_without_level(self):
        self.assert_finding(
            with_file("src/new/CMakeLists.txt", "lmn_module(new)\n"), "has no level"
        )

    def test_include_from_outside_src(self):
        self.assert_finding(with_file("src/maps/n.cc", '#include "tests/x.h"\n'), "in no module")

    def test_tool_that_does_not_link_what_it_includes(self):
        self.assert_clean(with_file("tools/lmn/x.cc", '#include "abi/b.h"\n'))
        self.assert_finding(
            with_file("tools/lmn/x.cc", '#include "helpers/h.h"\n'),
            "tools/lmn/x.cc:1",
            "lmn_helpers",
        )

    def test_confined_libraries(self):
        for header, word in (
            ("llvm/IR/IRBuilder.h", "LLVM"),
            ("rte_ethdev.h", "DPDK"),
            ("CLI/CLI.hpp", "CLI11"),
            ("nlohmann/json.hpp", "json.cc"),
            ("bpf/libbpf.h", "libbpf"),
            ("gtest/gtest.h", "outside a test"),
        ):
            self.assert_finding(
                with_file("src/maps/n.cc", f"#include <{header}>\n"), "src/maps/n.cc:1", word
            )
        self.assert_finding(with_file("src/maps/n.h", "#include <fmt/format.h>\n"), "in a header")
        inside = with_file("src/ports/CMakeLists.txt", "lmn_module(ports)\n")
        self.assert_clean({**inside, "src/ports/dpdk/p.cc": "#include <rte_ethdev.h>\n"})

    def test_architecture_page_shows_the_same_levels(self):
        rows = "".join(
            f"| {check_layers.LEVELS[m]} | `{m}` | x |\n"
            for m in ("base", "abi", "maps", "helpers")
        )
        self.assert_clean(with_file("docs/ARCHITECTURE.md", rows))
        wrong = rows.replace("| 4 | `maps`", "| 3 | `maps`")
        self.assert_finding(with_file("docs/ARCHITECTURE.md", wrong), "level of 'maps' is 4")
        self.assert_finding(with_file("docs/ARCHITECTURE.md", ""), "module 'maps' is missing")


if __name__ == "__main__":
    unittest.main()
