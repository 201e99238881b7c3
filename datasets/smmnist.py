"""Stochastic Moving MNIST (SM-MNIST): two digits bounce about; the static factor is the pair, motion has no classes.

64 x 64 grey frames, 15 of them (S3VAE, C-DSVAE). `video/moving` is the generator; the digits come from MNIST
(`smmnist`), from a 10,000-digit subset of its training set (`smmnist-10k`), or from scikit-learn's (synthetic).

Choices that the papers leave open, and what is done here:
    * no digit image is shared between splits: validation digits are held out of the training digits;
    * a training index always names the same pair of digit images (so that a sequence is one content, as the
      estimators that count sequences assume) and gets a fresh motion whenever it is asked for with a generator;
    * validation and test clips are drawn once, stored as trajectories, and the same for everybody: 2,000 and 10,000
      of them, of which 32-pixel runs use the first 500 and 1,000 (`n_validation`, `n_test`);
    * labels are sorted: `digit_low` <= `digit_high` (the convention that explains the published entropies), and
      `digits` is the pair, of 55;
    * 32 x 32 frames are the rounded 2 x 2 means of the 64 x 64 ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.seeds import derive
from seqdis.datasets import folders
from seqdis.datasets.base import SPLITS, AugmentPolicy, DataSet, Factor, Joint, Option, Signal, Source, Spec
from seqdis.datasets.cache import Cache, Progress, cache_folder, prepare_command, preparing, writing_cache
from seqdis.datasets.prepared import PreparedDataSet
from seqdis.datasets.synthetic.digits import digit_images
from seqdis.datasets.video import mnist_files, moving
from seqdis.datasets.video.digits import N_FRAMES, MovingDigits

SEGMENTS = 3  # a sequence of 45 frames makes three clips
N_STORED = {"validation": 2000, "test": 10_000}
N_DEFAULT = {32: {"validation": 500, "test": 1000}, 64: N_STORED}
N_POOL = {32: 3000, 64: 10_000}  # sequences of `segmented`
N_TRAIN_LEAST = 9000  # as many training clips as Sprites has, where there are fewer digits
HELD_OUT = 0.1  # share of the training digits that make the validation clips
SYNTHETIC_TEST = 0.2
DIGIT_NAMES = tuple("0123456789")

Digits = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]


class SmMnist(PreparedDataSet):
    """SM-MNIST from the 60,000 training and 10,000 test digits of MNIST."""

    name: ClassVar[str] = "smmnist"
    title: ClassVar[str] = "SM-MNIST"
    revision: ClassVar[str] = "1"
    digests: ClassVar[dict[str, str]] = mnist_files.OFFICIAL
    may_download: ClassVar[bool] = True
    options: ClassVar[dict[str, Option]] = {
        f"n_{part}": Option(
            default=0, largest=count, text=f"{part} clips; 0: all at 64 pixels, {N_DEFAULT[32][part]} at 32"
        )
        for part, count in N_STORED.items()
    }

    def __init__(self, cache: Cache, source: Source, size: int, n_validation: int, n_test: int) -> None:
        super().__init__(cache, self.describe(source, size))
        self.size = size
        self.train = self._training()
        self.validation = self._fixed("validation", n_validation)
        self.test = self._fixed("test", n_test)

    @classmethod
    def folder(cls, root: Path, source: Source, size: int = 64, **options: Any) -> Path:
        """The cache folder. It holds digits and trajectories, so one serves every frame size."""
        cls.check_source(source)
        return cache_folder(root, cls.name, source)

    @classmethod
    def command(cls, root: Path, source: Source, size: int = 64, **options: Any) -> str:
        words = () if source == "synthetic" or cls.may_download else ("--from DIR",)
        return prepare_command(cls.name, root, source, 0, *words)

    @classmethod
    def prepare(
        cls,
        root: Path,
        source: Source,
        size: int = 64,
        *,
        from_dir: Path | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Path:
        """Builds the cache: digits at 32 x 32 with their labels, and the trajectories of the fixed clips.

        Args:
            root: the folder of all caches.
            source: `real` reads MNIST's IDX files; `synthetic` scikit-learn's digits.
            size: not used; one cache serves all frame sizes.
            from_dir: folder (or archive) of the IDX files, plain or gzip; without, torchvision fetches them
                (`smmnist` only).
            progress: called with (done, total, text).

        Raises:
            UserError: a file is missing, damaged, or not MNIST's.
        """
        folder = cls.folder(root, source)
        with preparing(folder, revision=cls.revision, progress=progress) as is_needed:
            if is_needed:
                with folders.opened(from_dir, root) as files:
                    digits = cls._digits(root, source, files)
                with writing_cache(
                    folder, {"revision": cls.revision, "name": cls.name, "source": source}, needs_bytes=128 << 20
                ) as writer:
                    for done, (name, array) in enumerate(_arrays(digits)):
                        if progress is not None:
                            progress(min(done, 11), 12, f"{cls.name}: {name}")
                        writer.save(name, array)
                if progress is not None:
                    progress(12, 12, f"{cls.name}: done")
        return folder

    @classmethod
    def _digits(cls, root: Path, source: Source, from_dir: Path | None) -> Digits:
        """The digits of each split, which share no image."""
        rng = np.random.default_rng(derive("smmnist", "digits", source))
        if source == "synthetic":
            images, labels = digit_images()
            order = rng.permutation(len(images))
            n_test = int(len(images) * SYNTHETIC_TEST)
            n_validation = int(len(images) * HELD_OUT)
            parts = np.split(order, [len(images) - n_test - n_validation, len(images) - n_test])
            return {name: (images[part], labels[part]) for name, part in zip(SPLITS, parts, strict=True)}
        folder = from_dir or cls._downloaded(root)
        images, labels = mnist_files.read_digits(folder, mnist_files.TRAIN, cls.digests)
        test, test_labels = mnist_files.read_digits(folder, mnist_files.TEST, cls.digests)
        order = rng.permutation(len(images))
        train, validation = np.split(order, [len(images) - int(len(images) * HELD_OUT)])
        return {
            "train": (_stretched(images[train]), labels[train]),
            "validation": (_stretched(images[validation]), labels[validation]),
            "test": (_stretched(test), test_labels),
        }

    @classmethod
    def _downloaded(cls, root: Path) -> Path:
        if not cls.may_download:
            raise UserError(
                f"{cls.title} is made from files that you have: name their folder, "
                f"bench data prepare {cls.name} --from DIR."
            )
        return mnist_files.download(root / "downloads", command=f"bench data prepare {cls.name} --from DIR")

    @classmethod
    def open(
        cls, root: Path, source: Source, size: int = 64, *, n_validation: int = 0, n_test: int = 0, **options: Any
    ) -> SmMnist:
        """Opens the prepared cache.

        Args:
            size: 64 (the papers') or 32.
            n_validation: fixed clips to use, at most 2,000; 0 means all at 64 pixels and 500 at 32.
            n_test: fixed clips to use, at most 10,000; 0 means all at 64 pixels and 1,000 at 32.

        Raises:
            MissingDataError: it is not there; the error holds the command that makes it.
            UserError: another size, or more clips than there are.
        """
        if size not in N_DEFAULT:
            raise UserError(f"{cls.name} has frames of 64 or 32 pixels, not {size}.")
        default = N_DEFAULT[size]
        counts = {"validation": n_validation or default["validation"], "test": n_test or default["test"]}
        for part, count in counts.items():
            if not 0 < count <= N_STORED[part]:
                raise UserError(f"{cls.name} has {N_STORED[part]} {part} clips, not {count}.")
        cache = cls.open_prepared(root, source, size)
        return cls(cache, source, size, counts["validation"], counts["test"])

    @classmethod
    def describe(cls, source: Source, size: int = 64, **options: Any) -> Spec:
        """The spec of one source and size, known without any file."""
        digits = "scikit-learn's digits" if source == "synthetic" else "MNIST's digits"
        return Spec(
            name=cls.name,
            title=cls.title,
            source=source,
            modality="video",
            frame=(1, size, size),
            n_frames=N_FRAMES,
            factors=(
                Factor(name="digit_low", classes=DIGIT_NAMES, role="static"),
                Factor(name="digit_high", classes=DIGIT_NAMES, role="static"),
            ),
            joints=(Joint(name="digits", factors=("digit_low", "digit_high"), is_sorted=True),),
            headline=("fix_static", "digits"),
            identity="clip",
            split_rule=f"{digits}, no image in two splits; test clips drawn once by seed from test digits",
            revision=cls.revision,
            licence=(
                "digits BSD-3-Clause (scikit-learn), after the UCI repository"
                if source == "synthetic"
                else "digits commonly stated as CC BY-SA 3.0"
            ),
            attribution=(
                "digits: Alpaydin and Kaynak, UCI Machine Learning Repository"
                if source == "synthetic"
                else "digits: Y. LeCun, C. Cortes, C. Burges"
            ),
            citation="Denton and Fergus, Stochastic Video Generation with a Learned Prior, ICML 2018; "
            + (
                "digits: Alpaydin and Kaynak, 1998"
                if source == "synthetic"
                else "digits: LeCun, Bottou, Bengio and Haffner, Proc. IEEE 1998"
            ),
            homepage="https://github.com/edenton/svg",
            augment=AugmentPolicy(colour=True, blur=True),  # a crop moves the digits: never here
            signal=Signal(
                dim=moving.GRID**2,
                kind="multilabel",
                privileged=True,
                how="top 3 of 3 x 3 cells by digit area x speed, read from the generator",
            ),
        )

    def _tensors(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.cache.tensor(f"{split}_digits"),
            self.cache.tensor(f"{split}_labels"),
            self.cache.tensor(f"{split}_pairs"),
        )

    def _training(self) -> MovingDigits:
        return MovingDigits(*self._tensors("train"), self.size)

    def _fixed(self, split: str, n_clips: int) -> MovingDigits:
        digits, labels, pairs = self._tensors(split)
        motion = moving.Motion(
            self.cache.tensor(f"{split}_position")[:n_clips], self.cache.tensor(f"{split}_velocity")[:n_clips]
        )
        return MovingDigits(digits, labels, pairs[:n_clips], self.size, motion=motion)

    def load_signal(self) -> None:
        """Nothing to measure: the generator's signal comes with the clips."""

    def segmented(self) -> MovingDigits:
        """A fixed pool of 45-frame sequences of training digits, each cut into three clips in order."""
        digits, labels, pairs = self._tensors("train")
        n_sequences = min(N_POOL[self.size], len(pairs))
        generator = torch.Generator().manual_seed(derive("smmnist", "pool"))
        motion = moving.draw_motion(n_sequences, SEGMENTS * N_FRAMES, generator)
        cut = moving.Motion(
            *(track.unflatten(1, (SEGMENTS, N_FRAMES)).flatten(0, 1) for track in (motion.position, motion.velocity))
        )
        return MovingDigits(
            digits,
            labels,
            pairs[:n_sequences].repeat_interleave(SEGMENTS, 0),
            self.size,
            motion=cut,
            sequence=torch.arange(n_sequences).repeat_interleave(SEGMENTS),
        )


class SmMnist10k(SmMnist):
    """SM-MNIST from 10,000 of MNIST's training digits and its test digits. Never beside published numbers."""

    name: ClassVar[str] = "smmnist-10k"
    title: ClassVar[str] = "SM-MNIST (10k digits)"
    sources: ClassVar[tuple[Source, ...]] = ("real",)
    digests: ClassVar[dict[str, str]] = mnist_files.FIRST_10K
    may_download: ClassVar[bool] = False


def _stretched(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Digits (D, 28, 28) at 32 x 32, bilinear, as the generator resizes them; a thousand at a time as floats."""
    stretched = np.empty((len(images), moving.DIGIT, moving.DIGIT), np.uint8)
    for start in range(0, len(images), 1024):
        block = torch.from_numpy(images[start : start + 1024])[:, None].float()
        large = functional.interpolate(block, size=(moving.DIGIT,) * 2, mode="bilinear", align_corners=False)
        stretched[start : start + 1024] = large[:, 0].round().to(torch.uint8).numpy()
    return stretched


def _arrays(digits: Digits) -> Iterator[tuple[str, NDArray[Any]]]:
    """What the cache holds, by name."""
    for split, (images, labels) in digits.items():
        yield f"{split}_digits", images
        yield f"{split}_labels", labels
        rng = np.random.default_rng(derive("smmnist", "pairs", split))
        yield f"{split}_pairs", _pairs(len(images), N_STORED.get(split, max(len(images), N_TRAIN_LEAST)), rng)
        if split in N_STORED:
            generator = torch.Generator().manual_seed(derive("smmnist", "motion", split))
            motion = moving.draw_motion(N_STORED[split], N_FRAMES, generator)
            yield f"{split}_position", motion.position.to(torch.int8).numpy()
            yield f"{split}_velocity", motion.velocity.to(torch.int8).numpy()


def _pairs(n_digits: int, n_pairs: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs (n_pairs, 2) of different digits; in every n_digits of them each digit comes once first, once second."""
    rounds = []
    for _ in range(-(-n_pairs // n_digits)):
        order = rng.permutation(n_digits)
        shift = int(rng.integers(1, n_digits))
        rounds.append(np.stack([order, np.roll(order, shift)], 1))
    return np.concatenate(rounds)[:n_pairs]


DATASETS: dict[str, type[DataSet]] = {"smmnist": SmMnist, "smmnist-10k": SmMnist10k}
