"""A user's PyTorch network: `torch:module:callable`."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.backbones.preprocessing import Stated, preprocessing_of
from crosshead.backbones.protocol import Features, as_rows, check_independence
from crosshead.data.backbone_record import base_name
from crosshead.data.errors import DataError, load_package
from crosshead.data.images.decoding import Pixels

PREFIX = "torch:"


class TorchBackbone:
    """A `torch.nn.Module`, or a callable without arguments that returns one, found as module:name.

    Creating it imports the module and calls the callable, and so must only be done for a name given by the user. The
    module is searched on Python's path, and then in the working folder, which is on the path only while this code runs.
    The network is set to eval mode and takes float32 images (n, channels, height, width).
    """

    def __init__(self, spec: str, stated: Stated | None = None, threads: int | None = None):
        self._torch = load_package("torch", "crosshead[torch]", "a PyTorch backbone")
        self._spec = spec
        if threads is not None:
            self._torch.set_num_threads(threads)
        self._home = str(Path.cwd())
        with self.importable():
            self.module, source = _module_of(spec, self._torch)
        said = {name: value for name, value in (stated or {}).items() if value is not None}
        self.assumed = "mean" not in said and "white" not in said
        self.stated_in = None
        self.preprocessing = preprocessing_of({**said, "layout": said.get("layout", "nchw")}, spec)
        self.n_features = check_independence(self.embed, self.preprocessing, spec)
        self._fingerprint = _fingerprint(self.module, source, self._torch)

    @property
    def description(self) -> Mapping[str, Any]:
        """Kind, module and name as text, SHA-256 of source and weights, and the pre-processing."""
        return {
            "kind": "torch",
            "name": base_name(self._spec),
            "output": None,
            "fingerprint": self._fingerprint,
            "preprocessing": self.preprocessing.to_dict(),
        }

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Context in which the working folder is at the end of Python's path.

        A network may import modules of its folder when it is called, so calls need it too.
        """
        sys.path.append(self._home)
        try:
            yield
        finally:
            for place in range(len(sys.path) - 1, -1, -1):  # the last one is ours; the code may have added others
                if sys.path[place] == self._home:
                    del sys.path[place]
                    break

    def input_of(self, pixels: Pixels) -> Features:
        """Convert pixels (n, height, width, channels) to the network's input."""
        return self.preprocessing.apply(pixels)

    def embed(self, pixels: Pixels) -> Features:
        """Compute the features (n, D) of pixels (n, height, width, channels)."""
        torch = self._torch
        if not len(pixels):
            return np.empty((0, self.n_features), dtype=np.float32)
        try:
            with torch.inference_mode(), self.importable():
                outputs = self.module(torch.from_numpy(self.input_of(pixels)))
        except Exception as error:  # whatever a person's own code raises
            raise DataError(f"{self._spec}: the network failed on {len(pixels)} images: {error}") from error
        if not isinstance(outputs, torch.Tensor):
            raise DataError(f"{self._spec}: the network returns {type(outputs).__name__}, not one tensor of features")
        if outputs.dtype == torch.bfloat16:
            outputs = outputs.float()
        self.output_rank = outputs.ndim
        return as_rows(outputs.numpy(), self.preprocessing.layout, self._spec)


def _module_of(spec: str, torch: Any) -> tuple[Any, str]:
    """The network in eval mode, and the source of its file."""
    module_name, separator, name = spec.removeprefix(PREFIX).rpartition(":")
    if not separator or not module_name or not name:
        raise DataError(f"{spec}: write {PREFIX}module:name, such as torch:my_networks:backbone")
    try:
        home = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever a person's own code raises
        raise DataError(f"{spec}: module {module_name!r} cannot be imported ({_in_words(error)})") from error
    found = getattr(home, name, None)
    if found is None:
        raise DataError(f"{spec}: module {module_name!r} has no {name!r}")
    network = found
    if callable(found) and not isinstance(found, torch.nn.Module):
        try:
            network = found()
        except (Exception, SystemExit) as error:  # whatever a person's own code raises
            raise DataError(
                f"{spec}: {name!r} failed when it was called without arguments ({_in_words(error)})"
            ) from error
    if not isinstance(network, torch.nn.Module):
        raise DataError(f"{spec}: {name!r} is {type(network).__name__}, not a torch.nn.Module nor one's maker")
    try:
        source = inspect.getsource(home)
    except (OSError, TypeError):
        source = ""
    return network.eval(), source


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removeprefix("ModuleNotFoundError: ").removeprefix("ImportError: ")


def _fingerprint(module: Any, source: str, torch: Any) -> str:
    digest = hashlib.sha256(f"{module!r}\n{source}".encode())
    for name, values in module.state_dict().items():
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
