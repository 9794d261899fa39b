"""Answers: what the model says of each record, and how sure it is of the verdict.

    condition.py   how is asked: prompt, decoding, noise
    generate.py    samples -> answers, in batches
    prefix.py      the prompts' keys and values, for answer and verdict alike
    verdict.py     P(defective), from two continuations of the prompt
    noise.py       pictures and questions under a noise level, in memory
    probability.py samples -> P(defective) alone, without a text
    journal.py     each finished batch on disk at once, so that a kill costs one batch

Importing this package is light; torch comes in with the functions.
"""
