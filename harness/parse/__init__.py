"""Text to verdict, findings and evidence; what is true of a record is read with it too.

Enters: an answer's text, a vocabulary of defect names, a grid. Leaves: `ParsedAnswer`, `Truth`; "no answer" and "no truth"
are values with a reason. The order of the modules: normalise, locations, defects, clauses, lexicon, reading, verdict,
mentions, findings, eastern, structured, vocabulary, parser, truth.
"""

from .locations import canonical_location
from .parser import PARSER_VERSION, AnswerParser, parse_answer, parse_to_json, parser_for
from .truth import UnreadTruth, read_truth, read_verdict
from .vocabulary import canonical_defect, generic_vocabulary, load_vocabulary_file, merge_vocabulary

__all__ = [
    "PARSER_VERSION",
    "AnswerParser",
    "UnreadTruth",
    "canonical_defect",
    "canonical_location",
    "generic_vocabulary",
    "load_vocabulary_file",
    "merge_vocabulary",
    "parse_answer",
    "parse_to_json",
    "parser_for",
    "read_truth",
    "read_verdict",
]
