"""The speller as two ONNX graphs in the form that exporters give to encoder-decoders with a cache.

`encoder.onnx` also computes the keys and values that the decoder's cross-attention reads, once for
a query. `decoder.onnx` takes them and its own past, which is empty at the first step. Weights are
stored in 8 bits with one scale per output.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def quantize(weight, axis):
    """Whole numbers of 8 bits, and a scale for each row or column: what is left without `axis`."""
    scale = np.abs(weight).max(axis, keepdims=True).astype(np.float32) / 127
    return np.rint(weight / np.maximum(scale, 1e-12)).astype(np.int8), scale


@torch.no_grad()
def rounded(model):
    """Gives the model the weights that its export has."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            whole, scale = quantize(parameter.numpy(), 1)
            parameter.copy_(torch.from_numpy(whole * scale))


class Graph:
    """An ONNX graph under construction: calling it adds a node and gives the name of its output."""

    def __init__(self, heads, masked):
        self.heads, self.masked = heads, masked
        self.nodes, self.initializers = [], []

    def __call__(self, op, *inputs, outputs=None, **attributes):
        names = outputs or [f"{op.lower()}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names if len(names) > 1 else names[0]

    def constant(self, array):
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def indices(self, *values):
        return self.constant(np.array(values, np.int64))

    def weight(self, matrix, axis):
        """A matrix of 8 bits; runtimes unpack it once, when they load the graph."""
        whole, scale = quantize(matrix, axis)
        return self("Mul", self("Cast", self.constant(whole), to=FLOAT), self.constant(scale))

    def linear(self, x, *matrices, outputs=None):
        """x by several matrices [outputs, inputs] at once."""
        return self("MatMul", x, self.weight(np.concatenate(matrices).T, 0), outputs=outputs)

    def norm(self, x, layer, outputs=None):
        scale, bias = (self.constant(p.detach().numpy()) for p in (layer.weight, layer.bias))
        return self("LayerNormalization", x, scale, bias, axis=-1, epsilon=layer.eps,
                    outputs=outputs)

    def split(self, x, width, outputs):
        """[batch, length, outputs · width] to as many times [batch, heads, length, width / heads]."""
        count = len(outputs)
        shape = self.indices(0, 0, count * self.heads, width // self.heads)
        x = self("Reshape", x, shape)
        if count == 1:
            return self("Transpose", x, perm=[0, 2, 1, 3])
        return self("Split", self("Transpose", x, perm=[0, 2, 1, 3]), axis=1, outputs=outputs)

    def attend(self, x, q, k, v, mask, layer):
        scores = self("Add", self("MatMul", q, self("Transpose", k, perm=[0, 1, 3, 2])), mask)
        mixed = self("MatMul", self("Softmax", scores, axis=-1), v)
        mixed = self("Transpose", mixed, perm=[0, 2, 1, 3])
        out = matrix(layer.out)
        joined = self("Reshape", mixed, self.indices(0, 0, len(out)))
        return self("Add", x, self.linear(joined, out))

    def feed(self, x, layer):
        wide = self("Relu", self.linear(self.norm(x, layer.norm), matrix(layer.up)))
        return self("Add", x, self.linear(wide, matrix(layer.down)))

    def padding(self, mask):
        """[batch, length] of 1 and 0 to [batch, 1, 1, length]: 0 where it is 1, very little else."""
        absent = self("Sub", self.constant(np.float32(1)), self("Cast", mask, to=FLOAT))
        absent = self("Mul", absent, self.constant(np.float32(self.masked)))
        return self("Unsqueeze", absent, self.indices(1, 2))

    def save(self, path, inputs, outputs):
        values = [[helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in group]
                  for group in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, path.stem, *values, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))


def matrix(layer, scale=1.0):
    return layer.weight.detach().numpy() * np.float32(scale)


def cache(kind, side, layers, heads, size, batch, length):
    """Names, types and shapes of keys and values, as exporters call them."""
    return [(f"{kind}.{i}.{side}.{part}", FLOAT, [batch, heads, length, size])
            for i in range(layers) for part in ("key", "value")]


def export_encoder(model, heads, masked, path):
    width = model.characters.shape[1]
    softer = (width // heads) ** -0.5
    graph = Graph(heads, masked)
    characters = graph.weight(model.characters.detach().numpy(), 1)
    positions = graph.weight(model.positions.detach().numpy(), 1)
    length = graph("Shape", "input_ids", start=1, end=2)
    zero = graph.indices(0)
    x = graph("Gather", characters, "input_ids")
    x = graph("Add", x, graph("Slice", positions, zero, length, zero))
    mask = graph.padding("attention_mask")
    for i, (attend, feed) in enumerate(model.encoder):
        normed = graph.norm(x, attend.norm)
        parts = graph.linear(normed, matrix(attend.q, softer), matrix(attend.kv))
        q, k, v = graph.split(parts, width, [f"layer_{i}_{part}" for part in "qkv"])
        x = graph.feed(graph.attend(x, q, k, v, mask, attend), feed)
    memory = graph.norm(x, model.encoder_norm, ["last_hidden_state"])
    crosses = [matrix(cross.kv) for _, cross, _ in model.decoder]
    axes = "batch", "encoder_length"
    present = cache("present", "encoder", len(crosses), heads, width // heads, *axes)
    graph.split(graph.linear(memory, *crosses), width, [name for name, _, _ in present])
    ids = [(name, INT64, ["batch", "encoder_length"]) for name in ("input_ids", "attention_mask")]
    graph.save(path, ids, [(memory, FLOAT, ["batch", "encoder_length", width]), *present])


def export_decoder(model, heads, masked, path):
    """The batch of the encoder's side is that of the decoder's, or 1: all beams share it then."""
    vocab_size, width = model.characters.shape
    limit, layers, softer = len(model.positions), len(model.decoder), (width // heads) ** -0.5
    shape = lambda kind, side, *axes: cache(kind, side, layers, heads, width // heads, *axes)
    crossed = shape("past_key_values", "encoder", "encoder_batch", "encoder_length")
    past = shape("past_key_values", "decoder", "batch", "past_length")
    present = shape("present", "decoder", "batch", "past_length + length")

    graph = Graph(heads, masked)
    characters = graph.weight(model.characters.detach().numpy(), 1)
    positions = graph.weight(model.positions.detach().numpy(), 1)
    future = graph.weight(np.triu(np.full((limit, limit), masked, np.float32), 1), None)
    begin = graph("Shape", past[0][0], start=2, end=3)
    end = graph("Add", begin, graph("Shape", "input_ids", start=1, end=2))
    zero, one = graph.indices(0), graph.indices(1)
    x = graph("Gather", characters, "input_ids")
    x = graph("Add", x, graph("Slice", positions, begin, end, zero))
    causal = graph("Slice", graph("Slice", future, begin, end, zero), zero, end, one)
    padding = graph.padding("encoder_attention_mask")
    for i, (attend, cross, feed) in enumerate(model.decoder):
        normed = graph.norm(x, attend.norm)
        parts = graph.linear(normed, matrix(attend.q, softer), matrix(attend.kv))
        q, *new = graph.split(parts, width, [f"layer_{i}_{part}" for part in "qkv"])
        here = slice(2 * i, 2 * i + 2)
        k, v = (graph("Concat", old[0], fresh, axis=2, outputs=[name[0]])
                for old, fresh, name in zip(past[here], new, present[here]))
        x = graph.attend(x, q, k, v, causal, attend)
        q = graph.linear(graph.norm(x, cross.norm), matrix(cross.q, softer))
        q = graph.split(q, width, ["q"])
        k, v = (name for name, _, _ in crossed[here])
        x = graph.feed(graph.attend(x, q, k, v, padding, cross), feed)
    x = graph.norm(x, model.decoder_norm)
    graph("MatMul", x, graph("Transpose", characters, perm=[1, 0]), outputs=["logits"])
    masks = ("encoder_attention_mask", INT64, ["encoder_batch", "encoder_length"])
    ids = ("input_ids", INT64, ["batch", "length"])
    logits = ("logits", FLOAT, ["batch", "length", vocab_size])
    graph.save(path, [ids, masks, *past, *crossed], [logits, *present])
