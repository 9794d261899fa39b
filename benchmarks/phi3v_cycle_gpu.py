"""One whole cycle on a full-size Phi-3-vision with random weights: peak memory and seconds by stage, one GPU.

Speed and memory do not need trained weights. The checkpoint is built on the device from the published config, tokenizer
and preprocessor files (no weights among them), in bf16 and in the published layout, once a number of crops:

    python benchmarks/phi3v_cycle_gpu.py --hub FOLDER_WITH_CONFIG_AND_TOKENIZER --out OUT --crops 4 16

Prints a table and appends it to OUT/results.md; the ledger of each run is OUT/runs-<crops>/harness.duckdb.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from harness.cli import main as harness
from harness.store import Ledger, read


def build_checkpoint(hub: Path, folder: Path, crops: int) -> None:
    """A random checkpoint in the real configuration."""
    from harness.vlm.phi3v import register
    from harness.vlm.phi3v.configuration import Phi3VConfig
    from harness.vlm.phi3v.modeling import Phi3VForConditionalGeneration

    register()
    folder.mkdir(parents=True, exist_ok=True)
    for file in hub.glob("*.json"):
        if not file.name.endswith("index.json"):
            shutil.copy(file, folder)
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    preprocessor["num_crops"] = crops
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    if not (folder / "model.safetensors.index.json").exists():
        config = Phi3VConfig.from_pretrained(str(hub))
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda"):
            model = Phi3VForConditionalGeneration(config)
        torch.set_default_dtype(torch.float32)
        model.save_pretrained(folder, max_shard_size="5GB")
        del model
        torch.cuda.empty_cache()
        shutil.copy(hub / "config.json", folder)  # as published, auto_map and all


def main() -> None:
    """Run the cycles and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hub", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--crops", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--checkpoint", type=Path, default=Path("/tmp/phi3v-random"))
    arguments = parser.parse_args()
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {torch.cuda.get_device_name()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, `{' '.join(['python', *sys.argv])}`",
        "",
        "| crops | stage | seconds | peak device memory, GiB |",
        "| --- | --- | --- | --- |",
    ]
    for crops in arguments.crops:
        clock = time.monotonic()
        build_checkpoint(arguments.hub, arguments.checkpoint, crops)
        print(f"checkpoint: {time.monotonic() - clock:.0f} s", flush=True)
        runs = arguments.out / f"runs-{crops}"
        clock = time.monotonic()
        harness_exit = 0
        try:
            # 30 training and validation records, of which about 24 make gradients.
            words = f"""cycle --data demo:cubes?n=70&seed=1 --train-cap 30 --test-cap 16 --recipe default
                --model {arguments.checkpoint} --set answer.max_new_tokens=40
                --runs {runs} --reports {arguments.out / f"reports-{crops}"}"""
            harness(words.split())
        except SystemExit as stop:
            harness_exit = int(stop.code or 0)
        wall = time.monotonic() - clock
        stages = read.stages(Ledger(runs), "c0001")
        for stage in stages:
            peak = "" if stage.peak_memory_gib is None else f"{stage.peak_memory_gib:.2f}"
            lines.append(f"| {crops} | {stage.stage} | {stage.seconds:.1f} | {peak} |")
        lines.append(f"| {crops} | whole cycle (exit {harness_exit}) | {wall:.1f} | |")
    text = "\n".join(lines) + "\n"
    print(text)
    with (arguments.out / "results.md").open("a") as file:
        file.write(text)


if __name__ == "__main__":
    main()
