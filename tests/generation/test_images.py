"""Which values are images, and that the model sees what the user sees."""

import base64
import hashlib
import io
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

from ollama_magic.client.images import Image, format_of, png_of, size_of
from ollama_magic.errors import PromptError
from ollama_magic.generation.images import image_of, read_image

PNG = png_of(3, 2, 3, bytes(range(18)))
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
SVG = b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width="1" height="1"/>'
BMP = b"BM" + struct.pack("<IIIIii", 70, 0, 54, 40, 1, 1)
TIFF = b"II*\0\x08\0\0\0"
HEIC = b"\0\0\0\x18ftypheic"
AVIF = b"\0\0\0\x18ftypavif"


@pytest.fixture
def pillow():
    return pytest.importorskip("PIL.Image")


@pytest.fixture
def numpy():
    return pytest.importorskip("numpy")


@pytest.fixture
def figures():
    return pytest.importorskip("matplotlib.figure")


def opened(image):
    """Decode an image with an independent decoder."""
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(image.data))
    image.load()
    return image


# -- bytes ---------------------------------------------------------------------


def test_an_image_describes_itself():
    image = Image(PNG)
    assert image.digest == hashlib.sha256(PNG).hexdigest()
    assert image.media_type == "image/png"
    assert base64.b64decode(image.base64, validate=True) == PNG
    assert image.describe() == f"PNG, 3 x 2, {len(PNG)} B"


@pytest.mark.parametrize(
    ("kind", "media_type", "options"),
    [
        ("PNG", "image/png", {}),
        ("JPEG", "image/jpeg", {}),
        ("JPEG", "image/jpeg", {"progressive": True}),
        ("WebP", "image/webp", {}),
        ("WebP", "image/webp", {"lossless": True}),
        ("WebP", "image/webp", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
    ],
    ids=["png", "jpeg", "progressive jpeg", "lossy webp", "lossless webp", "long webp"],
)
def test_the_size_is_read_from_each_header(pillow, kind, media_type, options):
    buffer = io.BytesIO()
    pillow.new("RGB", (300, 1025)).save(buffer, kind, **options)
    image = image_of(buffer.getvalue())
    assert image.data == buffer.getvalue()
    assert image.media_type == media_type
    assert image.describe().startswith(f"{kind}, 300 x 1025, ")
    for count in range(len(image.data)):  # a truncated file is not an error
        size_of(image.data[:count])


def test_fill_bytes_of_a_jpeg_are_skipped():
    frame = b"\xff\xc0" + struct.pack(">HBHH", 8, 8, 40, 30)
    assert size_of(b"\xff\xd8\xff\xff\xff" + frame[1:]) == (30, 40)


def test_an_incomplete_header_is_described_without_a_size():
    assert Image(PNG[:10]).describe() == "PNG, 10 B"
    assert Image(b"\xff\xd8\xff\xe0\0\0no").describe() == "JPEG, 8 B"
    assert Image(b"RIFF\0\0\0\0WEBPodd " + b"\0" * 20).describe() == "WebP, 36 B"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_that_begin_like_an_image_are_an_image(kind):
    assert image_of(kind(PNG)) == Image(PNG)
    assert image_of(kind(b"no image")) is None
    assert image_of(kind(b"")) is None


NO_IMAGES = {
    "text": "fig.png",
    "number": 3,
    "none": None,
    "list": [1, 2],
    "empty": [],
    "a class": Image,
    "xml": b"<?xml version='1.0'?><a/>",
    "text that begins like a bitmap": b"BMW and other cars are fast",
    "a film": b"\0\0\0\x18ftypisom",
}


@pytest.mark.parametrize("value", NO_IMAGES.values(), ids=NO_IMAGES)
def test_a_value_that_is_not_an_image_returns_none(value):
    assert image_of(value) is None
    assert image_of(value, arrays=True) is None


def test_an_image_is_returned_unchanged():
    image = Image(PNG)
    assert image_of(image) is image


OTHERS = {
    "GIF": (GIF, "open it in a cell"),
    "BMP": (BMP, "open it in a cell"),
    "TIFF": (TIFF, "open it in a cell"),
    "AVIF": (AVIF, "open it in a cell"),
    "SVG": (SVG, "save it as a PNG"),
    "HEIC": (HEIC, "install a reader"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_an_unsupported_format_says_what_to_do(tmp_path, kind):
    data, step = OTHERS[kind]
    path = tmp_path / "image"
    path.write_bytes(data)
    assert format_of(data) == kind
    for wanted in (lambda: read_image(str(path)), lambda: image_of(path)):
        with pytest.raises(PromptError) as caught:
            wanted()
        error = caught.value
        assert error.what == f"The file {path} is in {kind} format."
        assert error.why == "Ollama accepts PNG, JPEG and WebP"
        assert error.next_step.startswith(step)
    with pytest.raises(PromptError, match=f"is in {kind} format"):
        image_of(data)


def test_the_next_step_for_a_gif_can_be_typed(pillow, tmp_path):
    path = tmp_path / "it's.gif"
    pillow.new("P", (5, 4)).save(path)
    for value, space in ((path, {}), (path.read_bytes(), {"DATA": path.read_bytes()})):
        with pytest.raises(PromptError) as caught:
            image_of(value)
        code = caught.value.next_step.removeprefix("open it in a cell: ")
        exec(code.removesuffix(", then -a image"), space)
        assert opened(image_of(space["image"])).size == (5, 4)


# -- files ---------------------------------------------------------------------


def test_a_file_is_read_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "my image.bin"  # the name has no extension
    path.write_bytes(PNG)
    assert read_image(str(path)) == Image(PNG)
    assert image_of(path) == Image(PNG)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert read_image("~/my image.bin") == Image(PNG)


def test_a_path_of_another_file_is_not_an_image(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert image_of(text) is None
    assert image_of(tmp_path) is None
    assert image_of(tmp_path / "nosuch.png") is None
    assert image_of(tmp_path / ("x" * 5_000)) is None


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    for path, why in (
        (tmp_path / "nosuch.png", "No such file or directory"),
        (tmp_path, "Is a directory"),
        ("a\0b", "null"),
        ("~nosuchuser/fig.png", "home"),
    ):
        with pytest.raises(PromptError) as caught:
            read_image(str(path))
        assert caught.value.what == f"The file {path} cannot be read."
        assert why in caught.value.why
        assert str(Path.cwd()) in caught.value.next_step


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_path_of_a_file_that_cannot_be_read_is_never_taken_for_text():
    with pytest.raises(PromptError, match="cannot be read"):
        image_of(Path("/proc/self/mem"))  # a file, and its first byte is an error


def test_a_file_that_is_not_an_image_is_an_error(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("hello")
    with pytest.raises(PromptError, match="is not an image") as caught:
        read_image(str(path))
    assert "-F" in caught.value.next_step


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_a_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(PromptError, match="is not an image"):
        read_image(str(path))
    assert image_of(path) is None


def test_a_huge_image_is_an_error(tmp_path):
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.write(PNG)
        file.truncate(20_000_001)
    for wanted in (lambda: read_image(str(path)), lambda: image_of(path)):
        with pytest.raises(PromptError, match="too large") as caught:
            wanted()
        assert caught.value.why == "the limit is 20 MB"
    with pytest.raises(PromptError, match="too large"):
        image_of(path.read_bytes())


def test_an_open_file_is_read_from_its_beginning_and_stays_where_it_is(tmp_path):
    path = tmp_path / "plot.png"
    path.write_bytes(PNG)
    buffer = io.BytesIO()
    buffer.write(PNG)  # as savefig leaves it: at the end
    with path.open("rb") as file, tempfile.NamedTemporaryFile() as temporary:
        temporary.write(PNG)
        for value in (buffer, file, temporary):
            place = value.tell()
            assert image_of(value) == Image(PNG)
            assert value.tell() == place
    with path.open("rb", buffering=0) as file:
        file.seek(3)
        assert image_of(file) == Image(PNG)
        assert file.tell() == 3


def test_a_file_that_cannot_be_read_again_is_not_an_image(tmp_path):
    path = tmp_path / "plot.png"
    path.write_bytes(PNG)
    reader, writer = os.pipe()
    os.write(writer, PNG)
    with (
        path.open("rb") as closed,
        path.open("ab") as written,
        path.open(errors="replace") as text,
        open(reader, "rb") as stream,
        open(writer, "wb"),
    ):
        closed.close()
        for value in (closed, written, text, stream, io.StringIO("text")):
            assert image_of(value) is None
        assert stream.read(len(PNG)) == PNG  # nothing was taken from it


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"msf1", b"hevx"])
def test_a_heic_photo_is_sent_as_jpeg_if_pillow_can_read_it(pillow, monkeypatch, brand):
    photo = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic"
    with pytest.raises(PromptError, match="is in HEIC format") as caught:
        image_of(photo)
    assert "!pip install pillow-heif" in caught.value.next_step
    # What pillow-heif registers, in short.
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(
        pillow.OPEN, "PNG", (lambda *_: pillow.new("RGBA", (5, 4)), lambda _: True)
    )
    sent = image_of(photo)
    assert sent.media_type == "image/jpeg"
    assert opened(sent).size == (5, 4)


def test_an_avif_with_a_general_brand_is_not_taken_for_a_heic():
    assert format_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif") == "AVIF"


# -- PIL -----------------------------------------------------------------------

SAME = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]
CHANGED = {
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
    "I": "I;16",
    "F": "L",
}


def example(pillow, mode):
    gradient = pillow.linear_gradient("L").resize((16, 16))
    if mode == "LAB":
        return pillow.merge("LAB", [gradient] * 3)
    through = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    return (gradient.convert("RGB").convert(through) if through else gradient).convert(
        mode if mode != "HSV" else "RGB"
    )


@pytest.mark.parametrize("mode", SAME)
def test_an_image_is_sent_pixel_by_pixel(pillow, mode):
    image = example(pillow, mode)
    sent = opened(image_of(image))
    assert sent.size == image.size
    assert sent.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


@pytest.mark.parametrize("mode", CHANGED)
def test_an_image_in_a_mode_that_png_lacks_is_converted_to_the_nearest(pillow, mode):
    image = example(pillow, mode)
    before = (image.mode, image.size, image.tobytes(), dict(image.info))
    sent = opened(image_of(image))
    assert sent.mode == CHANGED[mode]
    wanted = image.convert(CHANGED[mode])
    assert sent.convert(CHANGED[mode]).tobytes() == wanted.tobytes()
    assert (image.mode, image.size, image.tobytes(), dict(image.info)) == before


def test_an_image_of_floats_from_0_to_1_is_not_black(pillow):
    image = pillow.new("F", (2, 1), 1.0)
    image.putpixel((0, 0), 0.5)
    assert list(opened(image_of(image)).tobytes()) == [127, 255]
    image = pillow.new("F", (1, 1), 200.0)
    assert list(opened(image_of(image)).tobytes()) == [200]


def test_an_image_from_a_file_is_sent_and_stays_open(pillow, tmp_path):
    path = tmp_path / "film.gif"
    frames = [pillow.new("L", (4, 4), shade) for shade in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pillow.open(path) as image:
        image.seek(1)
        sent = opened(image_of(image))
        assert sent.convert("L").getpixel((0, 0)) == 100  # the frame it shows
        assert image.tell() == 1
        image.seek(2)


# -- matplotlib ----------------------------------------------------------------


def test_a_figure_is_sent_and_stays_as_it_is(figures):
    figure = figures.Figure(figsize=(4, 3), dpi=50)
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    canvas, size = figure.canvas, tuple(figure.get_size_inches())
    sent = image_of(figure)
    image = opened(sent)
    assert image.format == "PNG"
    assert 100 < image.width <= 220  # about 4 inches of 50 dots: the edge is cut off
    assert len(set(image.convert("L").tobytes())) > 2  # it is not blank
    assert figure.dpi == 50
    assert tuple(figure.get_size_inches()) == size
    assert figure.canvas is canvas
    assert figure.axes == [axes]
    assert image_of(figure).digest == sent.digest


def test_axes_are_sent_as_their_figure(figures, numpy):
    figure = figures.Figure()
    grid = figure.subplots(2, 2)
    digest = image_of(figure).digest
    for value in (grid, grid[0], list(grid[0]), tuple(grid[1]), grid[1, 1]):
        assert image_of(value).digest == digest
    assert image_of([grid[0, 0], "text"]) is None
    assert image_of(numpy.array(["text", None], dtype=object)) is None


def test_axes_of_a_subfigure_are_sent_as_the_whole_figure(figures):
    figure = figures.Figure()
    left, _ = figure.subfigures(1, 2)
    axes = left.subplots()
    assert image_of(axes).digest == image_of(figure).digest
    assert image_of(left).digest == image_of(figure).digest


def test_axes_of_several_figures_or_of_none_are_errors(figures):
    axes, other = figures.Figure().subplots(), figures.Figure().subplots()
    with pytest.raises(PromptError, match="belong to 2 figures"):
        image_of([axes, other])
    axes.remove()
    with pytest.raises(PromptError, match="no longer part of a figure"):
        image_of(axes)


@pytest.fixture
def pyplot():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    yield pyplot
    pyplot.close("all")


DRAWN = {
    "bars": lambda plt: plt.bar([1, 2], [3, 4]),
    "lines": lambda plt: plt.plot([1, 2]),
    "a line": lambda plt: plt.plot([1, 2])[0],
    "error bars": lambda plt: plt.errorbar([1, 2], [3, 4], [1, 1]),
    "boxes": lambda plt: plt.boxplot([1, 2, 3]),
    "a pie": lambda plt: plt.pie([1, 2]),
    "a title": lambda plt: plt.title("Sales"),
    "points": lambda plt: plt.scatter([1, 2], [3, 4]),
    "a figure in a list": lambda plt: [plt.gcf()],
    "figure and axes": lambda plt: (plt.gcf(), plt.gca()),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_what_matplotlib_draws_is_sent_as_its_figure(pyplot, draw):
    drawn = draw(pyplot)
    assert image_of(drawn).digest == image_of(pyplot.gcf()).digest


class Holder:
    """Stands in for a plot of a library, by the module of its class."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("seaborn.axisgrid", "figure"),
        ("sklearn.metrics._plot.roc_curve", "figure_"),
        ("xarray.plot.facetgrid", "fig"),
    ],
)
def test_a_plot_of_a_library_is_sent_as_its_figure(figures, module, attribute):
    plot = type("Plot", (Holder,), {"__module__": module})
    figure = figures.Figure()
    assert image_of(plot(**{attribute: figure})) == image_of(figure)
    assert image_of(plot(**{attribute: "no figure"})) is None
    assert image_of(plot()) is None
    assert image_of(Holder(**{attribute: figure})) is None  # of the user's own class


def test_the_grids_of_seaborn_are_sent(pyplot):
    seaborn = pytest.importorskip("seaborn")
    frame = pytest.importorskip("pandas").DataFrame({"a": [1, 2], "b": [2, 3]})
    for grid in (seaborn.relplot(frame, x="a", y="b"), seaborn.pairplot(frame)):
        assert image_of(grid) == image_of(grid.figure)


@pytest.mark.parametrize(
    ("name", "module", "exports", "package"),
    [
        ("BaseFigure", "plotly.basedatatypes", "to_image", "kaleido"),
        ("TopLevelMixin", "altair.vegalite.v5.api", "save", "vl-convert-python"),
    ],
)
def test_plotly_and_altair_export_their_own_images(name, module, exports, package):
    missing = []

    def export(_, buffer=None, format="svg"):
        if missing:
            raise ValueError("requires another package")
        assert format == "png"
        return buffer.write(PNG) if buffer else PNG

    chart = type(name, (), {"__module__": module, exports: export})()
    assert image_of(chart) == Image(PNG)
    missing.append(package)
    with pytest.raises(PromptError) as caught:
        image_of(chart)
    assert "requires another package" in caught.value.why
    assert caught.value.next_step.endswith(f"!pip install -U {package}")


def test_a_figure_of_pyplot_stays_open(figures):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    figure, _ = pyplot.subplots()
    try:
        assert image_of(figure).media_type == "image/png"
        assert pyplot.fignum_exists(figure.number)
    finally:
        pyplot.close(figure)


def test_a_figure_that_cannot_be_drawn_says_why(figures):
    figure = figures.Figure()
    figure.subplots().set_title(r"$\nosuchmacro$")
    with pytest.raises(PromptError) as caught:
        image_of(figure)
    assert caught.value.what == "The Figure did not produce an image."
    assert "nosuchmacro" in caught.value.why
    assert caught.value.__cause__ is not None


# -- numpy ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "mode"),
    [
        ((5, 7), "L"),
        ((5, 7, 1), "L"),
        ((5, 7, 3), "RGB"),
        ((5, 7, 4), "RGBA"),
        ((1, 1), "L"),
        ((300, 2, 3), "RGB"),
    ],
)
def test_an_array_is_sent_pixel_by_pixel(numpy, shape, mode):
    array = numpy.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
    sent = opened(image_of(array, arrays=True))
    assert sent.mode == mode
    assert numpy.array_equal(
        numpy.asarray(sent),
        array.reshape(sent.height, -1).reshape(
            shape if shape[2:] != (1,) else shape[:2]
        ),
    )
    assert image_of(array) is None


@pytest.mark.parametrize(
    ("shape", "kind", "example"),
    [
        ((3, 8, 8), "uint8", "x.transpose(1, 2, 0)"),
        ((4, 8, 8), "float64", "x.transpose(1, 2, 0)"),
        ((8, 8, 7), "float64", "x[:, :, 0]"),
        ((2, 8, 8, 3), "uint8", "x[0]"),
        ((8, 8), "int64", "x.astype('uint8')"),
    ],
)
def test_the_example_converts_the_array_into_an_image(numpy, shape, kind, example):
    array = numpy.ones(shape, dtype=kind)
    with pytest.raises(PromptError) as caught:
        image_of(array, arrays=True)
    assert caught.value.next_step.endswith(f"image = {example}")
    assert image_of(eval(example, {"x": array}), arrays=True)


def test_the_memory_order_of_an_array_does_not_matter(numpy):
    array = numpy.arange(60, dtype="uint8").reshape(4, 5, 3)
    wanted = image_of(array, arrays=True)
    assert image_of(numpy.asfortranarray(array), arrays=True) == wanted
    assert image_of(array[::-1][::-1], arrays=True) == wanted
    flipped = opened(image_of(array[:, ::-1], arrays=True))
    assert numpy.array_equal(numpy.asarray(flipped), array[:, ::-1])


def test_floats_and_flags_become_shades(numpy):
    before = numpy.array([[0, 0.5, 1]])
    for kind in ("float16", "float32", "float64"):
        array = before.astype(kind)
        sent = opened(image_of(array, arrays=True))
        assert list(sent.tobytes()) == [0, 128, 255]
        assert numpy.array_equal(array, before)
    sent = opened(image_of(numpy.array([[True, False]]), arrays=True))
    assert list(sent.tobytes()) == [255, 0]


NO_SHAPES = {
    "one dimension": ((3,), "uint8", "its shape is (3,)"),
    "none": ((), "uint8", "its shape is ()"),
    "four": ((2, 2, 3, 1), "uint8", "its shape is (2, 2, 3, 1)"),
    "two channels": ((2, 2, 2), "uint8", "its shape is (2, 2, 2)"),
    "channels first": ((3, 8, 8), "uint8", "its shape is (3, 8, 8)"),
    "empty": ((0, 4), "uint8", "its shape is (0, 4)"),
    "integers": ((2, 2), "int64", "its type is int64"),
    "complex": ((2, 2), "complex128", "its type is complex128"),
    "objects": ((2, 2), "object", "its type is object"),
}


@pytest.mark.parametrize(("shape", "kind", "why"), NO_SHAPES.values(), ids=NO_SHAPES)
def test_an_array_that_is_not_an_image_says_what_is_expected(numpy, shape, kind, why):
    array = numpy.zeros(shape, dtype=kind)
    with pytest.raises(PromptError) as caught:
        image_of(array, arrays=True)
    assert caught.value.what == "The array is not an image."
    assert caught.value.why == (
        f"{why}; the shape must be (h, w), (h, w, 3) or (h, w, 4), and the values "
        "uint8, bool, or floats from 0 to 1"
    )
    assert image_of(array) is None


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_the_error_for_floats_out_of_range_has_the_range(numpy, value):
    array = numpy.array([[0.5, value]])
    with pytest.raises(PromptError, match="its values range from") as caught:
        image_of(array, arrays=True)
    assert "x.max() - x.min()" in caught.value.next_step


def test_samples_are_encoded_as_png_without_a_library():
    data = PNG[8:]
    chunks = {}
    while data:
        length, kind = struct.unpack_from(">I4s", data)
        body, check = data[8 : 8 + length], data[8 + length : 12 + length]
        assert struct.unpack(">I", check)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        data = data[12 + length :]
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    rows = zlib.decompress(chunks[b"IDAT"])
    assert rows == b"\0" + bytes(range(9)) + b"\0" + bytes(range(9, 18))


# -- objects with a display ----------------------------------------------------


def test_an_image_of_ipython_is_sent_as_its_data(tmp_path):
    display = pytest.importorskip("IPython.display")
    path = tmp_path / "fig.png"
    path.write_bytes(PNG)
    assert image_of(display.Image(PNG)) == Image(PNG)
    assert image_of(display.Image(filename=str(path))) == Image(PNG)
    with pytest.raises(PromptError) as caught:
        image_of(display.Image(url="http://127.0.0.1/fig.png"))
    assert caught.value.why == "it only refers to http://127.0.0.1/fig.png"
    with pytest.raises(PromptError, match="is in GIF format"):
        image_of(display.Image(GIF, format="gif"))
    with pytest.raises(PromptError, match="is in SVG format"):
        image_of(display.SVG(SVG.decode()))


class Shown:
    def __init__(self, shown):
        self.shown = shown

    def _repr_png_(self):
        if isinstance(self.shown, BaseException):
            raise self.shown
        return self.shown


SHOWN = {
    "bytes": PNG,
    "a buffer": bytearray(PNG),
    "base64": base64.b64encode(PNG).decode(),
    "base64 in lines": base64.encodebytes(PNG).decode(),
    "with metadata": (PNG, {"width": 3}),
    "base64 with metadata": (base64.b64encode(PNG).decode(), {}),
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_an_object_that_shows_itself_as_a_png_is_an_image(shown):
    assert image_of(Shown(shown)) == Image(PNG)


def test_an_object_with_nothing_to_show_is_not_an_image():
    assert image_of(Shown(None)) is None


@pytest.mark.parametrize("shown", ["no image", b"", 3, ()], ids=str)
def test_an_object_whose_png_is_not_an_image_is_an_error(shown):
    with pytest.raises(PromptError) as caught:
        image_of(Shown(shown))
    assert caught.value.what == "The Shown did not produce an image."
    assert "-a FILE" in caught.value.next_step


class RudeError(Exception):
    def __str__(self):
        raise ValueError


FAILURES = {
    "an error": (RuntimeError("no\ndisplay"), "RuntimeError: no display"),
    "without words": (RuntimeError(), "RuntimeError"),
    "with bad words": (RudeError(), "RudeError"),
}


@pytest.mark.parametrize(("error", "why"), FAILURES.values(), ids=FAILURES)
def test_an_error_in_the_users_object_is_reported(error, why):
    with pytest.raises(PromptError) as caught:
        image_of(Shown(error))
    assert caught.value.why == why
    assert caught.value.__cause__ is error


def test_an_interrupt_is_not_caught():
    with pytest.raises(KeyboardInterrupt):
        image_of(Shown(KeyboardInterrupt()))


def test_an_object_that_has_every_attribute_is_not_an_image():
    class Anything:
        def __getattr__(self, name):
            return lambda: PNG

    assert image_of(Anything()) is None
    assert image_of(Shown) is None


def test_a_class_that_only_has_the_name_is_not_a_figure():
    class Figure:
        def savefig(self, *_, **__):
            raise AssertionError

    assert image_of(Figure()) is None


def test_none_of_the_libraries_is_imported():
    import subprocess

    code = (
        "import sys\nfrom ollama_magic.generation.images import image_of\n"
        "image_of([1])\n"
        "print({'PIL', 'numpy', 'matplotlib', 'IPython.display'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "set()", done.stderr
