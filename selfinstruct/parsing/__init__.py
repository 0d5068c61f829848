"""Model text → values, or `ParseError`; never a default.

    task_list.py   a list of tasks            bootstrap asks for it
    bare_lines.py  the same without marks     stages before a dialogue ask for it
    verdict.py     yes or no                  classify asks for it
    instances.py   worked examples of a task  instances asks for them
    task_blocks.py whole tasks as text        alpaca and belle ask for them
    task_array.py  whole tasks as JSON        alpaca and belle ask for them with --format json
    refusal.py     does it only decline?      whoever wants an answer at all may ask
    phrases.py     a text without some words  belle asks for it
    spoken.py      one turn of a conversation dialogue asks for it
    ratings.py     ratings of several texts   rate asks for them
    ratings_json.py  the same as JSON         rate asks for them with --format json
    overall.py     a critique and its score   critique asks for them, as text or JSON

The readers do not know each other. They stand on ``markup`` (lines and fences) and ``chatter`` (what models say
around an answer); ``markers``, ``outline`` and ``item_text`` are the list's own parts, ``fields`` the examples',
``block_headers``, ``block_style``, ``block_layout`` and ``block_tails`` the blocks', ``json_nodes`` the array's; both
of these make a ``WholeTask``. ``rating_lines`` and ``rating_sections`` are the skeleton of an answer with ratings,
``rating_values`` reads what a judge writes for a number, ``one_value`` the JSON of those who ask for one value. All of
it is pure, and takes time linear in the length of the text, whatever the text.
"""

from selfinstruct.parsing.bare_lines import bare_lines
from selfinstruct.parsing.instances import (
    Opened,
    Parsed,
    classification_instances,
    generation_instances,
    valid_instances,
)
from selfinstruct.parsing.overall import critique, critique_json, overall_score
from selfinstruct.parsing.phrases import without_phrases
from selfinstruct.parsing.rating_values import RatedText, Wanted
from selfinstruct.parsing.ratings import ratings
from selfinstruct.parsing.ratings_json import ratings_json
from selfinstruct.parsing.refusal import is_refusal
from selfinstruct.parsing.spoken import spoken
from selfinstruct.parsing.task_array import task_array
from selfinstruct.parsing.task_blocks import task_blocks
from selfinstruct.parsing.task_list import ListItem, task_list
from selfinstruct.parsing.verdict import yes_no
from selfinstruct.parsing.whole_task import WholeTask

__all__ = [
    "ListItem",
    "Opened",
    "Parsed",
    "RatedText",
    "Wanted",
    "WholeTask",
    "bare_lines",
    "classification_instances",
    "critique",
    "critique_json",
    "generation_instances",
    "is_refusal",
    "overall_score",
    "ratings",
    "ratings_json",
    "spoken",
    "task_array",
    "task_blocks",
    "task_list",
    "valid_instances",
    "without_phrases",
    "yes_no",
]
