# SPDX-License-Identifier: Apache-2.0
"""The rules of tidy.py that look at one source file: banned calls, lengths, file comments, TODOs,
words of one machine.

A rule is a name, a pattern, where it holds and what to write instead. A line may break a rule when
it (or the line above) says "tidy:allow(rule) reason"; without a reason it may not.
"""
import re
from dataclasses import dataclass, field

from repo import Finding

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
COLUMNS_MAX = 100
LICENCE = "SPDX-License-Identifier: Apache-2.0"
CODE_SUFFIXES = (".cc", ".h")
ALL_CODE = ("src/", "tools/", "tests/", "fuzz/", "bench/", "examples/")
PRODUCT = ("src/", "tools/")


@dataclass(frozen=True)
class Ban:
    rule: str
    pattern: str
    instead: str
    where: tuple = ALL_CODE
    except_in: tuple = ()
    tests: object = None  # True: only in tests; False: only outside them
    strings: bool = False  # looks at the text with its comments and strings, not at the code alone
    compiled: object = field(default=None, compare=False)

    def matches(self, text):
        return re.search(self.pattern, text)


# Spelt in two parts, so that this file does not break its own rule.
MACHINE_WORDS = r"(?<![\w.])/wor" + r"k\b|/tmp/lm" + r"n\b(?!-)|\.\./share" + r"d\b|\bfar" + r"m\b"

BANS = [
    Ban(
        "c-string",
        r"\b(strcpy|strcat|strncpy|sprintf|vsprintf|gets|strtok|alloca)\s*\(",
        "std::string, std::span or fmt",
    ),
    Ban("c-number", r"\b(atoi|atol|atof)\s*\(", "std::from_chars"),
    Ban(
        "rand",
        r"\b(std::rand|srand|drand48)\s*\(|(?<![\w.:>])rand\s*\(",
        "PrandomState, or std::mt19937_64 with a printed seed",
    ),
    Ban(
        "sleep",
        r"\b(sleep_for|sleep_until|usleep|nanosleep)\s*\(|(?<![\w.>])sleep\s*\(",
        "FakeClock, or wait for the event itself with poll()",
        tests=True,
    ),
    Ban("throw", r"\bthrow\b", "return an Error (base/result.h)", where=PRODUCT),
    Ban(
        "print",
        r"\bstd::(cout|cerr|clog)\b|(?<![\w:])(printf|puts|putchar)\s*\("
        r"|\bfprintf\s*\(\s*std(out|err)",
        "Log for people, Result for callers",
        where=("src/",),
        except_in=("src/base/assert.cc", "src/base/log.cc"),
    ),
    Ban(
        "naked-new",
        r"(?<!\w)new\s+[A-Za-z_:]|(?<!operator )\bdelete\s*(\[\]\s*)?[A-Za-z_(*]",
        "std::make_unique, or std::unique_ptr<T>(new T(...)) where the constructor is private",
        where=PRODUCT,
    ),
    # What only assertions need may depend on LMN_DCHECKS.
    # assert.h and mutex.h define the macros that others use instead; bpf_newer.h completes old
    # headers.
    Ban(
        "preprocessor",
        r"^\s*#\s*(if|ifdef|ifndef|elif)\b(?!\s+LMN_DCHECKS$)",
        "a row of a .def, a driver's own folder or src/base/platform*",
        where=PRODUCT,
        except_in=(
            "src/base/platform",
            "src/base/assert.h",
            "src/base/mutex.h",
            "src/abi/bpf_newer.h",
            "src/ports/",
        ),
    ),
    Ban("if-0", r"^\s*#\s*if\s+0\b", "delete the code; git keeps it"),
    Ban(
        "std-format",
        r"\bstd::(format|print|println)\b"
        r"|#\s*include\s*<(format|print|mdspan|flat_map|generator|regex)>",
        "fmt (std's is not in libstdc++ 12)",
    ),
    Ban("using-std", r"\busing\s+namespace\s+std\s*;", "std:: in full"),
    Ban(
        "thread-local",
        r"\bthread_local\b",
        "RunContext or a member of the worker",
        where=("src/",),
    ),
    Ban(
        "static-state",
        r"^\s+static\s+(?!const\b|constexpr\b|inline\b|thread_local\b)[\w:<>,*& ]+?\s+\w+\s*"
        r"(=[^=]|\{|;)",
        "a member of an object that the Engine owns",
        tests=False,
        where=("src/",),
    ),
    Ban(
        "disabled-test",
        r"\bDISABLED_",
        "mend the test, or delete it with its reason in the commit",
    ),
    Ban("silent-skip", r"\bGTEST_SKIP\(\)\s*;", 'GTEST_SKIP() << "why"'),
    Ban(
        "todo", r"\bTODO\b(?!\(#\d+\))|\bFIXME\b|\bXXX\b", "TODO(#issue), or no TODO", strings=True
    ),
    Ban(
        "machine",
        MACHINE_WORDS,
        "nothing of one machine belongs in the tree",
        where=("",),
        strings=True,
    ),
]


def is_test(path):
    return path.startswith("tests/") or re.search(r"_(test|for_tests)\.(cc|h)$", path) is not None


def blank(match):
    """Spaces instead of the text, but the line breaks stay, so that positions and line numbers do
    not move.
    """
    return re.sub(r"[^\n]", " ", match.group(0))


def code_only(text):
    """C++ text with comments, strings and character literals blanked."""
    token = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
        r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",
        re.DOTALL,
    )
    # An include keeps its name: rules look at it.
    return token.sub(
        lambda m: m.group(0) if text.endswith("#include ", 0, m.start()) else blank(m), text
    )


def is_allowed(lines, index, rule):
    """True when line `index` or a comment right above carries the marker with a reason."""
    marker = re.compile(r"tidy:allow\(" + re.escape(rule) + r"\)\s+\w+")
    return any(0 <= i < len(lines) and marker.search(lines[i]) for i in (index, index - 1))


def is_owned_new(code_lines, index):
    """True when every `new` of the line is the first argument of a call: something takes it."""
    line = code_lines[index]
    before = code_lines[index - 1].rstrip() if index > 0 else ""
    news = [m.start() for m in re.finditer(r"(?<!\w)new\s+[A-Za-z_:]", line)]
    return bool(news) and all((line[:at].rstrip() or before).endswith("(") for at in news)


def check_bans(path, text):
    lines = text.splitlines()
    is_cpp = path.endswith((".cc", ".h", ".c"))
    code_lines = code_only(text).splitlines() if is_cpp else lines
    findings = []
    for ban in BANS:
        if not path.startswith(ban.where) or path.startswith(ban.except_in or ("\0",)):
            continue
        if ban.tests not in (None, is_test(path)) or (not ban.strings and not is_cpp):
            continue
        for index, line in enumerate(lines if ban.strings else code_lines):
            if not ban.matches(line) or is_allowed(lines, index, ban.rule):
                continue
            if ban.rule == "naked-new" and is_owned_new(code_lines, index):
                continue
            findings.append(
                Finding(
                    path,
                    index + 1,
                    f"[{ban.rule}] {ban.matches(line).group(0).strip()!r}: use {ban.instead}",
                )
            )
    return findings


def check_lengths(path, text):
    findings = []
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if (
            len(line) > COLUMNS_MAX
            and "http" not in line
            and not is_allowed(lines, index, "columns")
        ):
            findings.append(
                Finding(path, index + 1, f"[columns] {len(line)} columns, at most {COLUMNS_MAX}")
            )
    if path.endswith(CODE_SUFFIXES) and len(lines) > FILE_LINES_MAX:
        findings.append(
            Finding(
                path, 1, f"[file-length] {len(lines)} lines, at most {FILE_LINES_MAX}: split it"
            )
        )
    return findings


def check_file_comment(path, text):
    """A licence line and a file comment of two lines or more; a .def has a legend instead of a
    licence.
    """
    lines = text.splitlines()
    mark = "#" if path.endswith((".py", ".sh", ".cmake")) else "//"
    start = 0
    while start < len(lines) and lines[start].startswith("#!"):
        start += 1
    findings = []
    if path.endswith((".cc", ".h", ".c", ".py")):
        if start >= len(lines) or LICENCE not in lines[start]:
            return [Finding(path, 1, f"[licence] the first line must be '{mark} {LICENCE}'")]
        start += 1
    if path.endswith(".py"):
        if not re.match(r'\s*"""\S', "\n".join(lines[start:])):
            findings.append(
                Finding(path, start + 1, "[file-comment] a docstring must follow the licence line")
            )
        return findings
    count = 0
    for line in lines[start:]:
        if not line.startswith(mark):
            break
        count += 1
    if count < 2 and not (path.endswith((".sh", ".cmake")) and count == 1):
        findings.append(
            Finding(
                path,
                start + 1,
                f"[file-comment] {count} lines of file comment; say what it does and why",
            )
        )
    return findings


COMMENTED_CODE = re.compile(
    r"^\s*// ?(?! )[\w:<>*&.\->\[\]]+(\s[\w:<>*&.]+)*(?<=[\w>\]])(\(.*\)|\s=[^;=]+);\s*$"
)


def check_commented_code(path, text):
    """Examples in file comments are indented by two spaces or more; a statement that is not is
    code somebody switched off.
    """
    return [
        Finding(
            path,
            number,
            "[commented-code] looks like code in a comment; delete it or indent it as an example",
        )
        for number, line in enumerate(text.splitlines(), 1)
        if COMMENTED_CODE.match(line)
    ]


CONTROL = re.compile(r"^(?:else\s+)?(if|for|while|switch|do|catch|else|try)\b")
NOT_FUNCTION = re.compile(
    r"^(?:template\s*<[^{}]*>\s*)?(?:inline\s+)?(namespace|class|struct|union|enum|extern)\b"
)


def matching_braces(code):
    """{position of each opening brace: position of its closing one}"""
    pairs, open_at = {}, []
    for match in re.finditer(r"[{}]", code):
        if match.group(0) == "{":
            open_at.append(match.start())
        elif open_at:
            pairs[open_at.pop()] = match.start()
    return pairs


def is_body(code, start, position, end):
    """True when the braces at position..end, of a statement from start on, are a function's."""
    signature = code[start:position].strip()
    # In "A::A() : b_{1}, c_{} {" only the last brace opens the body.
    if re.match(r"\s*[,{]", code[end + 1 : end + 80]):
        return False
    return (
        "(" in signature
        and not CONTROL.match(signature)
        and not NOT_FUNCTION.match(signature)
        and not re.search(r"=\s*$|\breturn\b", signature)
    )


def functions(text):
    """Yields (first line, last line, signature) of each function body of C++ text, without those
    inside others (lambdas, local classes). By braces, not by grammar.
    """
    code = re.sub(r"(?m)^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", blank, code_only(text))
    pairs = matching_braces(code)
    start = position = 0
    while position < len(code):
        end = pairs.get(position)
        if code[position] == "{" and end is not None and is_body(code, start, position, end):
            start += len(code[start:position]) - len(code[start:position].lstrip())
            first = code.count("\n", 0, start) + 1
            yield first, code.count("\n", 0, end) + 1, code[start:position]
            start = position = end
        elif end is not None and re.match(r"\s*[,{]", code[end + 1 : end + 80]):
            position = end  # an initializer: the statement goes on
        elif code[position] in "{};":
            start = position + 1
        if position == start and code[position : position + 1] == "}":
            start = position + 1
        position += 1


def is_dispatch(lines):
    """A switch whose cases are one call each: most of its lines start with case."""
    cases = sum(1 for line in lines if re.match(r"\s*(case\b|default:|LMN_\w+\()", line))
    return any("switch" in line for line in lines) and cases * 2 >= len(lines)


def check_functions(path, text):
    findings = []
    lines = text.splitlines()
    for first, last, signature in functions(text):
        length = last - first + 1
        if length <= FUNCTION_LINES_MAX or is_dispatch(lines[first - 1 : last]):
            continue
        if is_allowed(lines, first - 1, "function-length"):
            continue
        name = " ".join(signature.split())[:60]
        findings.append(
            Finding(
                path,
                first,
                f"[function-length] {length} lines, at most {FUNCTION_LINES_MAX}: {name}",
            )
        )
    return findings


def check_source(path, text):
    """All rules of this file, for one file of the tree."""
    findings = check_bans(path, text)
    if path.endswith((".cc", ".h", ".c", ".def", ".py", ".sh", ".cmake")):
        findings += check_file_comment(path, text)
    if path.endswith((".cc", ".h", ".c", ".py", ".sh")) or path == "dev":
        findings += check_lengths(path, text)
    if path.endswith((".cc", ".h", ".c")):
        findings += check_commented_code(path, text)
        findings += check_functions(path, text)
    return findings
