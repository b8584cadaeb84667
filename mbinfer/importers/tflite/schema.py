"""What of TensorFlow Lite's schema is read: names by number, and the options of operators by field.

The numbers are those of schema.fbs of LiteRT (https://github.com/google-ai-edge/LiteRT); `tests/test_tflite.py` holds
them against the schema that ai-edge-litert ships.
"""

from __future__ import annotations

OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND
TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL
LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW
ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS
SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG
ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST
BITWISE_XOR RIGHT_SHIFT
""".split()  # what comes after them is StableHLO, which is named by its number
CUSTOM = OPERATORS.index("CUSTOM")

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
PADDINGS = ("SAME", "VALID")

# Types of tensors, as numpy's little-endian names where there is such a type.
TENSOR_TYPES = """
<f4 <f2 <i4 u1 <i8 string ? <i2 <c8 i1 <f8 <c16 <u8 resource variant <u4 <u2 int4 bfloat16 int2 uint4 float8_e4m3fn
float8_e5m2
""".split()

# Options by operator: name, number of the field, kind (code of `struct`, "f" for a real number, "[" for a list of
# int32, "s" for text), and the default.
_WINDOW: list[tuple[str, int, str, float]] = [("padding", 0, "b", 0), ("stride_w", 1, "i", 0), ("stride_h", 2, "i", 0)]
_ACTIVATION: list[tuple[str, int, str, float]] = [("activation", 0, "b", 0)]
OPTIONS: dict[str, list[tuple[str, int, str, float]]] = {
    "CONV_2D": [*_WINDOW, ("activation", 3, "b", 0), ("dilation_w", 4, "i", 1), ("dilation_h", 5, "i", 1)],
    "DEPTHWISE_CONV_2D": [
        *_WINDOW,
        ("multiplier", 3, "i", 0),
        ("activation", 4, "b", 0),
        ("dilation_w", 5, "i", 1),
        ("dilation_h", 6, "i", 1),
    ],
    **dict.fromkeys(
        ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"),
        [*_WINDOW, ("filter_w", 3, "i", 0), ("filter_h", 4, "i", 0), ("activation", 5, "b", 0)],
    ),
    "TRANSPOSE_CONV": [*_WINDOW, ("activation", 3, "b", 0)],
    "FULLY_CONNECTED": [*_ACTIVATION, ("weights_format", 1, "b", 0), ("keep_num_dims", 2, "b", 0)],
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "L2_NORMALIZATION"), _ACTIVATION),
    "CONCATENATION": [("axis", 0, "i", 0), ("activation", 1, "b", 0)],
    "SOFTMAX": [("beta", 0, "f", 0.0)],
    "LOCAL_RESPONSE_NORMALIZATION": [
        ("radius", 0, "i", 0),
        ("bias", 1, "f", 0.0),
        ("alpha", 2, "f", 0.0),
        ("beta", 3, "f", 0.0),
    ],
    "RESHAPE": [("shape", 0, "[", 0)],
    "BATCH_MATMUL": [("adj_x", 0, "b", 0), ("adj_y", 1, "b", 0)],
    "SQUEEZE": [("axes", 0, "[", 0)],
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), [("keep_dims", 0, "b", 0)]),
    "RESIZE_BILINEAR": [("align_corners", 2, "b", 0), ("half_pixel_centers", 3, "b", 0)],
    "RESIZE_NEAREST_NEIGHBOR": [("align_corners", 0, "b", 0), ("half_pixel_centers", 1, "b", 0)],
    "LEAKY_RELU": [("alpha", 0, "f", 0.0)],
    "GELU": [("approximate", 0, "b", 0)],
    "MIRROR_PAD": [("mode", 0, "b", 0)],
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), [("block_size", 0, "i", 0)]),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), [("count", 0, "i", 0)]),
    "PACK": [("count", 0, "i", 0), ("axis", 1, "i", 0)],
    "UNPACK": [("count", 0, "i", 0), ("axis", 1, "i", 0)],
    "GATHER": [("axis", 0, "i", 0), ("batch_dims", 1, "i", 0)],
    "STRIDED_SLICE": [
        ("begin_mask", 0, "i", 0),
        ("end_mask", 1, "i", 0),
        ("ellipsis_mask", 2, "i", 0),
        ("new_axis_mask", 3, "i", 0),
        ("shrink_axis_mask", 4, "i", 0),
        ("offset", 5, "b", 0),
    ],
    "VAR_HANDLE": [("container", 0, "s", 0), ("shared_name", 1, "s", 0)],
    "CALL_ONCE": [("init_subgraph_index", 0, "i", 0)],
}

# Options of custom operators, int32 after int32.
CUSTOM_OPTIONS = {"custom operator Convolution2DTransposeBias": ("padding", "stride_w", "stride_h")}
# Custom operators whose options are a map, and whose outputs the file may give no shapes.
FLEX_OPTIONS = frozenset(("custom operator TFLite_Detection_PostProcess",))
