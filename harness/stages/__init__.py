"""The six DMAICS stages: each does its own work, writes its own rows, and leaves its manifest last.

define -> measure -> analyze -> improve -> control -> share. cycle.py runs them in order; a stage without a manifest
has not been finished and is run again, from its journal and checkpoints.
"""

STAGES = ("define", "measure", "analyze", "improve", "control", "share")
