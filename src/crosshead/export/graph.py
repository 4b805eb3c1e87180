"""A model as one ONNX graph: the last layer alone, or with its backbone."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.backbones.cnn_backbone import CnnBackbone
from crosshead.backbones.onnx_backbone import OnnxBackbone
from crosshead.backbones.torch_backbone import TorchBackbone
from crosshead.data.errors import DataError, load_package
from crosshead.export.head import EXTRA, LOWEST_OPSET, HeadOutputs, Nodes, add_head
from crosshead.models import Model
from crosshead.models.json_document import package_version, plain

IR_VERSION = 8
OPSET = 17
FEATURES, IMAGES = "features", "images"
DTYPES = ("float32", "float64")


@dataclass(frozen=True, eq=False)
class Exported:
    """The graph, and the names of its input and outputs."""

    proto: Any
    input: str
    outputs: HeadOutputs
    dtype: np.dtype[Any]

    @property
    def content(self) -> bytes:
        """The content of the file."""
        return bytes(self.proto.SerializeToString())


def build_onnx(
    model: Model,
    backbone: OnnxBackbone | TorchBackbone | CnnBackbone | None = None,
    *,
    dtype: str = "float32",
    opset: int | None = None,
) -> Exported:
    """Build one graph of scaling, linear layer, temperature and softmax or sigmoid, with the backbone if given.

    Input: ``features`` (n, D); ``images`` (n, height, width[, 3]) of 0…255 for a model of pixels; with a backbone the
    input of that, pre-processed as in the metadata. Outputs: ``scores`` (n, C), ``probabilities`` (n, C) if the model
    has them, ``predicted`` (n,), the index of the class. Metadata: ``classes``, a JSON list, and ``preprocessing``. The
    batch size n is free, unless the backbone fixes it.

    Raises
    ------
    DataError
        If onnx is missing, the opset is too old, or numbers do not fit the dtype.

    Examples
    --------
    >>> made = build_onnx(Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax"))
    >>> made.input, [output.name for output in made.proto.graph.output]
    ('features', ['scores', 'probabilities', 'predicted'])
    """
    if opset is not None and opset < LOWEST_OPSET:
        raise DataError(f"opset {opset} is too old; give {LOWEST_OPSET} or above")
    if backbone is None:
        return _head_alone(model, np.dtype(dtype), opset or OPSET)
    if dtype != "float32":
        raise DataError("--dtype float64 is for a head alone; with a backbone the graph is float32")
    return _behind(model, backbone, opset)


def _head_alone(model: Model, dtype: np.dtype[Any], opset: int) -> Exported:
    onnx = load_package("onnx", EXTRA, "exporting")
    helper = onnx.helper
    nodes = Nodes(dtype)
    shape = model.encoding.get("shape")
    name = FEATURES if shape is None else IMAGES
    nodes.taken.add(name)
    features = name if shape is None else nodes.add("Flatten", [name], FEATURES, axis=1)
    outputs = add_head(nodes, model, features)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    sides = [model.weight.shape[1]] if shape is None else shape
    graph = helper.make_graph(
        nodes.nodes,
        "crosshead",
        [helper.make_tensor_value_info(name, kind, ["n", *map(int, sides)])],
        _output_infos(onnx, model, outputs, kind, "n"),
        nodes.constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    return _finished(onnx, proto, model, Exported(proto, name, outputs, dtype), None)


def _behind(model: Model, backbone: OnnxBackbone | TorchBackbone | CnnBackbone, opset: int | None) -> Exported:
    onnx = load_package("onnx", EXTRA, "exporting")
    if isinstance(backbone, OnnxBackbone):
        proto, output = backbone.proto(), backbone.output
    else:
        proto = _torch_graph(onnx, backbone, opset)
        output = proto.graph.output[0].name
    proto = _at_opset(onnx, proto, opset)
    graph = proto.graph
    nodes = Nodes(np.dtype(np.float32), _names(graph))
    features = _features(nodes, output, backbone)
    outputs = add_head(nodes, model, features)
    name = next(one.name for one in graph.input if one.name not in {value.name for value in graph.initializer})
    first = next(one for one in graph.input if one.name == name).type.tensor_type.shape.dim[0]
    n_images = first.dim_value or first.dim_param or "n"
    graph.node.extend(nodes.nodes)
    graph.initializer.extend(nodes.constants)
    del graph.output[:]
    graph.output.extend(_output_infos(onnx, model, outputs, onnx.TensorProto.FLOAT, n_images))
    exported = Exported(proto, name, outputs, np.dtype(np.float32))
    return _finished(onnx, proto, model, exported, backbone.preprocessing.to_dict())


def _features(nodes: Nodes, output: str, backbone: OnnxBackbone | TorchBackbone | CnnBackbone) -> str:
    """The output of the backbone as float32 (n, D); feature maps are averaged over positions."""
    features = nodes.add("Cast", [output], "features_float32", to=1)
    if backbone.output_rank == 4:
        if backbone.preprocessing.layout == "nhwc":
            features = nodes.add("Transpose", [features], "features_first", perm=[0, 3, 1, 2])
        pooled = nodes.add("GlobalAveragePool", [features], "pooled")
        features = nodes.add("Flatten", [pooled], "features", axis=1)
    return features


def _at_opset(onnx: Any, proto: Any, opset: int | None) -> Any:
    found = next((one.version for one in proto.opset_import if one.domain in ("", "ai.onnx")), 0)
    wanted = opset or max(found, LOWEST_OPSET)
    if found == wanted:
        return proto
    try:
        return onnx.version_converter.convert_version(proto, wanted)
    except Exception as error:  # the converter raises RuntimeError and others
        raise DataError(f"the backbone's opset {found} cannot be converted to {wanted} ({error})") from error


def _torch_graph(onnx: Any, backbone: TorchBackbone | CnnBackbone, opset: int | None) -> Any:
    torch = load_package("torch", "crosshead[torch]", "a PyTorch backbone")
    load_package("onnxscript", "onnxscript", "exporting a PyTorch backbone")
    form = backbone.preprocessing.form
    images = torch.from_numpy(backbone.preprocessing.apply(np.zeros((2, *form.shape), dtype=np.uint8)))
    stream = io.BytesIO()
    importable = backbone.importable() if isinstance(backbone, TorchBackbone) else nullcontext()
    with _quiet(), importable:
        made = torch.onnx.export(
            backbone.module,
            (images,),
            input_names=[IMAGES],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
        made.save(stream)
    return onnx.load_model_from_string(stream.getvalue())


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's notices, which are about its internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _names(graph: Any) -> set[str]:
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    return names | {one.name for part in (graph.input, graph.initializer) for one in part}


def _output_infos(onnx: Any, model: Model, outputs: HeadOutputs, kind: int, n_rows: Any) -> Sequence[Any]:
    make, n_classes = onnx.helper.make_tensor_value_info, len(model.classes)
    infos = [make(outputs.scores, kind, [n_rows, n_classes])]
    if outputs.probabilities is not None:
        infos.append(make(outputs.probabilities, kind, [n_rows, n_classes]))
    return [*infos, make(outputs.predicted, onnx.TensorProto.INT64, [n_rows])]


def _finished(onnx: Any, proto: Any, model: Model, exported: Exported, preprocessing: Any) -> Exported:
    said = {
        "classes": model.classes.tolist(),
        "loss": model.loss,
        "temperature": model.temperature,
        "preprocessing": preprocessing,
        "feature_names": model.feature_names,
    }
    kept = {one.key: one.value for one in proto.metadata_props}
    words = {name: json.dumps(plain(value)) for name, value in said.items() if value is not None}
    onnx.helper.set_model_props(proto, {**kept, **words})
    proto.producer_name, proto.producer_version = "crosshead", package_version("crosshead")
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        raise DataError(f"the graph that would be written is not valid ONNX ({error})") from error
    return exported
