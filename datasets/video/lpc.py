"""The Sprites clips, composed from the Liberated Pixel Cup sheets of YingzhenLi/Sprites exactly as that project does.

A sheet is 832 x 1344 pixels: 13 columns by 21 rows of 64 x 64 cells. A character is five sheets laid over an opaque
black canvas in the order body, bottomwear, topwear, hair, shoes. Nine actions use 6 to 9 cells of one row each, put
into 8 frames (Li and Mandt 2018, released data generator).
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqdis.bench.core.errors import UserError
from seqdis.bench.core.files import digest
from seqdis.datasets.folders import subfolders

Bytes = NDArray[np.uint8]

COMMIT = "3ce4048c5227802bd8f1888e293fd3afdba91c0c"
UPSTREAM = f"https://raw.githubusercontent.com/YingzhenLi/Sprites/{COMMIT}/"
LAYERS = ("body", "bottomwear", "topwear", "hair")
SHOES = "shoes/1"
CELL = 64
N_CHARACTERS = 6**4
# (row, columns in frame order) of each action, in label order: walk, spell cast, slash x front, left, right.
_WALK, _SPELL, _SLASH = (8, 1, 2, 3, 4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 4, 6), (0, 1, 2, 3, 4, 5, 4, 0)
ACTIONS = (
    (10, _WALK),
    (9, _WALK),
    (11, _WALK),
    (2, _SPELL),
    (1, _SPELL),
    (3, _SPELL),
    (14, _SLASH),
    (13, _SLASH),
    (15, _SLASH),
)
ALL_DIGEST = "9a90d76e1172c33b1a9e318a299657cecb9d9d19ddfd0d085e800b796a07a9f3"
"""SHA-256 of all 1296 arrays (9, 8, 64, 64, 3), ids 0..1295 one after another."""

SHA256 = {
    "body/0": "27d1ac78db37c42f35a20d15c42705efc5e58d47c236cc01423879d4f797f151",
    "body/1": "1535e9228357b884df80f777a0d1dac10ac35e550e4d8d077105ccad014a1460",
    "body/2": "7c241033b4897501cb3721b6c3a9ebfa94b13db10a539edbd9bcc3e0c2a4bcb9",
    "body/3": "055f5aa33fc112d8444b42fce2cf50608a9fbbf2466c54ceaa46c777589a717a",
    "body/4": "57f3b9c510482379aba9a32fc0de7d48e9cbe3dc40f2447283547f773b77ca72",
    "body/5": "91e49453aeab5ebbb4fd2b48253812895dcfb4cb1829b84e24425c66de8f04ff",
    "bottomwear/0": "4ec356c488e272fde2d2d0d722b12a80217871e41161d43ba784caf243969ec2",
    "bottomwear/1": "0674312eaa4ab548f8bb31ef95d7dbd46b41555758cec51bd6c3e9fac9a0f936",
    "bottomwear/2": "3b464feb0d20ff34b0ca2a6d1fd00766ad86e2229c3d56ff91379fe27588a893",
    "bottomwear/3": "b366e84ea0519d06cf693f51e0ee2f9ac32b3132d27c75dfdc4b6f52fca072de",
    "bottomwear/4": "4ed7e7702e4f50b9692c0043be04b7296a108d85ea97230fb50d13c150d98771",
    "bottomwear/5": "a5c5e7e33f13fe5ad37b5836a5a74fb0d2094a0877c2146961b88688ff85840d",
    "topwear/0": "b917edcf2b3c35d51ef57a6fad67557c5edf048785bea29db09a640d09ac9a90",
    "topwear/1": "e33c6cb31ed1268a2c0dc73b665b1c9b9420e22baf3321880222bdb22682368b",
    "topwear/2": "2b9b8fefa08894b7ea536cd62b86d494aefe6e54495c5c1d83460827b13b6448",
    "topwear/3": "807f5b628592f6747e2814be9435963069dba6c360577168c02f57bbe903433d",
    "topwear/4": "b51b17878503877e179ce4f9231713bf2b2d2d666c3ec9ee29f4e784469867a2",
    "topwear/5": "1b6049d43f83ebfda857cc405d1936ac9fd80be480fa6ad239024a6a75ad0372",
    "hair/0": "e4007b0635a239ad16cdebfe90759349ccc73dfc6836c9d19625714be185f43d",
    "hair/1": "fa6369f84d3310705df6d8ca8c9d515a7d211e73d2826c50a9cb5bb285652c66",
    "hair/2": "1b8046752be7233e829ebe9b11048e171d8d181ee6f68e07042b34f57bb8af0d",
    "hair/3": "333783285c5fd94ff434ae5000d2da39aac7940269f173119eaa70d34c8acfa1",
    "hair/4": "24df8e9b291cbd444f6c4d12d35b3d43d909cd13f04e6401e0fd8ab10216d5a2",
    "hair/5": "4dd471cc20e0b1cf71adcaab01c88598767e5cfe680adacdf560ca91574f17ae",
    SHOES: "d56a561616a20a12030d2d40a52eeec63e6d048871bf3b6994221869362151f1",
}


def find_sheets(folder: Path) -> Path:
    """The folder that holds body/, bottomwear/, topwear/, hair/ and shoes/: `folder` or one directly below it.

    Raises:
        UserError: neither does.
    """
    candidates = [folder, *subfolders(folder)] if folder.is_dir() else []
    for candidate in candidates:
        if all((candidate / part).is_dir() for part in (*LAYERS, "shoes")):
            return candidate
    raise UserError(
        f"{folder} does not hold the Sprites sheets: it should have the folders body, bottomwear, topwear, "
        "hair and shoes, as in the project YingzhenLi/Sprites."
    )


def read_sheets(folder: Path) -> dict[str, bytes]:
    """The 25 used sheets, each checked against its SHA-256.

    Raises:
        UserError: one is missing, unreadable or differs; the message names it.
    """
    sheets = {}
    for name, expected in SHA256.items():
        path = folder / f"{name}.png"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"the sheet {path} cannot be read ({error.strerror}).") from None
        if digest(data) != expected:
            raise UserError(
                f"the sheet {path} is damaged or not the published one ({len(data)} bytes, SHA-256 "
                f"{digest(data)[:12]}..., expected {expected[:12]}...)."
            )
        sheets[name] = data
    return sheets


def download_sheets(folder: Path) -> Path:
    """Downloads the sheets that `folder` lacks from the pinned commit of their public project and returns `folder`.

    Raises:
        UserError: a file cannot be fetched, or is not the published one.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    fetcher = pooch.create(
        path=folder, base_url=UPSTREAM, registry={f"{name}.png": f"sha256:{sha}" for name, sha in SHA256.items()}
    )
    for name in fetcher.registry_files:
        try:
            fetcher.fetch(name)
        except (OSError, ValueError) as error:
            reason = "what came is not the published file" if isinstance(error, ValueError) else type(error).__name__
            raise UserError(
                f"cannot download {UPSTREAM}{name} ({reason}): check the network and run it again, or give "
                "a copy of that project with: bench data prepare sprites --from DIR"
            ) from None
    return folder


def cut(sheet: bytes) -> Bytes:
    """The cells of the nine actions of a sheet: RGBA (9, 8, 4, 64, 64)."""
    from PIL import Image

    with Image.open(io.BytesIO(sheet)) as image:
        pixels = np.asarray(image.convert("RGBA"))
    cells = pixels.reshape(21, CELL, 13, CELL, 4).transpose(0, 2, 4, 1, 3)
    return np.stack([cells[row, list(columns)] for row, columns in ACTIONS])


def over(layer: Bytes, canvas: Bytes) -> Bytes:
    """Ordinary "over" compositing of RGBA (..., 4, H, W) on opaque RGB (..., 3, H, W), rounded to nearest."""
    alpha = layer[..., 3:, :, :]
    composed = np.where(alpha == 255, layer[..., :3, :, :], canvas)
    partial = (alpha > 0) & (alpha < 255)
    if partial.any():
        weight = alpha.astype(np.int32)
        blend = layer[..., :3, :, :] * weight + canvas * (255 - weight)
        composed = np.where(partial, ((blend + 127) // 255).astype(np.uint8), composed)
    return composed


def characters(sheets: dict[str, bytes]) -> Iterator[tuple[int, Bytes]]:
    """Composes every character: yields (id, RGB (9, 8, 3, 64, 64)) for ids 0..1295 in order.

    id = 216 body + 36 bottomwear + 6 topwear + hair. One character is in memory at a time (plus the cut sheets).

    Raises:
        UserError: after the last one, if the whole differs from the reference digest.
    """
    bodies, bottoms, tops, hairs = ([cut(sheets[f"{layer}/{value}"]) for value in range(6)] for layer in LAYERS)
    shoes = cut(sheets[SHOES])
    # Hair and shoes are opaque or clear everywhere, so they merge into one exact overlay.
    crowns = []
    for hair in hairs:
        mask = np.broadcast_to((shoes[:, :, 3:] > 0) | (hair[:, :, 3:] > 0), shoes[:, :, :3].shape).copy()
        crowns.append((mask, over(shoes, hair[:, :, :3])))
    sha = hashlib.sha256()
    black = np.zeros_like(shoes[:, :, :3])
    number = 0
    for body in bodies:
        skin = over(body, black)
        for bottom in bottoms:
            dressed = over(bottom, skin)
            for top in tops:
                clothed = over(top, dressed)
                for mask, crown in crowns:
                    clip = clothed.copy()
                    np.copyto(clip, crown, where=mask)
                    sha.update(np.ascontiguousarray(clip.transpose(0, 1, 3, 4, 2)).data)
                    yield number, clip
                    number += 1
    if sha.hexdigest() != ALL_DIGEST:
        raise UserError(
            "the composed Sprites clips differ from the reference digest: please report this, with the "
            "versions of Pillow and NumPy ('bench doctor' shows them)."
        )
