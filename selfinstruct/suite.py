"""The filters by name: what each refuses, how it is made from ``name:parameter``, and what it reads.

One table for the command ``filter`` and for the ``use`` lists of recipes. A filter is imported when it is made.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from selfinstruct import rules
from selfinstruct.errors import BadData, ConfigProblem, UsageProblem
from selfinstruct.protocols import Drop, Filter
from selfinstruct.schema import Instruction, Lang, TaskInstance

Spoken = Lang | Literal["auto"]
"""The language of every record, or ``auto`` where each record has its own."""

AnyFilter = Filter[Any]


@dataclass(frozen=True)
class Entry:
    """A filter of the suite: what it refuses, in a line, and how it is made.

    ``make`` takes the parameter, which is the text behind the colon, else ``default``; ``takes`` says what that is:
    empty for a filter without one, in brackets where it may be left out. ``compares``: records with one another, in
    memory, so their order counts. ``judges_output``: by a whole task's output, so it has nothing to say of bare
    instructions. ``rules`` are the data files it goes by, ``{lang}`` standing for each language; ``model`` is a package
    whose data decide as well. ``libraries`` are packages whose versions a report should tell.
    """

    refuses: str
    make: Callable[[str, Spoken], AnyFilter]
    takes: str = ""
    default: str = ""
    compares: bool = False
    judges_output: bool = False
    rules: tuple[str, ...] = ()
    model: str = ""
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """A filter of a chain, as it was asked for (``rouge-l:0.7``, its parameter always told).

    ``data`` is what its verdicts rest on besides our code: the sha256 of each rule file and of a file's items, the
    version of a model.
    """

    use: str
    entry: Entry
    filter: AnyFilter
    data: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Digesting(Protocol):
    """A filter made from a file: its ``digest`` changes when a verdict may."""

    @property
    def digest(self) -> str:
        """Hex sha256 of what it took from the file."""
        ...


def choose(uses: Sequence[str], lang: Spoken) -> list[Chosen]:
    """The filters of a chain, in order.

    Raises `UsageProblem` for a name or parameter that cannot be, `BadData` for a file that cannot be read, and
    `ConfigProblem` where a package is missing.
    """
    return [_choose(use, lang) for use in uses]


def of_recipe(table: str, uses: Sequence[str], lang: Lang, *, outputs: bool) -> list[Chosen]:
    """The filters that the ``use`` of a recipe's table names; ``outputs`` says whether its stage writes any.

    Raises `ConfigProblem` for one that cannot be used there.
    """
    try:
        chosen = choose(uses, lang)
    except (UsageProblem, BadData) as error:
        raise ConfigProblem(f"{table}.use: {error}") from error
    for one in chosen:
        if one.entry.judges_output and not outputs:
            raise ConfigProblem(f"{table}.use: '{one.use}' judges an output, and this stage has none")
    return chosen


def data_of(chosen: Sequence[Chosen]) -> dict[str, str]:
    """What a chain's verdicts rest on besides our code."""
    return {name: digest for one in chosen for name, digest in one.data.items()}


def _choose(use: str, lang: Spoken) -> Chosen:
    name, _, parameter = use.partition(":")
    entry = SUITE.get(name)
    if entry is None:
        close = difflib.get_close_matches(name, SUITE, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(SUITE)}"
        raise UsageProblem(f"'{use}': no filter of that name; {hint}")
    if parameter and not entry.takes:
        raise UsageProblem(f"'{use}': {name} takes no parameter")
    parameter = parameter or entry.default
    if entry.takes and not (parameter or entry.takes.startswith("[")):
        raise UsageProblem(f"'{use}': {name} needs {entry.takes}: {name}:{entry.takes}")
    try:
        made = entry.make(parameter, lang)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageProblem(f"'{use}': {error}") from error
    except ImportError as error:
        raise ConfigProblem(f"'{use}' needs {error.name}: pip install {error.name}") from error
    return Chosen(f"{name}:{parameter}" if parameter else name, entry, made, _data(entry, parameter, lang, made))


def _data(entry: Entry, parameter: str, lang: Spoken, made: AnyFilter) -> dict[str, str]:
    languages = ("en", "zh") if lang == "auto" else (lang,)
    names = dict.fromkeys(name.format(lang=one) for name in entry.rules for one in languages)
    found = {f"rules {name}": f"sha256 {rules.digest(name)}" for name in names}
    if entry.model:
        found[entry.model] = f"version {metadata.version(entry.model)}"
    if isinstance(made, Digesting):
        found[parameter] = f"sha256 {made.digest}"
    elif parameter and "FILE" in entry.takes:
        found[parameter] = f"sha256 {hashlib.sha256(Path(parameter).read_bytes()).hexdigest()}"
    return found


def table() -> Iterator[tuple[str, str]]:
    """Each filter with its parameter, the default one where there is one, and what it refuses."""
    for name, entry in SUITE.items():
        parameter = entry.default or entry.takes
        yield name + (parameter if parameter.startswith("[") else f":{parameter}") * bool(parameter), entry.refuses


class ByLanguage:
    """Asks the filter of the record's own language; for filters that remember nothing."""

    def __init__(self, make: Callable[[Lang], AnyFilter]) -> None:
        self._filters: dict[str, AnyFilter] = {"en": make("en"), "zh": make("zh")}

    def check(self, record: Instruction | TaskInstance) -> Drop | None:
        """What the filter of that language says."""
        return self._filters[record.lang].check(record)

    def admit(self, record: Any) -> Any:
        """The record as it came."""
        return record


# --- how each is made -------------------------------------------------------------------------------------------------


def _in(lang: Spoken, make: Callable[[Lang], AnyFilter]) -> AnyFilter:
    return ByLanguage(make) if lang == "auto" else make(lang)


def _rouge_l(parameter: str, lang: Spoken) -> AnyFilter:
    from selfinstruct.filters.rouge_l import RougeLNovelty
    from selfinstruct.similarity.thresholds import exactly

    # What decided is told, and no more: a floor below the threshold would be searched for every record.
    floor = min(exactly("threshold", parameter), Fraction(99, 100))
    return RougeLNovelty(parameter, tokenizer=lang, similar=f"above:{floor}")


def _wording(_: str, lang: Spoken) -> AnyFilter:
    from selfinstruct.filters.heuristics import Heuristics

    return _in(lang, lambda one: Heuristics(rules.Rules(**rules.shipped("bootstrap", one))))


def _language(_: str, lang: Spoken) -> AnyFilter:
    from selfinstruct.filters.language import LanguageMatch

    return _in(lang, LanguageMatch)


def _output(_: str, lang: Spoken) -> AnyFilter:
    from selfinstruct.filters.output_checks import OutputChecks

    return OutputChecks()


def _language_id(parameter: str, _: Spoken) -> AnyFilter:
    from selfinstruct.filters.language_id import LanguageId

    allowed = parameter.split(",")
    if wrong := [code for code in allowed if not re.fullmatch("[a-z]{2}", code)]:
        raise ValueError(f"'{wrong[0]}' is no language code of two letters, such as en, zh or fr")
    return LanguageId(allowed)


def _repetition(_: str, __: Spoken) -> AnyFilter:
    from selfinstruct.filters.repetition import Repetition

    return Repetition()


def _fences(_: str, __: Spoken) -> AnyFilter:
    from selfinstruct.filters.fences import Fences

    return Fences()


def _secrets(_: str, __: Spoken) -> AnyFilter:
    from selfinstruct.filters.secrets import Secrets

    return Secrets()


def _personal_data(_: str, __: Spoken) -> AnyFilter:
    from selfinstruct.filters.personal_data import PersonalData

    return PersonalData()


def _refusal(_: str, __: Spoken) -> AnyFilter:
    from selfinstruct.filters.declines import Declines

    return Declines()


def _links(_: str, __: Spoken) -> AnyFilter:
    from selfinstruct.filters.links import Links

    return Links()


def _toxicity(parameter: str, _: Spoken) -> AnyFilter:
    from selfinstruct.filters.toxicity import Toxicity

    return Toxicity(extra=Path(parameter) if parameter else None)


def _exact(parameter: str, _: Spoken) -> AnyFilter:
    from selfinstruct.filters.exact import ExactDuplicates

    if parameter not in ("", "folded"):
        raise ValueError("the parameter is 'folded', or none")
    return ExactDuplicates(folded=bool(parameter))


def _jaccard(parameter: str, lang: Spoken) -> AnyFilter:
    from selfinstruct.filters.jaccard import JaccardNear

    return JaccardNear(parameter, tokenizer=lang)


def _minhash(parameter: str, lang: Spoken) -> AnyFilter:
    from selfinstruct.filters.minhash import MinHashNear

    return MinHashNear(parameter, tokenizer=lang)


def _decontaminate(parameter: str, _: Spoken) -> AnyFilter:
    from selfinstruct.filters.decontaminate import Decontaminate

    return Decontaminate.of_files([parameter])


SUITE: dict[str, Entry] = {
    "wording": Entry(
        "too short or long, an odd beginning, a word that asks for pictures, files or sound",
        _wording,
        rules=("bootstrap.{lang}",),
    ),
    "language": Entry(
        "an instruction in another language than --lang, an answer in one nobody asked for",
        _language,
        rules=("languages",),
    ),
    "language-id": Entry(
        "any language but these, told apart by a model",
        _language_id,
        takes="LANGUAGES",
        default="en,zh",
        rules=("language_id", "languages"),
        model="py3langid",
    ),
    "fences": Entry("a code fence that never closes", _fences),
    "repetition": Entry("a text that says the same over and over", _repetition),
    "output": Entry(
        "an output that is empty, a placeholder, an echo, a refusal or a loop", _output, judges_output=True
    ),
    "refusal": Entry(
        "an output that declines, a text that speaks of itself as a model",
        _refusal,
        rules=("declines.en", "declines.zh"),
    ),
    "links": Entry("a task that needs a page, file or picture nobody gave", _links, rules=("links.en", "links.zh")),
    "secrets": Entry("a key, token or password that may open something", _secrets, rules=("secrets",)),
    "personal-data": Entry(
        "a person's address, telephone, identity or card number", _personal_data, rules=("personal_data",)
    ),
    "toxicity": Entry(
        "slurs, threats, pornography, incitement to hurt; FILE adds a list of your own",
        _toxicity,
        takes="[:FILE]",
        rules=("toxicity.en", "toxicity.zh"),
    ),
    "decontaminate": Entry("what holds an item of an evaluation set", _decontaminate, takes="FILE"),
    "exact": Entry(
        "a text equal to one kept before; folded: but for case, width, spaces and punctuation",
        _exact,
        takes="[:folded]",
        compares=True,
    ),
    "jaccard": Entry(
        "a text that shares at least that part of its n-grams with one kept before",
        _jaccard,
        takes="THRESHOLD",
        default="0.8",
        compares=True,
        libraries=("numpy",),
    ),
    "minhash": Entry(
        "the same, where MinHash-LSH finds it",
        _minhash,
        takes="THRESHOLD",
        default="0.8",
        compares=True,
        libraries=("datasketch", "numpy"),
    ),
    "rouge-l": Entry(
        "ROUGE-L F1 above the threshold with a row kept before",
        _rouge_l,
        takes="THRESHOLD",
        default="0.7",
        compares=True,
        libraries=("numpy", "rapidfuzz"),
    ),
}
"""Every filter there is, about the cheapest first; the order of a chain is the user's."""
