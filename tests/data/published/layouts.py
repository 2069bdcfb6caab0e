"""Files in exactly the published layouts, with tiny pictures, and facts that fit them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from metaccord.data.catalogue import RemoteFile
from metaccord.data.published.facts import PictureSet, facts


def picture(seed: str, side: int = 12, kind: str = "JPEG") -> bytes:
    """A picture that its name decides."""
    key = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")
    colours = np.random.default_rng(key).integers(0, 255, (2, 2, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).resize((side, side)).save(stream, kind)
    return stream.getvalue()


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    """Write an archive with folders, as people pack them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as archive:
        seen = set()
        for name, content in files.items():
            for end in range(1, name.count("/") + 1):
                folder = "/".join(name.split("/")[:end])
                if folder not in seen:
                    seen.add(folder)
                    entry = tarfile.TarInfo(folder)
                    entry.type = tarfile.DIRTYPE
                    archive.addfile(entry)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def sealed(entry: PictureSet, path: Path, total: int, each: int | None) -> PictureSet:
    """Return facts about a small archive in the place of the published one."""
    content = path.read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    file = RemoteFile(entry.archive.name, entry.archive.url, md5, len(content))
    return entry._replace(archive=file, total=total, each=each)


def cifar_parts(train: int = 5, test: int = 1) -> tuple[bytes, bytes]:
    """``train.bin`` and ``test.bin`` with so many pictures of each class, shuffled."""
    rows = facts("cifar100")["classes"]
    coarse_names = sorted({row[1] for row in rows})
    parts = []
    for number, each in enumerate((train, test)):
        rng = np.random.default_rng(number)
        fine = rng.permutation(np.repeat(np.arange(100), each))
        records = np.zeros((len(fine), 3074), dtype=np.uint8)
        records[:, 0] = [coarse_names.index(rows[k][1]) for k in fine]
        records[:, 1] = fine
        records[:, 2:] = rng.integers(0, 255, (len(fine), 3072), dtype=np.uint8)
        records[:, 2] = fine  # the first red pixel tells the class
        parts.append(records.tobytes())
    return parts[0], parts[1]


def cifar_archive(path: Path) -> Path:
    """The binary archive: the official members in the official folder."""
    train, test = cifar_parts()
    rows = facts("cifar100")["classes"]
    fine = "\n".join(row[0] for row in rows)
    coarse = "\n".join(sorted({row[1] for row in rows}))
    top = "cifar-100-binary"
    files = {
        f"{top}/coarse_label_names.txt": coarse.encode(),
        f"{top}/fine_label_names.txt": fine.encode(),
        f"{top}/train.bin": train,
        f"{top}/test.bin": test,
    }
    return tar(path, files, "w:gz")


def cub_files(each: int = 2) -> dict[str, bytes]:
    """CUB's members; pictures of a class do not stand together, nor in order."""
    classes = [row[0] for row in facts("cub")["classes"]]
    pictures = {}
    for i in reversed(range(each)):
        for number, name in enumerate(classes):
            kind = name.split(".")[1]
            pictures[f"{name}/{kind}_{i:04d}_{1000 * number + i}.jpg"] = picture(f"{name}{i}", 6)
    lines = [f"{n + 1} {name}" for n, name in enumerate(sorted(pictures))]
    kinds = [f"{n + 1} {name}" for n, name in enumerate(classes)]
    top = "CUB_200_2011"
    return {
        "attributes.txt": b"1 has_bill_shape::curved\n",
        f"{top}/README": b"The Caltech-UCSD Birds-200-2011 Dataset\n",
        f"{top}/classes.txt": "\n".join(kinds).encode(),
        f"{top}/images.txt": "\n".join(lines).encode(),
        **{f"{top}/images/{name}": content for name, content in pictures.items()},
    }


def imagenet_class(wnid: str, count: int, step: int = 7) -> dict[str, bytes]:
    """Pictures of one class with ImageNet's names: numbers with gaps, no zeros in front."""
    order = np.random.default_rng(count).permutation(count)
    names = [f"{wnid}_{step * (i + 1)}.JPEG" for i in order]
    return {name: picture(name, 4) for name in names}


def unpack(root: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root
