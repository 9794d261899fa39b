"""Training: a LoRA adapter on the frozen base.

    recipe.py       the settings of a run
    lora.py         which layers the adapter sits on, and how much that trains
    collate.py      samples -> batches with labels on the answers alone
    checkpoints.py  which checkpoints are whole, and which run they belong to
    log.py          what is logged, on disk and as rows
    trainer.py      transformers.Trainer, told what the recipe means
    run.py          the run itself, and its result

Importing this package is light; torch, transformers and peft come in with the functions.
"""
