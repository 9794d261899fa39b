"""Picture features, computed once a picture and kept on disk: what a frozen tower and projector make of it.

    FOLDER/<key>/key.json                  what the key stands for
    FOLDER/<key>/<image_id>.safetensors    [tokens, hidden] in the model's dtype, with its checksum

Enters: a Vlm and samples. Leaves: one tensor a sample, to be given to the model in place of its pixels. They are the
same for the base and every adapter on the decoder, in training and in answering, in every epoch and every cycle.
The key holds all that they depend on beside the picture: the base's content, the image processor's settings, dtype,
device type, attention, and the versions of torch, transformers and Pillow.

Each picture goes through the tower alone, so that its features do not depend on what was asked for beside it. While it
does, threads cut the next pictures and one thread checks and writes the last ones: what is slowest sets the pace.
Costs: 0.12 MiB a picture for the tiny model; 4.4 MiB at 4 crops and 14.7 MiB at 16 for Phi-3-vision in bf16. FOLDER is
held below a limit: the entries unused for longest go first, and where those in use alone exceed it, the rest is
computed anew each time. A torn or damaged entry is removed and computed again. Nothing here must be backed up.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records import Sample
from harness.vlm.batch import open_picture

if TYPE_CHECKING:
    from torch import Tensor

    from harness.vlm.load import Vlm

#: Goes up whenever this code makes other features of the same picture.
FEATURES_VERSION = 1
#: At most so many pictures wait for the tower, and so many features to be written: 11 and 15 MiB each at 16 crops.
AT_ONCE = 16
#: Layouts of crops whose pass is kept as a graph, with the memory that it takes.
RECORDED = 8

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class FeatureCache:
    """The entries of one base model on disk. Light: a loader's worker process gets a copy and reads by it.

    `limit` bounds all of FOLDER, in bytes. `used` are the entries that this process has written or read: they are not
    evicted, and their checksums are not computed again. A worker process knows those of before its start, and checks
    others once. `broken`: the disk took an entry no more. Not for use by several threads at once.
    """

    folder: Path
    key: str
    limit: int
    held: int
    used: set[str] = field(default_factory=set)
    broken: bool = False

    def path(self, image_id: str) -> Path:
        """Where a picture's features are, or would be."""
        return self.folder / self.key / f"{image_id}.safetensors"

    def read(self, image_id: str) -> Tensor | None:
        """A picture's features [tokens, hidden] on the CPU; None where there are none, or they are damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.path(image_id)
        try:
            with safe_open(str(path), framework="pt") as file:
                features: Tensor = file.get_tensor("features")
                checksum = (file.metadata() or {}).get("crc32")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
            return None
        if image_id not in self.used:
            if features.ndim != 2 or checksum != _checksum(features):
                path.unlink(missing_ok=True)
                return None
            self.used.add(image_id)
            # Another process may have evicted it; it was read whole all the same.
            if path.is_file():
                os.utime(path)
        return features

    def write(self, image_id: str, features: Tensor) -> bool:
        """Keep a picture's features; False where the limit or the disk leaves no room, the latter said once.

        A part is written beside and renamed, so that an entry is there whole or not at all.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if self.broken:
            return False
        size = features.numel() * features.element_size() + 256
        if self.held + size > self.limit:
            self._evict(size)
        if self.held + size > self.limit:
            return False
        path = self.path(image_id)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            save_file({"features": features}, str(part), metadata={"crc32": _checksum(features)})
            part.replace(path)
        except (OSError, SafetensorError) as error:
            logger.warning("picture features cannot be kept in %s, and are computed each time: %s", self.folder, error)
            self.broken = True
            return False
        finally:
            part.unlink(missing_ok=True)
        self.held += path.stat().st_size
        self.used.add(image_id)
        return True

    def _evict(self, wanted: int) -> None:
        """Remove the entries unused for longest, other models' too, until a tenth of the limit is free."""
        kept = {self.path(image_id) for image_id in self.used}
        entries = sorted(_entries(self.folder), key=lambda entry: entry.used_at)
        self.held = sum(entry.size for entry in entries)
        for entry in entries:
            if self.held + wanted <= self.limit * 0.9:
                return
            if entry.path not in kept:
                entry.path.unlink(missing_ok=True)
                self.held -= entry.size


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    size: int
    used_at: float


def open_features(vlm: Vlm, folder: Path, *, limit: int) -> FeatureCache | None:
    """The cache for a model; None where the model does not take features in place of pixels, or the limit is 0.

    Args:
        folder: shared by all models of a ledger.
        limit: bytes that the folder may hold.
    """
    if limit <= 0 or not takes_features(vlm):
        return None
    facts = _facts(vlm)
    text = json.dumps(facts, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    own = folder / key
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "key.json").is_file():
        part = own / f"key.{os.getpid()}.part"
        part.write_text(json.dumps(facts, indent=1, default=str), "utf-8")
        part.replace(own / "key.json")
    return FeatureCache(folder, key, limit, sum(entry.size for entry in _entries(folder)))


def takes_features(vlm: Vlm) -> bool:
    """Whether the model and its processor can go by features: the native Phi-3-vision, so far."""
    return hasattr(vlm.base, "takes_image_features") and hasattr(vlm.processor, "text_inputs")


def features_are_frozen(vlm: Vlm) -> bool:
    """Whether tower and projector are now those of the base: no adapter that is on sits there, nothing is trained."""
    part = vlm.base.get_picture_embedding()
    if any(parameter.requires_grad for parameter in part.parameters()):
        return False
    modules: list[Any] = list(part.modules())
    for module in modules:
        # peft's layers and wrappers alike say so; those that are switched off, or another adapter's, do not matter.
        if not hasattr(module, "active_adapters") or getattr(module, "disable_adapters", False):
            continue
        held = {name for kind in ("lora_A", "modules_to_save") for name in getattr(module, kind, {})}
        if held & set(module.active_adapters):
            return False
    return True


def picture_features(vlm: Vlm, samples: Sequence[Sample]) -> list[Tensor] | None:
    """The features of the samples' pictures, from the cache or computed now and kept; None: go by pixels.

    Returns:
        One [tokens, hidden] a sample, in the model's dtype, on the CPU.

    Raises:
        DataError: a picture cannot be read, or the processor refuses it.
    """
    cache = vlm.features
    if cache is None or not features_are_frozen(vlm):
        return None
    found = {sample.image_id: cache.read(sample.image_id) for sample in samples}

    def keep(image_id: str, features: Tensor) -> None:
        found[image_id] = features
        cache.write(image_id, features)

    _compute(vlm, [sample for sample in samples if found[sample.image_id] is None], keep)
    return [features for sample in samples if (features := found[sample.image_id]) is not None]


def prepare_features(vlm: Vlm, samples: Iterable[Sample]) -> bool:
    """Compute what is lacking, and keep it; whether the model goes by features now.

    Before a training run, whose loader's processes can read entries but cannot run the model.

    Raises:
        DataError: a picture cannot be read, or the processor refuses it. What was computed before it is kept.
    """
    cache = vlm.features
    if cache is None or not features_are_frozen(vlm):
        return False
    _compute(vlm, [sample for sample in samples if not cache.path(sample.image_id).is_file()], cache.write)
    return True


def _compute(vlm: Vlm, samples: Iterable[Sample], keep: Callable[[str, Tensor], object]) -> None:
    """Send each picture through the tower, while threads cut those ahead and one thread keeps those behind.

    At an error or Ctrl-C what is made is still kept; then the threads are gone.

    Args:
        keep: takes an image_id and its features [tokens, hidden] on the CPU, in the samples' order, in one thread.
    """
    import torch

    waiting = deque({sample.image_id: sample for sample in samples}.values())
    if not waiting:
        return
    cuda = vlm.device.type == "cuda"
    ahead: deque[tuple[str, Future[dict[str, Tensor]]]] = deque()
    behind: deque[Future[None]] = deque()

    def write(image_id: str, features: Tensor, copied: Any) -> None:
        if copied is not None:
            copied.synchronize()
        keep(image_id, features.contiguous())

    tower = _Tower(vlm)
    # Pillow and torch let go of the interpreter while they work. A core is left to this loop, and one to the writer.
    cutters, writer = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 2)), ThreadPoolExecutor(1)
    was_training = vlm.base.training
    vlm.base.eval()
    try:
        while waiting or ahead:
            while waiting and len(ahead) < AT_ONCE:
                sample = waiting.popleft()
                ahead.append((sample.image_id, cutters.submit(_pixels, vlm, sample)))
            image_id, cut = ahead.popleft()
            pixels = cut.result()
            made = tower(pixels["pixel_values"], pixels["image_sizes"])
            # On a GPU both ways are only queued: the host is ahead of it, by AT_ONCE pictures at most.
            features, copied = made.to("cpu", non_blocking=cuda), None
            if cuda:
                copied = torch.cuda.current_stream(vlm.device).record_event(torch.cuda.Event(blocking=True))
            while behind and (len(behind) == AT_ONCE or behind[0].done()):
                behind.popleft().result()
            behind.append(writer.submit(write, image_id, features, copied))
        for written in behind:
            written.result()
    finally:
        vlm.base.train(was_training)
        cutters.shutdown(cancel_futures=True)
        writer.shutdown()


class _Tower:
    """Tower and projector over one picture at a time.

    On a CUDA device the pass is recorded as a graph for the first RECORDED layouts of crops that come a second time:
    launching it otherwise takes the host as long as computing it takes the device, while threads claim the interpreter.
    """

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm
        self.records = vlm.records_steps and vlm.device.type == "cuda"
        self.met: dict[Any, tuple[Any, Tensor, Tensor] | None] = {}

    def __call__(self, values: Tensor, sizes: Tensor) -> Tensor:
        """Pixels [1, crops, 3, H, W] and sizes [1, 2] on the host to [tokens, hidden], good until the next call."""
        import torch

        layout = (*values.shape, *sizes.flatten().tolist())
        with torch.no_grad():
            if self.met.get(layout) is None and not self._records(layout, values, sizes):
                return self._through(values.to(self.vlm.device, non_blocking=True), sizes)
            graph, given, made = self.met[layout]  # type: ignore[misc]
            given.copy_(values, non_blocking=True)
            graph.replay()
        return made

    def _records(self, layout: Any, values: Tensor, sizes: Tensor) -> bool:
        import torch

        from harness.vlm.graphs import record

        again = layout in self.met
        if not again and len(self.met) < RECORDED:
            self.met[layout] = None
        if not again or not self.records:
            return False
        given = values.to(self.vlm.device)
        try:
            with torch.cuda.device(self.vlm.device):
                graph, made = record(lambda: self._through(given, sizes))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # an operation that no graph can hold
            logger.warning("the vision tower cannot be recorded as a CUDA graph, so it runs as it is: %s", error)
            self.records = False
            return False
        self.met[layout] = graph, given, made
        return True

    def _through(self, values: Tensor, sizes: Tensor) -> Tensor:
        made: Tensor
        (made,) = self.vlm.base.get_image_features(values, sizes)
        return made


def _pixels(vlm: Vlm, sample: Sample) -> dict[str, Tensor]:
    """The tower's inputs, in the model's dtype; for a GPU in pinned memory, but for the sizes, which the host reads."""
    from harness.vlm.batch import picture_refused

    try:
        inputs = vlm.processor.image_processor(open_picture(sample))
    except ValueError as error:
        raise picture_refused(error, [sample]) from error
    values = inputs["pixel_values"].to(vlm.dtype)
    return {
        "pixel_values": values.pin_memory() if vlm.device.type == "cuda" else values,
        "image_sizes": inputs["image_sizes"],
    }


def _facts(vlm: Vlm) -> dict[str, Any]:
    import PIL
    import torch
    import transformers

    return {
        "features_version": FEATURES_VERSION,
        "base": vlm.base_hash,
        "image_processor": vlm.processor.image_processor.to_dict(),
        "dtype": str(vlm.dtype).removeprefix("torch."),
        "device": vlm.device.type,
        "attention": vlm.attention,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "pillow": PIL.__version__,
    }


def _entries(folder: Path) -> list[_Entry]:
    entries = []
    for path in folder.glob("*/*.safetensors"):
        try:
            facts = path.stat()
        except FileNotFoundError:  # evicted by another process meanwhile
            continue
        entries.append(_Entry(path, facts.st_size, facts.st_mtime))
    return entries


def _checksum(features: Tensor) -> str:
    import torch

    return f"{zlib.crc32(features.contiguous().view(torch.uint8).numpy().data):08x}"
