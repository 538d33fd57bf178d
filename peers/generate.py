"""Writes what each peer needs to run the same workloads, and the answers that it must give.

usage: generate.py FOLDER

FOLDER/emlearn: emlearn's headers. FOLDER/A, FOLDER/B: a random int8 network as model.tflite, network.h (plain arrays),
emlearn.h and, for each target of BakeNN's, bakenn-TARGET/. FOLDER/bank: 512 random prototypes as network.h and
emlearn.h. Each has expected.json.
"""

import json
import pathlib
import shutil
import sys
from dataclasses import dataclass

import bakenn
import emlearn.neighbors
import emlearn.net
import flatbuffers
import numpy as np
import tflite

SEED = 1
WIDTHS = {"A": [32, 64, 64, 16, 4], "B": [64, 128, 128, 32, 8]}
VECTORS = 32
PROTOTYPES, D_EMBED, QUERIES, NEAREST = 512, 16, 8, 5


@dataclass
class Tensor:
    """An activation: real = scale * (q - zero_point)."""

    scale: float
    zero_point: int


@dataclass
class Layer:
    """q_out = clamp(zero_point + round(accumulator * factor)), ReLU as the lower bound of the clamp."""

    weights: np.ndarray  # int8, [d_output, d_input], zero point 0
    biases: np.ndarray  # int32, in units of the accumulator
    weight_scale: float
    source: Tensor
    output: Tensor
    relu: bool

    @property
    def factor(self) -> float:
        return self.source.scale * self.weight_scale / self.output.scale

    def accumulate(self, q: np.ndarray) -> np.ndarray:
        return (q.astype(np.int64) - self.source.zero_point) @ self.weights.T.astype(np.int64) + self.biases

    def run(self, q: np.ndarray) -> np.ndarray:
        """The definition: exact accumulator, one rounding, ties away from zero."""
        scaled = self.accumulate(q) * self.factor
        rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
        low = self.output.zero_point if self.relu else -128
        return np.clip(rounded + self.output.zero_point, low, 127).astype(np.int8)

    def run_real(self, x: np.ndarray) -> np.ndarray:
        """The same layer without rounding between layers, for peers that compute in floats."""
        y = x @ self.real_weights().T + self.real_biases()
        return np.maximum(y, 0) if self.relu else y

    def real_weights(self) -> np.ndarray:
        return self.weights * self.weight_scale

    def real_biases(self) -> np.ndarray:
        return self.biases * (self.source.scale * self.weight_scale)


def network(widths: list[int], random: np.random.Generator) -> list[Layer]:
    """Random weights; each output's scale is chosen so that activations use the whole of int8."""
    calibration = random.integers(-128, 128, (512, widths[0]))
    source, layers = Tensor(np.float32(1 / 64).item(), -3), []
    for index, (d_input, d_output) in enumerate(zip(widths, widths[1:])):
        relu = index + 2 < len(widths)
        weights = random.integers(-127, 128, (d_output, d_input)).astype(np.int8)
        biases = random.integers(-2_000, 2_001, d_output).astype(np.int32)
        scale = np.float32(1 / 256).item()
        layer = Layer(weights, biases, scale, source, Tensor(1.0, -128 if relu else 5), relu)
        spread = np.quantile(np.abs(layer.accumulate(calibration)), 0.999)
        steps = 255 if relu else 120
        layer.output.scale = np.float32(source.scale * scale * spread / steps).item()
        calibration, source = layer.run(calibration), layer.output
        layers.append(layer)
    return layers


def multiplier(factor: float) -> tuple[int, int]:
    """factor = m * 2^-s with m a rounded 31-bit integer."""
    mantissa, exponent = np.frexp(factor)
    return int(np.round(mantissa * (1 << 31))), 31 - int(exponent)


def array(kind: str, name: str, values: np.ndarray) -> str:
    dimensions = "".join(f"[{n}]" for n in values.shape)
    return f"static const {kind} {name}{dimensions} = {{{','.join(map(str, values.flatten().tolist()))}}};\n"


def header(layers: list[Layer], inputs: np.ndarray) -> str:
    first, last = layers[0].source, layers[-1].output
    text = "#include <stdint.h>\n"
    text += f"#define D_INPUT {layers[0].weights.shape[1]}\n#define D_OUTPUT {layers[-1].weights.shape[0]}\n"
    text += f"#define NUM_VECTORS {len(inputs)}\n#define WIDEST {max(max(l.weights.shape) for l in layers)}\n"
    text += f"#define INPUT_SCALE {first.scale!r}f\n#define INPUT_ZERO_POINT ({first.zero_point})\n"
    text += f"#define OUTPUT_SCALE {last.scale!r}f\n#define OUTPUT_ZERO_POINT ({last.zero_point})\n"
    text += array("int8_t", "vectors", inputs)
    text += "#ifdef WITH_WEIGHTS\n"
    for i, layer in enumerate(layers):
        text += array("int8_t", f"weights_{i}", layer.weights.flatten()) + array("int32_t", f"biases_{i}", layer.biases)
    text += "struct layer {\n    const int8_t *weights;\n    const int32_t *biases;\n    int d_input, d_output;\n"
    text += "    int32_t input_zero_point, multiplier, shift, output_zero_point, low;\n};\n"
    text += f"#define NUM_LAYERS {len(layers)}\nstatic const struct layer layers[NUM_LAYERS] = {{\n"
    for i, layer in enumerate(layers):
        (m, s), z = multiplier(layer.factor), layer.output.zero_point
        d_output, d_input = layer.weights.shape
        fields = [f"weights_{i}", f"biases_{i}", d_input, d_output, layer.source.zero_point, m, s, z]
        text += f"    {{{', '.join(map(str, fields + [z if layer.relu else -128]))}}},\n"
    return text + "};\n#endif\n"


def tflite_bytes(layers: list[Layer]) -> bytes:
    """A flatbuffer with one FULLY_CONNECTED a layer, as TensorFlow's converter would quantize it."""
    builder = flatbuffers.Builder(0)
    datas, tensors, operators = [b""], [], []

    def vector(start, values, prepend):
        start(builder, len(values))
        for value in reversed(values):
            prepend(value)
        return builder.EndVector()

    def tensor(name, shape, kind, scale, zero_point, data=b""):
        buffer = 0
        if data:
            buffer = len(datas)
            datas.append(data)
        name = builder.CreateString(name)
        shape = vector(tflite.TensorStartShapeVector, shape, builder.PrependInt32)
        scales = vector(tflite.QuantizationParametersStartScaleVector, [scale], builder.PrependFloat32)
        zeros = vector(tflite.QuantizationParametersStartZeroPointVector, [zero_point], builder.PrependInt64)
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scales)
        tflite.QuantizationParametersAddZeroPoint(builder, zeros)
        quantization = tflite.QuantizationParametersEnd(builder)
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, kind)
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, name)
        tflite.TensorAddQuantization(builder, quantization)
        tensors.append(tflite.TensorEnd(builder))
        return len(tensors) - 1

    kinds, activations = tflite.TensorType, tflite.ActivationFunctionType
    first = layers[0].source
    current = tensor("input", [1, layers[0].weights.shape[1]], kinds.INT8, first.scale, first.zero_point)
    for i, layer in enumerate(layers):
        weights, biases, output = layer.weights, layer.biases, layer.output
        bias_scale = layer.source.scale * layer.weight_scale
        inputs = [
            current,
            tensor(f"weights_{i}", weights.shape, kinds.INT8, layer.weight_scale, 0, weights.tobytes()),
            tensor(f"biases_{i}", biases.shape, kinds.INT32, bias_scale, 0, biases.astype("<i4").tobytes()),
        ]
        current = tensor(f"output_{i}", [1, len(biases)], kinds.INT8, output.scale, output.zero_point)
        inputs = vector(tflite.OperatorStartInputsVector, inputs, builder.PrependInt32)
        outputs = vector(tflite.OperatorStartOutputsVector, [current], builder.PrependInt32)
        tflite.FullyConnectedOptionsStart(builder)
        activation = activations.RELU if layer.relu else activations.NONE
        tflite.FullyConnectedOptionsAddFusedActivationFunction(builder, activation)
        options = tflite.FullyConnectedOptionsEnd(builder)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, 0)
        tflite.OperatorAddInputs(builder, inputs)
        tflite.OperatorAddOutputs(builder, outputs)
        tflite.OperatorAddBuiltinOptionsType(builder, tflite.BuiltinOptions.FullyConnectedOptions)
        tflite.OperatorAddBuiltinOptions(builder, options)
        operators.append(tflite.OperatorEnd(builder))

    tensors = vector(tflite.SubGraphStartTensorsVector, tensors, builder.PrependUOffsetTRelative)
    inputs = vector(tflite.SubGraphStartInputsVector, [0], builder.PrependInt32)
    outputs = vector(tflite.SubGraphStartOutputsVector, [current], builder.PrependInt32)
    operators = vector(tflite.SubGraphStartOperatorsVector, operators, builder.PrependUOffsetTRelative)
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, tensors)
    tflite.SubGraphAddInputs(builder, inputs)
    tflite.SubGraphAddOutputs(builder, outputs)
    tflite.SubGraphAddOperators(builder, operators)
    graph = tflite.SubGraphEnd(builder)

    buffers = []
    for data in datas:
        data = builder.CreateByteVector(data) if data else None
        tflite.BufferStart(builder)
        if data:
            tflite.BufferAddData(builder, data)
        buffers.append(tflite.BufferEnd(builder))
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, tflite.BuiltinOperator.FULLY_CONNECTED)
    tflite.OperatorCodeAddBuiltinCode(builder, tflite.BuiltinOperator.FULLY_CONNECTED)
    tflite.OperatorCodeAddVersion(builder, 4)
    code = tflite.OperatorCodeEnd(builder)
    codes = vector(tflite.ModelStartOperatorCodesVector, [code], builder.PrependUOffsetTRelative)
    graphs = vector(tflite.ModelStartSubgraphsVector, [graph], builder.PrependUOffsetTRelative)
    buffers = vector(tflite.ModelStartBuffersVector, buffers, builder.PrependUOffsetTRelative)
    tflite.ModelStart(builder)
    tflite.ModelAddVersion(builder, 3)
    tflite.ModelAddOperatorCodes(builder, codes)
    tflite.ModelAddSubgraphs(builder, graphs)
    tflite.ModelAddBuffers(builder, buffers)
    builder.Finish(tflite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def bake(model: bytes, folder: pathlib.Path) -> None:
    """BakeNN's C for each of its targets; on CMSIS-NN where it may."""
    for target in [bakenn.CORTEX_M4, bakenn.CORTEX_M0PLUS]:
        options = bakenn.CBackendOptions(
            kernel_policy=bakenn.KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True, target=target
        )
        bakenn.compile_tflite(model, folder / f"bakenn-{target.target_id}", name="peer", backend_options=options)


def write_network(name: str, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([SEED, *map(ord, name)])
    layers = network(WIDTHS[name], random)
    inputs = random.integers(-128, 128, (VECTORS, WIDTHS[name][0])).astype(np.int8)
    model = tflite_bytes(layers)
    (folder / "model.tflite").write_bytes(model)
    (folder / "network.h").write_text(header(layers, inputs))
    bake(model, folder)
    activations = ["relu"] * (len(layers) - 1) + ["identity"]
    weights, biases = [l.real_weights().T for l in layers], [l.real_biases() for l in layers]
    # The float network: in this version the fixed-point one computes nothing, and the generator of "inline" code fails.
    code = emlearn.net.c_generate_net_loadable(activations, weights, biases, prefix="peer")
    (folder / "emlearn.h").write_text(code)

    q, x = inputs, layers[0].source.scale * (inputs.astype(float) - layers[0].source.zero_point)
    for layer in layers:
        q, x = layer.run(q), layer.run_real(x)
    last = layers[-1].output
    real = np.round(x / last.scale) + last.zero_point
    expected = {"integer": q.tolist(), "real": real.astype(int).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected))


def write_bank(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([SEED, *b"bank"])
    prototypes = random.integers(-128, 128, (PROTOTYPES, D_EMBED)).astype(np.int8)
    queries = random.integers(-128, 128, (QUERIES, D_EMBED)).astype(np.int8)
    text = f"#include <stdint.h>\n#define D_INPUT {D_EMBED}\n#define D_OUTPUT {NEAREST}\n"
    text += f"#define NUM_VECTORS {QUERIES}\n#define PROTOTYPES {PROTOTYPES}\n" + array("int8_t", "vectors", queries)
    text += "#ifdef WITH_WEIGHTS\n" + array("int8_t", "prototypes", prototypes) + "#endif\n"
    (folder / "network.h").write_text(text)
    labels = np.zeros(PROTOTYPES, dtype=int)
    code = emlearn.neighbors.c_generate_neighbors(prototypes, labels, NEAREST, "peer")
    (folder / "emlearn.h").write_text(code)
    differences = queries[:, None].astype(int) - prototypes
    # A stable order: of two equally near, the first.
    nearest = np.argsort((differences**2).sum(-1), axis=1, kind="stable")[:, :NEAREST]
    (folder / "expected.json").write_text(json.dumps({"integer": nearest.tolist()}))


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    package = pathlib.Path(emlearn.net.__file__).parent
    shutil.copytree(package, folder / "emlearn", ignore=lambda _, names: [n for n in names if not n.endswith(".h")],
                    dirs_exist_ok=True)
    for name in WIDTHS:
        write_network(name, folder / name)
    write_bank(folder / "bank")


main()
