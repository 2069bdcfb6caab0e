"""The two file formats of exported programs, and how they are written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from metaccord import fs
from metaccord.deploy.folder import refuse_file
from metaccord.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format = Literal["torch", "onnx"]
SUFFIXES: dict[str, str] = {"torch": ".pt2", "onnx": ".onnx"}
_NEAR = 1e-5
FACTS = "metaccord.json"
"""Name of the JSON beside the program: an extra file of .pt2, a metadata property of .onnx."""


def refuse_place(path: Path, to: str) -> None:
    """Raise UsageError unless a program of a format can be written there."""
    if to not in get_args(Format):
        raise unknown("export format", to, get_args(Format))
    refuse_file(path, "--out", [SUFFIXES[to]])
    if to == "onnx":
        _needs_onnx()


def write(
    program: ExportedProgram,
    path: Path,
    to: str,
    facts: dict[str, Any],
    inputs: dict[str, Tensor],
) -> None:
    """Write a program with what is known about it.

    Args:
        program: What is computed.
        path: A new file.
        to: ``"torch"`` or ``"onnx"``.
        facts: JSON that goes into the file.
        inputs: Some that it takes, in order and by name; ONNX must give the same outputs for
            them.

    Raises:
        UsageError: if ONNX has no operator for something in the program, or computes it
            otherwise.
    """
    refuse_place(path, to)
    text = json.dumps(facts)
    if to == "onnx":
        fs.write_atomic(path, _onnx(program, text, inputs))
        return
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={FACTS: text})
    fs.write_atomic(path, stream.getvalue())


def _onnx(program: ExportedProgram, text: str, inputs: dict[str, Tensor]) -> bytes:
    from torch.onnx import errors

    with quiet():
        try:
            found = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["outputs"],
            )
        except (errors.OnnxExporterError, RuntimeError) as error:
            lacks = _missing_operator(error)
            raise UsageError(
                f"ONNX cannot hold this program{lacks}: use --to torch, or export the adapted model"
            ) from error
    assert found is not None
    found.model.metadata_props[FACTS] = text
    content = bytes(found.model_proto.SerializeToString())
    _refuse_other_outputs(program, content, inputs)
    return content


def _refuse_other_outputs(
    program: ExportedProgram, content: bytes, inputs: dict[str, Tensor]
) -> None:
    """Raise UsageError if ONNX computes something else: some translations are silently wrong."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    found = torch.from_numpy(session.run(None, {k: v.numpy() for k, v in inputs.items()})[0])
    with torch.no_grad():
        expected = program.module()(*inputs.values())
    gap, size = float((found - expected).abs().max()), float(expected.abs().max())
    if not gap <= _NEAR * (1 + size):
        raise UsageError(
            f"ONNX computes other outputs than torch, by {gap:.2g}: use --to torch, or export the "
            "adapted model"
        )


def _missing_operator(error: BaseException | None) -> str:
    """Return ``: there is no operator for x`` if the chain of errors says so."""
    while error is not None:
        _, found, rest = str(error).partition("No ONNX function found for ")
        if found:
            return f", it has no operator for {rest.split('.')[1].split(chr(39))[0]}"
        error = error.__cause__
    return ""


def _needs_onnx() -> None:
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise UsageError(
            f"export to ONNX needs {error.name}: pip install 'metaccord[onnx]'"
        ) from error
    del onnx, onnxruntime, onnxscript


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what torch's exporters say to their own developers."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
