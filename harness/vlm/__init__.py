"""The model: loading it, its chat format, its adapters.

    load.py        a checkpoint by Hub id, folder or "tiny" -> Vlm
    attention.py   which attention implementation runs here
    prompt.py      question -> prompt, answer -> completion, in the checkpoint's own chat format
    batch.py       samples -> model inputs; completions appended to prompts
    features.py    what the frozen tower makes of a picture, once, on disk
    adapters.py    LoRA adapters on the one resident model: attach, load, switch, check
    identity.py    what a checkpoint or an adapter is, as a hash
    phi3v/         Phi-3-vision, native
    tiny/          the embedded default model

Importing this package is light; torch and transformers come in with the functions.
"""
