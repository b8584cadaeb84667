"""What a graph has at most; the numbers are those of docs/format.md and of the reader (csrc/model/rules.h)."""

MAX_SIDE = 1 << 16  # of a value, and of its channels
MAX_ELEMENTS = 1 << 28  # of a value
MAX_STORED = (1 << 31) - 1  # elements of a value, channels padded to multiples of PANEL
MAX_READS = 1 << 28  # taps x channels that make one output
MAX_FRACTION = 1 << 26  # numbers that say positions
MAX_WINDOW_CHANNELS = 64  # of a norm that is not of all channels
MAX_MACS = 1 << 53  # multiply-adds of the network
MAX_COUNTS = {"values": 1 << 16, "nodes": 1 << 16, "inputs": 256, "outputs": 4096, "metadata": 256, "states": 1 << 10}
MAX_NODE_INPUTS = 1 << 18  # of all nodes together
MAX_NAME, MAX_TEXT = 4095, 65535  # bytes of a name, and of any other string
MAX_STRINGS = 1 << 26  # bytes of all strings
MAX_U16 = (1 << 16) - 1
