"""How the tiny model's weights were made: two runs of `train`, the second going on from the first, on one GPU.

scenes.py   two-panel scenes in batches on the GPU: objects, fields; light and camera
lines.py    circuit-like line art and its flaws
words.py    free-form questions and answers about a scene
dense.py    what each patch must know; pictures as the processor gives them
begin.py    starting weights that can compare two panels
train.py    the run
runs/       settings and logs of the two runs
"""
