"""A network in an ONNX file, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crosshead.backbones.onnx_files import NetworkFiles, read_network
from crosshead.backbones.preprocessing import LAYOUTS, Preprocessing, Stated, preprocessing_of, stated_beside
from crosshead.backbones.protocol import Features, as_rows, check_independence
from crosshead.data.errors import DataError, load_package
from crosshead.data.images.decoding import Pixels

INPUT_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class OnnxBackbone:
    """A network whose features are one of its outputs, or any tensor inside it.

    ``stated`` are given fields of the pre-processing; others are read from a JSON file beside the network, then from
    the shape of its input. For a network with a fixed batch size the last batch is padded. ``files`` are those of the
    network, if they were read and compared with a fingerprint before.
    """

    def __init__(
        self,
        path: Path,
        output: str | None = None,
        stated: Stated | None = None,
        threads: int | None = None,
        files: NetworkFiles | None = None,
    ):
        self.path = path
        files = read_network(path) if files is None else files
        self._fingerprint = files.fingerprint
        self._session = _session(files, output, threads)
        self._input, self.output = _one_input(self._session, path), _one_output(self._session, output, path)
        said, self.stated_in = stated_beside(path)
        merged = {**said, **{name: value for name, value in (stated or {}).items() if value is not None}}
        self.assumed = "mean" not in merged and "white" not in merged
        self.preprocessing = _fitted(merged, self._input, path)
        fixed = self._input.shape[0]
        self._fixed_batch = fixed if isinstance(fixed, int) else None
        self.n_features = check_independence(self.embed, self.preprocessing, str(path))

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, file name without folder, output, SHA-256 of all files, and the pre-processing."""
        return {
            "kind": "onnx",
            "name": self.path.name,
            "output": self.output,
            "fingerprint": self._fingerprint,
            "preprocessing": self.preprocessing.to_dict(),
        }

    def proto(self) -> Any:
        """The network as `onnx.ModelProto` with all weights; DataError if its files have changed."""
        files = read_network(self.path)
        if files.fingerprint != self._fingerprint:
            raise DataError(f"{self.path}: changed while it was in use; start again")
        return files.proto()

    def embed(self, pixels: Pixels) -> Features:
        """Compute the features (n, D) of pixels (n, height, width, channels)."""
        size = self._fixed_batch or max(len(pixels), 1)
        parts = [self._run(pixels[first : first + size], size) for first in range(0, len(pixels), size)]
        return np.concatenate(parts) if parts else np.empty((0, self.n_features), dtype=np.float32)

    def input_of(self, pixels: Pixels) -> NDArray[Any]:
        """Convert pixels (n, height, width, channels) to the network's input."""
        return self.preprocessing.apply(pixels).astype(INPUT_DTYPES[self._input.type], copy=False)

    def _run(self, pixels: Pixels, size: int) -> Features:
        values = self.input_of(pixels)
        if len(values) < size:
            values = np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])
        try:
            outputs = self._session.run([self.output], {self._input.name: values})[0]
        except Exception as error:  # onnxruntime has its own tree of errors
            raise DataError(f"{self.path}: the network failed on input of shape {values.shape}: {error}") from error
        self.output_rank = np.asarray(outputs).ndim
        return as_rows(np.asarray(outputs), self.preprocessing.layout, str(self.path))[: len(pixels)]


def split_output(spec: str) -> tuple[Path, str | None]:
    """The file and the output of `FILE.onnx[:output]`.

    Examples
    --------
    >>> split_output("nets/small.onnx:/pool/out:0")
    (PosixPath('nets/small.onnx'), '/pool/out:0')
    """
    file, separator, output = spec.partition(".onnx:")
    return (Path(f"{file}.onnx"), output) if separator and output else (Path(spec), None)


def _session(files: NetworkFiles, output: str | None, threads: int | None) -> Any:
    """The network in onnxruntime, from the bytes that were hashed, except for external weights, which it opens."""
    runtime = load_package("onnxruntime", "crosshead[onnx]", "an ONNX backbone")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if threads is not None:
        options.intra_op_num_threads = threads
    source = str(files.path) if files.external else files.content
    # A fallback to another provider would be reported on stdout; there is no other.
    where: dict[str, Any] = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}
    try:
        session = runtime.InferenceSession(source, options, **where)
        if output is not None and output not in {one.name for one in session.get_outputs()}:
            session = runtime.InferenceSession(_with_output(files, output), options, **where)
        for one in (*session.get_inputs(), *session.get_outputs()):
            _ = one.name, one.type, one.shape  # decoded only now; names may not be UTF-8
    except DataError:
        raise
    except Exception as error:  # onnxruntime has its own tree of errors
        raise DataError(f"{files.path}: not a network that onnxruntime can run ({error}); is it damaged?") from error
    if files.external:
        files.check_unchanged()
    return session


def _with_output(files: NetworkFiles, output: str) -> bytes:
    """The network with one of its inner tensors as an additional output."""
    onnx = load_package("onnx", "crosshead[onnx]", "taking features from inside a network")
    model = files.proto()
    inside = [name for node in model.graph.node for name in node.output if name]
    if output not in inside:
        shown = ", ".join(repr(name) for name in inside[-5:])
        raise DataError(f"{files.path}: no output or tensor {output!r}; the last ones are {shown}")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    return bytes(model.SerializeToString())


def _one_input(session: Any, path: Path) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in INPUT_DTYPES or len(inputs[0].shape) != 4:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise DataError(f"{path}: takes {found}; a backbone takes one tensor of images, with four dimensions")
    return inputs[0]


def _one_output(session: Any, output: str | None, path: Path) -> str:
    names = [one.name for one in session.get_outputs()]
    if output is not None:
        return output
    if not names:
        raise DataError(f"{path}: the network has no outputs; is it damaged?")
    if len(names) > 1:
        raise DataError(f"{path}: has the outputs {', '.join(names)}; say which, as in {path.name}:{names[0]}")
    return str(names[0])


def _fitted(stated: Mapping[str, Any], network_input: Any, path: Path) -> Preprocessing:
    """The pre-processing, completed from the input's shape; DataError if they contradict each other."""
    shape = network_input.shape
    layout = stated.get("layout") or _layout(shape, path)
    channels, sides = (shape[1], shape[2:]) if layout == "nchw" else (shape[3], shape[1:3])
    filled = {**stated, "layout": layout}
    if filled.get("size") is None and all(isinstance(side, int) for side in sides):
        filled["size"] = list(sides)
    if filled.get("colours") is None:
        filled["colours"] = {1: "grey", 4: "rgba"}.get(channels, "rgb")
    if network_input.type == "tensor(uint8)":
        filled.setdefault("white", 255.0)
    made = preprocessing_of(filled, str(path))
    expected = [channels, *sides]
    for name, wanted, found in zip(
        ("channels", "height", "width"), expected, (made.n_channels, *made.size), strict=True
    ):
        if isinstance(wanted, int) and wanted != found:
            raise DataError(f"{path}: the network takes images of {name} {wanted}, the pre-processing makes {found}")
    if network_input.type == "tensor(uint8)" and (made.white, made.mean, made.std) != (255.0, (0.0,), (1.0,)):
        raise DataError(f"{path}: the network takes whole numbers 0…255, so white, mean and std cannot be applied")
    return replace(made, size=(int(made.size[0]), int(made.size[1])))


def _layout(shape: list[Any], path: Path) -> str:
    first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
    if not (first and last):  # channels of unknown number are first, as in ONNX's own convolutions
        return LAYOUTS[1] if last else LAYOUTS[0]
    raise DataError(f"{path}: the input's shape {shape} does not say where the channels are; say --layout nchw or nhwc")
