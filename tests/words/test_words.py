"""The check of words: it sees riddles, and leaves plain sentences alone."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import prose
import pytest
from old_words import old_words
from word_rules import allowed_headless, headless, phrases, without_example

FOLDER = Path(__file__).resolve().parent

# What a reader could not understand, with the rule that it breaks, and the same in plain words.
RIDDLES = [
    (
        6,
        "One program without dependencies, with three doors",
        "One static binary with three interfaces",
    ),
    (
        8,
        "An upload that is cancelled or fails takes back what it began; what one has left that was"
        " killed, the next start takes back.",
        "A cancelled or failed upload cleans up after itself. If the process is killed, the next"
        " run cleans up.",
    ),
    (
        1,
        "`validate` goes step by step, so that the first one that fails says what is wrong. Where"
        " another region, address or addressing works, it has found that out by trying.",
        "`validate` checks one thing at a time and stops at the first problem. If a different"
        " region, endpoint or addressing style works, it tells you which.",
    ),
    (
        8,
        "One static file, to be had here; nothing of this needs Home Assistant",
        "A single static binary (download). None of these commands needs Home Assistant",
    ),
    (
        2,
        "Empty the list `requirements` in the `manifest.json` there, so that Home Assistant asks"
        " nobody for the wheel.",
        'In `manifest.json`, set `"requirements": []`, so that Home Assistant does not download the'
        " wheel.",
    ),
    (
        1,
        "What is no whole backup stands below, with the reason.",
        "Incomplete backups are listed at the bottom, with the reason.",
    ),
    (
        8,
        "A transfer first reserves one part (20 MiB for an archive of which it is not known that it"
        " is sent in parts) and a window of 4 MiB, then takes further parts from what is left",
        "Each transfer reserves one part (20 MiB if the size is unknown) and a 4 MiB window. The"
        " rest of the budget goes to parallel parts.",
    ),
    (
        2,
        "Whoever has the keys, and be it an encryption trojan on the machine of Home Assistant, can"
        " delete with them what they may delete.",
        "Anyone with the keys, including ransomware on that machine, can delete whatever the keys"
        " allow.",
    ),
    (
        6,
        "Storages bill what lies there, for how long, how often they are asked, and what leaves"
        " them.",
        "Providers charge for storage, requests and egress.",
    ),
    (
        8,
        "archives without a document: killed in a rare moment",
        "archives without metadata: the agent was killed between the two writes",
    ),
    (8, "The credentials were valid once.", "The credentials have expired."),
    (
        8,
        "An agent MUST NOT deliver bytes of which it knows that they are not those that were"
        " stored.",
        "An agent MUST NOT deliver bytes that it knows to be corrupt.",
    ),
    (
        6,
        "what a storage wants in another way than most is learned from its refusal, in whatever"
        " request that comes, and the call is made anew",
        "if a request fails because the server needs another region, addressing style or header,"
        " the agent adapts and retries",
    ),
    (
        1,
        "What is in the folder and is no whole backup does not disturb the rest.",
        "Objects that are not part of a complete backup are handled as follows.",
    ),
    (2, "nothing is noted and nobody comes back", "there is no automatic cleanup"),
    (
        8,
        "Folder for notes of what is being stored, by which the next run takes back what a killed"
        " one has left",
        "Directory for the upload journal and the metadata cache",
    ),
    (
        8,
        "How long the storage may be away in the middle, such as `15m`",
        "Keep retrying for this long if the server becomes unreachable, for example `15m`",
    ),
    (
        8,
        "the storage keeps apart who writes one name",
        "conditional writes (If-None-Match) work",
    ),
    (
        2,
        "http: whoever is on the way can read along",
        "plain HTTP: traffic is not encrypted",
    ),
    (8, "{what} got an answer that makes no sense", "{what}: invalid response: {member}"),
    (1, "Who may hold how many bytes.", "Memory budget shared by the transfers of a target."),
    (
        8,
        "Coming back, while the target is open, for what could not be taken back at once",
        "Background cleanup of interrupted uploads",
    ),
]


def rules_broken(text: str) -> set[int]:
    passages = prose.markdown(text).passages
    found = [breach for passage in passages for breach in (*headless(passage), *phrases(passage))]
    return {breach.rule for breach in found}


@pytest.mark.parametrize(("rule", "riddle", "plain"), RIDDLES)
def test_riddle_is_found_and_plain_sentence_is_not(rule: int, riddle: str, plain: str) -> None:
    assert rule in rules_broken(riddle)
    assert not rules_broken(plain)


@pytest.mark.parametrize(
    "sentence",
    [
        "Of a file that is left out, the name is printed.",
        "That the agent was killed is found at the next start.",
        "Which region is used depends on the endpoint.",
        "Nothing is kept; what was begun is removed.",
        'He said no. "What was begun is removed."',
        "- Whose key it is cannot be seen.",
        "All is well.\nWhere a server has no\nversions, nothing is done.",
    ],
)
def test_clause_instead_of_a_subject_is_found(sentence: str) -> None:
    assert 1 in rules_broken(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "What happens if the agent is killed?",
        "That is more than most providers ask for.",
        "That folder is created for you.",
        "That means two requests for each part.",
        "Of course you can delete it.",
        "Of the 12 providers, three do not support it.",
        "Where possible, use a key that is limited to one bucket.",
        "- where to store the journal",
        "# What is stored in the bucket",
        "| What it costs | Where |\n| --- | --- |\n| What you store | the bill |",
        "The table shows which region works.",
        "```\nWhat is in a block of code is not read.\n```",
        "`What is code.` is not read either.",
        "It needs the following: `s3:GetObject`.",
    ],
)
def test_question_title_and_plain_subject_are_left_alone(sentence: str) -> None:
    assert 1 not in rules_broken(sentence)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (6, "Your backups lie in the bucket."),
        (6, "The name stands in the first line."),
        (6, "There is no room for the file."),
        (7, "Every setting but for the endpoint is optional."),
        (7, "It is stored all the same."),
        (8, "The upload is taken\nback."),
        (8, "The key lacks a right."),
        (8, "Grant these rights to the key."),
        (8, "Some storages limit this."),
        (8, "An entity tag is compared."),
        (8, "Leftovers are removed by a sweep."),
        (8, "Enter the access key id."),
        (8, "Use `auto`, or the bucket in the path."),
        (11, "This behaviour is recognised."),
    ],
)
def test_word_that_is_not_plain_is_found(rule: int, text: str) -> None:
    assert rule in rules_broken(text)


@pytest.mark.parametrize(
    "text",
    [
        "The token stands for a user.",
        "The value on the right is the right one.",
        "All rights reserved.",
        "The settings of both are all the same.",
        "Small files are sent at once, but for large ones parts are used.",
        "The server said: 403 Forbidden.",
        "The state of the storage forbids it.",
        "The prefix is the folder in the bucket.",
        "The bucket in the path (`path`), or in the host name.",
        "Enter the access key ID, and compare the two Access Key IDs.",
        "Read this document; the documents of Garage say more.",
        "Note that the header has headroom; otherwise it is promised.",
        "See [the notes](https://nobody.example/doors/rooms) and `whoever --rooms`.",
        "<!-- nobody sees this\nin any room -->\nThis is seen.",
        "[rooms]: https://example.com",
        "Run it as the user `nobody`.",
    ],
)
def test_ordinary_word_is_left_alone(text: str) -> None:
    assert not rules_broken(text)


def test_headless_sentences_are_allowed_in_long_texts_only() -> None:
    assert [allowed_headless(count) for count in (100, 4999, 5000, 10_000)] == [0, 0, 1, 2]


def test_breach_names_the_line_of_its_words() -> None:
    text = "# T\n\nFirst line,\n`code\nin two lines`, and\nnobody else.\n\n* A list\n  with rooms."
    found = [breach for passage in prose.markdown(text).passages for breach in phrases(passage)]
    assert [(breach.line, breach.found) for breach in found] == [(6, "nobody"), (9, "rooms")]


def test_section_of_a_guide_needs_an_example() -> None:
    text = """# Guide
Introduction.
## Nothing to see
Sentences only.
### Below it
More of them.
## Code
```console
$ s3-backup-agent list
```
## Words
Choose a prefix, for
example `home`.
## Elsewhere
Read [another guide](other.md).
## Steps
Go to *Settings → System*.
## Command
The command is `list --json`.
## Code word
The word is `list`.
## Picture
<img src="a.png" alt="A picture">
"""
    sections = prose.markdown(text).sections
    assert [section.title for section in sections][:3] == ["Nothing to see", "Code", "Words"]
    breaches = [breach for section in sections for breach in without_example(section)]
    assert [breach.found for breach in breaches] == ["Nothing to see", "Code word"]
    assert breaches[0].line == 3


def test_messages_of_rust_are_the_strings_of_three_words_outside_of_tests() -> None:
    source = r"""
/// Not a message, says nobody.
fn f<'a>(x: &'a str) -> Error {
    let quote = '"';
    // "nobody reads this"
    Error::new(Code::Internal, format!("nobody has \"{name} or nobody\" \
        and somebody"))
}
const RAW: &str = r#"what nobody "reads" here"#;

#[cfg(test)]
mod tests {
    const T: &str = "nobody minds this test";
}
"""
    found = [breach for passage in prose.rust_messages(source) for breach in phrases(passage)]
    assert [(breach.line, breach.found) for breach in found] == [
        (6, "nobody"),
        (6, "nobody"),
        (7, "somebody"),
        (9, "nobody"),
    ]


def test_help_of_rust_is_the_documentation_of_arguments() -> None:
    source = """
/// A struct for nobody.
struct Other;

/// Stores what nobody has
#[derive(Debug, Args)]
pub struct Upload {
    /// Who may read it
    #[arg(long)]
    name: String,
}

/// Another one for nobody.
fn f() {}
"""
    passages = list(prose.rust_help(source))
    assert [(passage.line, passage.text) for passage in passages] == [
        (5, "Stores what nobody has"),
        (8, "Who may read it"),
    ]
    assert [breach.line for passage in passages for breach in headless(passage)] == [8]


def test_examples_in_help_are_no_prose() -> None:
    source = 'const HELP: &str = "\\\nExamples:\n  s3-backup-agent list nobody\n\nNobody else.";\n'
    found = [breach for passage in prose.rust_messages(source) for breach in phrases(passage)]
    assert [(breach.line, breach.found) for breach in found] == [(5, "Nobody")]


def test_texts_of_json_are_its_values() -> None:
    source = (
        '{\n "nobody knows": "ok",\n "b": "asks nobody in {room}",\n "c": ["to \\"somebody\\""]\n}'
    )
    found = [breach for passage in prose.json_texts(source) for breach in phrases(passage)]
    assert [(breach.line, breach.found) for breach in found] == [(3, "nobody"), (4, "somebody")]


@pytest.mark.parametrize(
    "line",
    [
        "target.sweep",
        "let sweep_every = 5;",
        "struct Leftovers;",
        "s3-backup-agent recover",
        '"verifiable": true',
        "const MAX_OUTAGE_MS",
        "--part-size-bytes 5",
        "MAX_BYTES_PER_SECOND",
        '"wrong_addressing"',
        "Code::WrongAddressing",
        "fn take_back()",
        "it is taken back",
        "fn entity_tag()",
        "enum Rung { First }",
        "TEST_S3_SERVER=personality:minio",
        "use crate::noise::Noise;",
        "tend::refresh(target);",
        "turns: Turns::default()",
        "mod vitals;",
    ],
)
def test_old_word_is_found_in_any_file(line: str) -> None:
    assert next(old_words("src/x.rs", f"\n\n{line}\n")).line == 3


@pytest.mark.parametrize(
    "line",
    [
        '{"if_exists": "replace"}',
        "wrong_addressing_style",
        "wrong_addressing_path",
        "is wrung and sprung",
        "Die Vergrößerung, die Störung und die Ührung",
        "tokens tend to be long",
        "/// Turns the switch",
        "a disk that recovers",
        "applicable",
        "planes",
        "early",
        "takes it to the back",
        "in doubt",
        "pg_restore --clean --if-exists --dbname=shop",
        "Noise.tar",
    ],
)
def test_other_word_stays(line: str) -> None:
    assert not list(old_words("src/x.rs", line))


def test_old_word_is_found_in_the_name_of_a_file() -> None:
    assert [found.line for found in old_words("tests/it/vitals.rs", "")] == [0]


@pytest.mark.parametrize("path", ["Cargo.lock", "fuzz/Cargo.lock", "fuzz/findings/frame/1"])
def test_old_word_of_others_stays(path: str) -> None:
    assert not list(old_words(path, "sweep"))


def program() -> object:
    spec = importlib.util.spec_from_file_location("words_program", FOLDER / "__main__.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_changelog_is_checked_up_to_the_newest_version() -> None:
    text = b"# Changes\n\n## 2.0\nNobody.\n\n## 1.0\nNobody.\n"
    lines = program().check("CHANGELOG.md", text)  # type: ignore[attr-defined]
    assert [line.split(": ")[0] for line in lines] == ["CHANGELOG.md:4"]


def test_program_prints_each_breach_and_fails(tmp_path: Path) -> None:
    words = tmp_path / "tests/words"
    words.mkdir(parents=True)
    for file in FOLDER.glob("*.py"):
        (words / file.name).write_bytes(file.read_bytes())
    (tmp_path / "README.md").write_text("# Name\n\nNobody has a vitals file.\n", "utf-8")
    (tmp_path / "good.md").write_text("You have it.\n", "utf-8")
    (tmp_path / "image.png").write_bytes(b"\0sweep")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(words), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    for arguments in ((), ("README.md", "good.md")):
        done = run(*arguments)
        assert done.returncode == 1, done
        assert done.stdout.splitlines()[:2] == [
            'README.md:3: rule 2: "Nobody": name the actor: you, the agent, the host, the server',
            'README.md:3: old word: "vitals": process metrics',
        ]
    done = run("good.md")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
