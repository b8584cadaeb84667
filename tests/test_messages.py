"""What is said when something fails: one short line that prints, whatever names a file has."""

from __future__ import annotations

import numpy as np
import pytest
from records import Records
from test_format import tiny_graph

import mbinfer
from mbinfer import model
from mbinfer.graph import Output
from mbinfer.messages import LONGEST, LONGEST_WORD, brief

NAMES = {
    "long": "n" * 4095,
    "words": "name " * 819,
    "characters of three bytes": "名" * 1365,
    "controls": "\x1b[31m" * 800,
}


def raised(action) -> str:
    with pytest.raises(mbinfer.Error) as caught:
        action()
    text = str(caught.value)
    assert 0 < len(text) <= LONGEST and text.isprintable(), text
    return text


@pytest.mark.parametrize("kind", NAMES)
def test_long_names_leave_room_for_what_is_wrong(kind, tmp_path):
    name = NAMES[kind]
    graph = tiny_graph()
    graph.inputs = {name: None}
    graph.values = {name if value == "image" else value: shape for value, shape in graph.values.items()}
    graph.nodes[0].inputs = [name]
    graph.nodes[0].name = graph.outputs[0].name = name
    session = mbinfer.Session(model.encode(graph))
    assert "float32" in raised(lambda: session.run(np.zeros((6, 5, 3))))
    assert "NHWC" in raised(lambda: session.run(np.zeros((6, 5, 4), np.float32)))
    assert "rows end after 0" in raised(lambda: session.run_rows([]))
    records = Records(model.encode(graph))
    records.node["groups"][0] = 5
    assert "groups that do not divide" in raised(lambda: mbinfer.Session(records.encode()))
    graph.outputs.append(Output(name, "sum", (81,)))
    assert "used twice" in raised(lambda: model.save(graph, tmp_path / "m.bin"))
    graph.outputs.pop()
    graph.nodes[0].groups = 5
    assert "do not divide" in raised(lambda: model.encode(graph))


def test_both_ends_of_a_long_word_are_kept():
    path = "/" + "folder/" * 40 + "net.onnx"
    text = brief(f"no such file '{path}': give the path of a model")
    assert text.startswith("no such file '/folder") and "net.onnx': give the path of a model" in text
    assert max(map(len, text.split())) == LONGEST_WORD
    text = brief("x " * 100_000)
    assert len(text) == LONGEST and set(text.split()) == {"x", "..."}
