"""Tables as spreadsheets, scripts and people write them: read right, or refused in one line with the row's number."""

from __future__ import annotations

import itertools
import random
import sys

import pytest

from modality_synthesis.datasets import read_cohort
from modality_synthesis.datasets.places import volume_place
from modality_synthesis.errors import BadInputError
from modality_synthesis.evaluation.normal_cohort import read_normal_cohort
from modality_synthesis.tables import as_number, is_unknown, read_table, safe_place, unsafe_name
from modality_synthesis.volumes import why_absent


@pytest.fixture
def write(tmp_path):
    def write(content, name="cohort.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


# One cohort in many spellings

ROWS = [
    ("P-001", "1", "train", "s001.nii.gz", "71.5", "F", "seen, twice"),
    ("P-001", "2", "train", "s002.nii.gz", "72.25", "F", ""),
    ("P-002", "1", "validation", "sub/s003.nii.gz", "", "M", "Müller\nwas here"),
    ("P-003", "1", "test", "s004.nii.gz", "60", "M", 'said "no"'),
]
NAMES = ("subject", "session", "split", "T1w", "age", "sex", "comment")


def spelled(rng: random.Random, encoding: str, separator: str, line_end: str) -> bytes:
    """The cohort as some program could have written it."""

    def name(word: str) -> str:
        word = rng.choice([word, word.upper(), word.lower(), word.title()])
        return rng.choice(["", " "]) + word + rng.choice(["", "  "])

    def cell(column: str, value: str) -> str:
        if column == "age" and separator in ";\t" and comma:
            value = value.replace(".", ",")
        if column == "age" and not value:
            value = rng.choice(["", "NA", "n/a", "unknown", "-", "."])
        if column == "sex":
            value = rng.choice({"F": ["F", "f", "female", "Woman"], "M": ["M", "m", "male", "Man"]}[value])
        if column == "split":
            value = rng.choice(
                [value, value.upper(), value.title(), {"train": "training", "test": "Test"}.get(value, "val")]
            )
        if column == "T1w" and windows:
            value = ".\\" + value.replace("/", "\\")
        if any(letter in value for letter in '";\t,\n|') or rng.random() < 0.2:
            return '"' + value.replace('"', '""').replace("\n", line_end) + '"'
        return rng.choice(["", " "]) + value + rng.choice(["", " "])

    comma, windows = rng.random() < 0.5, rng.random() < 0.3
    order = rng.sample(range(len(NAMES)), len(NAMES))
    lines = [separator.join(name(NAMES[index]) for index in order)]
    for row in ROWS:
        if rng.random() < 0.3:
            lines.append(rng.choice(["", separator * rng.randint(1, 9), " " + separator]))
        lines.append(separator.join(cell(NAMES[index], row[index]) for index in order))
    if rng.random() < 0.3:
        lines.insert(0, "# exported from REDCap, 3.5")
    elif rng.random() < 0.3 and separator != "\t":
        lines.insert(0, f"sep={separator}")
    text = line_end.join(lines) + rng.choice(["", line_end, 3 * line_end])
    return text.encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_every_spelling_of_a_cohort_is_the_same_cohort(write, tmp_path, encoding, separator):
    (tmp_path / "sub").mkdir()
    for row in ROWS:
        (tmp_path / row[3]).touch()
    for line_end, seed in itertools.product(("\n", "\r\n", "\r"), range(6)):
        if encoding == "cp1252" and line_end == "\r":
            continue  # a classic Mac's text, below
        raw = spelled(random.Random(f"{encoding}{separator}{line_end!r}{seed}"), encoding, separator, line_end)
        cohort = read_cohort(write(raw))
        found = [
            (v.subject, v.session, v.split, v.volumes["T1w"].relative_to(tmp_path).as_posix(), v.variable("AGE") or "",
             v.variable("sex"), v.variable("comment") or "")
            for v in cohort
        ]  # fmt: skip
        assert found == ROWS, raw


def test_a_classic_macs_text(write):
    path = write("subject,T1w,comment\rA,a.nii,Müller\r".encode("mac_roman"))
    assert read_cohort(path).visits[0].variable("comment") == "Müller"


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "sep=;;;;", "SEP=;"])
def test_excels_hint_names_the_separator(write, first):
    path = write(f"{first}\r\nsubject;T1w;a,b\r\nA;a.nii;71,5\r\n")
    table = read_table(path, "table")
    assert table.columns == ("subject", "T1w", "a,b")
    assert (table.rows[0].line, table.rows[0].cells["a,b"]) == (3, "71.5")


def test_comments_between_rows_are_left_out_and_said(write):
    cohort = read_cohort(write('# REDCap\n# "2024\nsubject,T1w\nA,a.nii\n#B,b.nii\nC,"c\n#d.nii"\n'))
    assert [visit.subject for visit in cohort] == ["A", "C"]
    assert "line 5" in cohort.findings[0].text
    assert cohort.findings[0].level == "look"


def test_a_spreadsheets_error_in_the_first_cell_is_no_comment(write):
    with pytest.raises(BadInputError, match=r"line 2: the row has no subject.*#N/A"):
        read_cohort(write("subject,T1w\n#N/A,a.nii\n"))


def test_row_numbers_of_pandas_and_r_are_no_variable(write):
    for first in (0, 1):
        cohort = read_cohort(write(f",subject,T1w\n{first},A,a.nii\n{first + 1},B,b.nii\n"))
        assert [visit.variables for visit in cohort] == [{}, {}]
    with pytest.raises(BadInputError, match=r"line 1: column 3 holds values and has no name"):
        read_cohort(write("subject,T1w,\nA,a.nii,7\n"))


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("71", 71), ("71.5", 71.5), ("71,5", 71.5), ("-3,25", -3.25), ("1.234,5", 1234.5), ("1e2", 100), (" 7 ", 7),
     ("1,234", None), ("old", None), ("inf", None), ("nan", None), ("71 years", None), ("1,2,3", None), ("90+", None)],
)  # fmt: skip
def test_numbers_as_people_write_them(text, value):
    assert as_number(text) == value


def test_a_comma_with_three_digits_is_decimal_between_semicolons_only(write):
    cohort = read_cohort(write("subject;suvr;note\nA;1,234;x, y\nB;1,5;\n"))
    assert [(visit.variable("suvr"), visit.variable("note")) for visit in cohort] == [("1.234", "x, y"), ("1.5", None)]
    cohort = read_cohort(write('subject,income\nA,"1,234"\n'))
    assert cohort.visits[0].variable("income") == "1,234"


def test_words_for_unknown_are_one_list(write):
    words = [
        "",
        "NA",
        "n/a",
        "N/A",
        "nan",
        "None",
        "unknown",
        ".",
        "-",
        "–",
        "#N/A",
        "#VALUE!",
        "NULL",
        "<NA>",
        "missing",
    ]
    rows = "".join(f"s{index}\ta.nii\t{word}\n" for index, word in enumerate(words))
    assert {visit.variable("age") for visit in read_cohort(write("subject\tT1w\tage\n" + rows))} == {None}
    assert all(map(is_unknown, words))
    assert not any(map(is_unknown, ["0", "no", "other", "?"]))


# Refused, with the line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,T1w,age\nA,a.nii,71\nB,b.nii,60,F\n", "line 3: the row has 4 cells and the header 3"),
        ("subject,T1w,age\nA,a.nii,71,5\n", "line 2.*Quote cells"),
        ("subject,T1w,age\n\nA,a.nii\n", "line 3: the row has 2 cells"),
        ("subject,T1w\nA,a.nii\nB\nC\n", r"line 3: .*1 more line"),
        ('subject,T1w,x\nA,a.nii,"two\nlines"\nB,b.nii\n', "line 4"),
        ('subject,T1w\nA,"a.nii\nB,b.nii\n', "line 2: a quotation mark is opened"),
        ("subject,T1w,note\nA,a.nii," + 140_000 * "x" + "\n", "line 2: a cell is longer"),
        ("subject,T1w\n,a.nii\n", "line 2: the row has no subject"),
        ("subject,T1w\n  ,a.nii\n", "line 2: the row has no subject"),
        ("subject,T1w\nNA,a.nii\n", "line 2: the row has no subject.*'NA'"),
        ("subject,T1w,t1w\nA,a.nii,b.nii\n", "'T1w' and 't1w' mean the same"),
        ("subject,FDG-PET,fdg_pet\nA,a.nii,b.nii\n", "'FDG-PET' and 'fdg_pet' mean the same"),
        ("subject,age,Age\nA,1,2\n", "'age' and 'Age' mean the same"),
        ("subject,T1w\nA,a.nii\nSubject,T1W\nB,b.nii\n", "line 3: the header once more"),
        ("a,a,subject\n1,2,3\n", "'a' and 'a' mean the same"),
        ("subject,FDG.PET,FDG-PET\nA,a,b\n", "'FDG.PET' and 'FDG-PET' mean the same"),
        ("subject T1w age\nA a.nii 71\n", "no column 'subject'.*'subject T1w age'"),
        ("a.nii,A,71\n", "no column 'subject'"),
        ("# only\n# comments\n", "only comments"),
        ("\n\n", "is empty"),
        ('{"subject": "A"}', "JSON"),
        ("<table></table>", "HTML"),
        ("subject,T1w\nA,a.nii\nA,b.nii\n", r"A occurs twice \(lines 2 and 3\)"),
        ("subject,session,T1w\nA_1,2,a\nA,1_2,b\n", "lines 2 and 3: two visits would both be named 'A_1_2'"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused_in_one_line(write, text, message):
    with pytest.raises(BadInputError, match=message) as refusal:
        read_cohort(write(text))
    assert "\n" not in str(refusal.value)
    assert "cohort.csv" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04....", "Excel or LibreOffice save it as CSV"),
        (b"\xd0\xcf\x11\xe0....", "Excel"),
        (b"\x1f\x8b....", "compressed"),
        (b"%PDF-1.7", "PDF"),
        (bytes(344) + b"n+1\0" + bytes(100), "binary"),
        (b"subject,T1w\nA,\0\1\2\n", "binary"),
        ("subject".encode("utf-16")[:-1], "damaged"),
        (b"subject,T1w\nA,a\nB,\x81\x8d\n", "line 3: a character that is neither"),
    ],
)
def test_files_that_are_no_table_say_what_they_are(write, content, message):
    with pytest.raises(BadInputError, match=message):
        read_cohort(write(content))


def test_a_folder_given_as_a_table_names_the_command(tmp_path):
    with pytest.raises(BadInputError, match=r"modality-synthesis cohort .* -o cohort\.tsv"):
        read_cohort(tmp_path)
    (tmp_path / "cohort.csv").touch()
    with pytest.raises(BadInputError, match=r"does not exist.* Did you mean cohort\.csv"):
        read_cohort(tmp_path / "cohrt.csv")


# Columns by what they mean


def test_the_subject_is_found_by_preference_not_by_place(write):
    cohort = read_cohort(write("id,T1w,participant_id,Subject\n1,a.nii,sub-x,A\n2,b.nii,sub-y,B\n"))
    assert [visit.subject for visit in cohort] == ["A", "B"]
    assert cohort.visits[0].variables == {}
    cohort = read_cohort(write("ID ,T1w,Participant ID\n1,a.nii,sub-x\n"))
    assert cohort.visits[0].subject == "sub-x"


@pytest.mark.parametrize("name", ["FDG-PET", "fdg_pet", "FDG PET", " fdgpet", "FDG‐PET"])
def test_modalities_are_understood_however_they_are_spelled(write, tmp_path, name):
    assert read_cohort(write(f"subject,{name}\nA,p.nii\n")).visits[0].volumes == {"FDG-PET": tmp_path / "p.nii"}


def test_nothing_that_looks_like_ours_is_silently_a_clinical_variable(write):
    cohort = read_cohort(write("subject,T1,spilt\nA,a.nii,train\nB,b.nii,test\n"))
    assert [(visit.split, *visit.volumes) for visit in cohort] == [("train", "T1w"), ("test", "T1w")]
    assert [finding.code for finding in cohort.findings] == ["table-columns", "table-columns"]
    assert cohort.visits[0].variables == {}
    slips = [("T1", "0.9", "T1w"), ("PET", "x/p.nii", "FDG-PET"), ("spilt", "7", "split"), ("T1wi", "a.nii", "T1w"),
             ("set", "left", "split"), ("Sesion", "2", "session")]  # fmt: skip
    for name, cells, meant in slips:
        cohort = read_cohort(write(f"subject,{name}\nA,{cells}\n"))
        assert any(f"{name!r} is not used as" in one.text and meant in one.text for one in cohort.findings), name
    tau = read_cohort(write("subject,T1w,tau\nA,a.nii,231\nB,b.nii,340\n"))
    assert tau.visits[0].variables == {"tau": "231"}
    assert "TAU-PET" not in tau.visits[0].volumes


def test_names_of_ones_own_are_no_slips(write):
    names = "subject,T1w,age,site,FDG-PET_pasta,FDG-PET_sd,session_date,ACT,CDT,mmse,diagnosis,group,scanner,tau231"
    cohort = read_cohort(write(f"{names}\nA,a.nii,7,x,s.nii,d.nii,2020,1,2,3,AD,b,GE,2\n"))
    assert cohort.findings == ()


def test_a_missing_volume_names_the_column_that_could_be_it(write):
    cohort = read_cohort(write("subject,PET\nA,p.nii\n"))
    with pytest.raises(BadInputError, match=r"A has no FDG-PET volume\..*'PET' is not used"):
        cohort.require("FDG-PET")


def test_visits_tell_rows_apart_where_there_is_no_session(write):
    cohort = read_cohort(write("subject,VISCODE,T1w\nA,bl,a.nii\nA,m12,b.nii\n"))
    assert [visit.name for visit in cohort] == ["A_bl", "A_m12"]
    assert "'VISCODE' is taken as 'session'" in cohort.findings[0].text
    assert read_cohort(write("subject,visit,T1w\nA,1/2,a.nii\n")).visits[0].name == "A"


def test_usual_names_of_variables_are_understood(write):
    path = write("PTID,PTGENDER,MMSE total,Age (years),ADAS13,APOE-e4\n1,Male,29,71,8,1\n")
    visit = read_cohort(path).visits[0]
    names = ("sex", "mmse", "age", "adas_cog_13", "apoe4")
    assert [visit.variable(name) for name in names] == ["M", "29", "71", "8", "1"]
    two = read_cohort(write("subject,MMSE_total,mmse_score\n1,29,28\n")).visits[0]
    with pytest.raises(BadInputError, match="could both be the variable 'mmse'"):
        two.variable("mmse")


# Names that become files

UNSAFE = ["../../x", "/etc/x", "a/b", "a\\b", "C:", "2020-01-01T12:00", "..", ".", ".hidden", "a.", "CON", "nul.txt",
          "com1", "a\tb", "a\x07", "a\u202eb", "x" * 129, "ä" * 65, "what?", "a*", "<a>", "a|b"]  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_are_unsafe_as_files(tmp_path, name):
    assert unsafe_name(name) is not None
    with pytest.raises(BadInputError, match="cannot name a file"):
        safe_place(tmp_path, name)


@pytest.mark.parametrize("name", ["sub-01", "A.1", "P 7", "Müller", "山田", "console", "a" * 128, "x~1", "100%", "a,b"])
def test_ordinary_names_are_safe(tmp_path, name):
    (safe_place(tmp_path, name)).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unsafe_names_refuse_their_row_alone(write):
    rows = [("A", "1"), ("../../x", ""), ("B", "a/b"), ("b", "1"), ("B", "1"), ("CON", ""), ("CON", "1")]
    text = "subject,session,T1w\n" + "".join(f'"{one}","{two}",x.nii\n' for one, two in rows)
    cohort = read_cohort(write(text))
    assert [visit.name for visit in cohort] == ["A_1", "b_1", "CON_1"]
    assert [(row.index, row.line) for row in cohort.refused] == [(1, 3), (2, 4), (4, 6), (5, 7)]
    assert cohort.refused[0].text.startswith("line 3 of the table: the subject '../../x' cannot name a file")


# Paths in cells


def test_paths_are_understood_as_people_write_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "data"
    places = [
        folder / "sub/a b.nii",
        folder / "ü.nii",
        tmp_path / "home/h.nii",
        folder / "back\\slash.nii",
        folder / "p%20.nii",
    ]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    nested, accent, home, literal, percent = places
    for cell, place in (
        ("sub/a b.nii", nested), ("sub\\a b.nii", nested), (".\\sub\\a b.nii", nested), ('"sub/a b.nii"', nested),
        (nested.as_uri(), nested), ("sub/a%20b.nii", nested), ("u\u0308.nii", accent), ("~/h.nii", home),
        ("back\\slash.nii", literal), ("p%20.nii", percent), (str(nested), nested),
    ):  # fmt: skip
        found = volume_place(cell, folder)
        assert found.exists(), cell
        assert found.samefile(place), cell
    assert volume_place("none\\x.nii", folder) == folder / "none/x.nii"


def test_what_is_not_there_is_named_for_what_it_is(tmp_path, write):
    annex = tmp_path / "annex.nii.gz"
    annex.symlink_to("../.git/annex/objects/aa/bb/MD5E-s1--0.nii.gz/MD5E-s1--0.nii.gz")
    link = tmp_path / "link.nii.gz"
    link.symlink_to("moved.nii.gz")
    unlocked, lfs, there = tmp_path / "unlocked.nii.gz", tmp_path / "lfs.nii.gz", tmp_path / "there.nii.gz"
    unlocked.write_text("/annex/objects/MD5E-s1--0.nii.gz\n")
    lfs.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    there.write_bytes(b"\x1f\x8b")
    reasons = [why_absent(path) or "" for path in (annex, unlocked, lfs, link, tmp_path / "none")]
    wanted = ("datalad get", "datalad get", "git lfs pull", "link to moved.nii.gz", "does not exist")
    assert [want in reason for want, reason in zip(wanted, reasons, strict=True)] == [True] * 5
    assert why_absent(there) is None
    assert "too long" in why_absent(tmp_path / ("x" * 300))
    with pytest.raises(BadInputError, match=r"T1w volume of A is missing.*datalad get"):
        read_cohort(write("subject,T1w\nA,annex.nii.gz\n")).require("T1w")


# Size


def test_work_grows_with_the_rows_and_not_with_their_square(write):
    def calls(count):
        """Of functions, of Python and of its libraries: time, but the same on a busy machine."""
        path = write("subject,session,age\n" + "".join(f"s{index},1,70\n" for index in range(count)))
        counted = itertools.count()
        sys.setprofile(lambda *_: next(counted))
        try:
            cohort = read_cohort(path)
        finally:
            sys.setprofile(None)
        assert len(cohort) == count
        return next(counted)

    calls(500)
    assert calls(4_000) < 3 * calls(2_000)


# Other tables


def test_a_normal_cohort_is_read_like_every_table(write):
    path = write(
        "sep=;\r\nRegion;Hemisphere;Mean;SD\r\nprecuneus;Left;1,25;0,125\r\n;;;\r\npons;;1;NA\r\n", encoding="utf-16"
    )
    normal = read_normal_cohort(path)
    assert {place: (one.mean, one.sd) for place, one in normal.items()} == {("precuneus", "left"): (1.25, 0.125)}
    with pytest.raises(BadInputError, match=r"line 2: mean is 'high', no number"):
        read_normal_cohort(write("region,mean,sd\npons,high,1\n"))
    with pytest.raises(BadInputError, match="line 3: the standard deviation is not above 0"):
        read_normal_cohort(write("region,mean,sd\npons,1,.1\ncuneus,1,0\n"))
    with pytest.raises(BadInputError, match="line 2: the row has 2 cells"):
        read_normal_cohort(write("region,mean,sd\npons,1\n"))


def test_names_of_other_tables_may_differ_in_signs_alone(write):
    table = read_table(write("train/l1,train-l1x,amyloid+,amyloid\n1,2,3,4\n"), "training log")
    assert table.records == [{"train/l1": "1", "train-l1x": "2", "amyloid+": "3", "amyloid": "4"}]
