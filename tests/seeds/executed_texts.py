"""Executed checks of the seed tasks about wording: what can be counted, and what the answer must keep or avoid."""

from __future__ import annotations

import re

from tests.seeds.reading import sentences_in, words_of


def _rhyme_words(verse: str) -> list[str]:
    """Return the last word of each line of a verse, in lower case."""
    return [re.findall(r"[a-z]+", line.lower())[-1] for line in verse.splitlines()]


def check_twelve_word_notice(input: str, output: str) -> None:
    """The notice is one sentence of exactly twelve words and keeps every fact."""
    assert len(words_of(output)) == len(output.split()) == 12
    assert sentences_in(output) == 1
    for fact in ("Sunday", "vote", "allotment society", "bonfires", "summer", "plot"):
        assert fact in input
        assert fact in output


def check_pottery_sentences_merged(input: str, output: str) -> None:
    """The three statements became one sentence without "and" that keeps their words."""
    assert (sentences_in(input), sentences_in(output)) == (3, 1)
    given, merged = (set(re.findall(r"\w+", text.lower())) for text in (input, output))
    assert "and" not in merged
    assert given - merged == {"it"}


def check_notice_british_to_american(input: str, output: str) -> None:
    """Replacing each British form by its American one turns the notice into the output."""
    american = {
        "organise": "organize",
        "colour": "color",
        "grey": "gray",
        "catalogue": "catalog",
        "centre": "center",
        "lift": "elevator",
        "ground floor": "first floor",
    }
    expected = input
    for british, replacement in american.items():
        assert british in expected
        expected = expected.replace(british, replacement)
    assert output == expected


def check_kumasi_bus_tickets(input: str, output: str) -> None:
    """Two speakers take eight turns, two tickets cost twice one, and the platform is named."""
    turns = [line.split(": ") for line in output.splitlines()]
    assert [speaker for speaker, _ in turns] == ["Traveller", "Clerk"] * 4
    assert "One ticket is ninety cedis. Two tickets are one hundred and eighty." in turns[3][1]
    assert "platform three" in turns[7][1]


def check_ratio_versus_obiter(input: str, output: str) -> None:
    """The explanation has four or five sentences and names both terms."""
    assert sentences_in(output) in (4, 5)
    assert "ratio decidendi" in output
    assert "obiter dicta" in output


def check_bicycle_van_slogan(input: str, output: str) -> None:
    """The slogan is one line of six words at most."""
    assert 1 <= len(words_of(output)) <= 6
    assert "\n" not in output


def check_houseplant_headline(input: str, output: str) -> None:
    """The assessment answers no in fewer than 120 words."""
    assert output.startswith("No.")
    assert len(output.split()) < 120


def check_lantern_acrostic(input: str, output: str) -> None:
    """The first letters of the lines spell LANTERN."""
    assert "".join(line[0] for line in output.splitlines()) == "LANTERN"


def check_night_baker_haiku(input: str, output: str) -> None:
    """The three lines have 5, 7 and 5 syllables: one a word, but two in "carries" and "into"."""
    one = {"last", "loaves", "on", "the", "rack", "she", "smell", "of", "bread", "first", "tram"}
    syllables = dict.fromkeys(one, 1) | {"carries": 2, "into": 2}
    lines = [re.findall(r"[a-z]+", line.lower()) for line in output.splitlines()]
    assert [sum(syllables[word] for word in line) for line in lines] == [5, 7, 5]


def check_backwards_watch_story(input: str, output: str) -> None:
    """The story has exactly 55 words, and its watch runs backwards."""
    assert len(words_of(output)) == 55
    assert "watch ran backwards" in output


def check_onion_market_mystery(input: str, output: str) -> None:
    """The opening is one paragraph of 90 to 120 words about onions."""
    assert 90 <= len(words_of(output)) <= 120
    assert "\n" not in output
    assert "onions" in output


def check_greyhound_tram_continuation(input: str, output: str) -> None:
    """The continuation has 120 words, give or take a tenth, in the first person and the present tense."""
    assert 108 <= len(words_of(output)) <= 132
    narration = re.sub(r'"[^"]*"', "", output)
    assert re.search(r"\bI nod\b", narration)
    assert not re.search(r"\b(was|were|said|went|had)\b", narration)


def check_drowned_bell_title(input: str, output: str) -> None:
    """The title is one line of five words at most."""
    assert 1 <= len(words_of(output)) <= 5
    assert "\n" not in output


def check_apology_without_sorry(input: str, output: str) -> None:
    """Brother and sister are named, quotation marks are paired, and no form of the three words occurs."""
    assert not re.search(r"sorr|apolog|forgiv|forgave", output.lower())
    assert "Malia" in output
    assert "Keoni" in output
    assert output.count('"') % 2 == 0


def check_beekeepers_wedding_verse(input: str, output: str) -> None:
    """The four lines rhyme ABAB and hold both names, the bees and May."""
    first, second, third, fourth = _rhyme_words(output)
    assert first.endswith("own") and third.endswith("own") and first != third
    assert second.endswith("ay") and fourth.endswith("ay") and second != fourth
    assert [word for word in ("Mateo", "Sunniva", "bees", "May") if word not in output] == []


def check_umbrella_six_words(input: str, output: str) -> None:
    """The story has exactly six words, one of them umbrella."""
    assert len(words_of(output)) == 6
    assert "umbrella" in output


def check_storm_without_e(input: str, output: str) -> None:
    """The description has five or six sentences and no letter e."""
    assert "e" not in output.lower()
    narration = re.sub(r'"[^"]*"$', "so.", output)  # a question inside the last sentence does not end it
    assert sentences_in(narration) in (5, 6)


def check_yoga_goat_limerick(input: str, output: str) -> None:
    """The limerick has five lines that rhyme AABBA, on five different words."""
    ends = _rhyme_words(output)
    assert [word[-3:] for word in ends] == ["ana", "ana", "sun", "one", "ana"]
    assert len(set(ends)) == 5


def check_kettle_notice_commentary(input: str, output: str) -> None:
    """The commentary keeps the floor, the day, both times, the other kitchen and the sender."""
    details = ("third floor", "kettle", "Tuesday", "14:00", "14:30", "second-floor kitchen", "Facilities")
    assert [detail for detail in details if detail not in output] == []


def check_appliance_horoscopes(input: str, output: str) -> None:
    """There are four horoscopes of one or two sentences each."""
    blocks = output.split("\n\n")
    assert len(blocks) == 4
    assert all(sentences_in(block) in (1, 2) for block in blocks)


def check_day_dead_corrections(input: str, output: str) -> None:
    """Exactly four words differ from the note, and they are the right ones."""
    pairs = zip(input.split(), output.split(), strict=True)
    changed = [(wrong.strip("."), right.strip(".")) for wrong, right in pairs if wrong != right]
    assert changed == [
        ("December", "November"),
        ("piñatas", "ofrendas"),
        ("tulips", "marigolds"),
        ("soap", "sugar"),
    ]


def check_greeting_language_match(input: str, output: str) -> None:
    """Every greeting has its own language, and both lists are used up."""
    pairs = dict(line.split(": ") for line in output.splitlines())
    assert pairs == {
        "Sawubona": "Zulu",
        "Tere": "Estonian",
        "Kia ora": "Maori",
        "Sain baina uu": "Mongolian",
        "Dia duit": "Irish",
    }
    greetings, languages = (line.split(": ")[1].split(", ") for line in input.splitlines())
    assert (sorted(pairs), sorted(pairs.values())) == (sorted(greetings), sorted(languages))


def check_taxonomy_rank_mnemonic(input: str, output: str) -> None:
    """The words begin with the letters of the eight ranks, in order."""
    ranks = ("domain", "kingdom", "phylum", "class", "order", "family", "genus", "species")
    assert [word[0].lower() for word in output.split()] == [rank[0] for rank in ranks]
