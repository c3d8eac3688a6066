"""Where frames begin in bytes that only pass, however they are cut."""

from hypothesis import given
from hypothesis import strategies as st

from lambda_dispatch.dispatch.tunnel import boundaries
from tests.support.websocket import BINARY, CLOSE, PING, TEXT, frame

sizes = st.one_of(st.integers(0, 200), st.sampled_from([125, 126, 127, 65535, 65536, 70000]))
frames = st.lists(
    st.builds(
        lambda size, kind, mask, last: (kind, frame(b"\x88" * size, kind, mask=mask, last=last)),
        sizes,
        st.sampled_from([0, TEXT, BINARY, CLOSE, PING]),
        st.sampled_from([b"", b"\x00\x88\xff\x7f"]),
        st.booleans(),
    ),
    max_size=6,
)


@given(frames, st.lists(st.integers(1, 9000), max_size=40))
def test_any_cut_gives_the_same_beginnings(parts: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(text for _, text in parts)
    pieces, at = [], 0
    for cut in [*cuts, len(data)]:
        pieces.append(data[at : at + cut])
        at += cut
    begins, closes, at = [], [], 0
    for kind, text in parts:
        begins.append(at)
        if kind == CLOSE:
            closes.append(at)
        at += len(text)
    assert boundaries(pieces) == begins
    assert boundaries(pieces, at_close=True) == closes


def test_a_length_that_no_frame_may_have_is_only_a_length() -> None:
    assert boundaries([b"\x82\x7f" + b"\xff" * 8, bytes(100_000)]) == [0]
