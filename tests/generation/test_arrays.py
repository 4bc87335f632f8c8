"""Tensors as images, and arrays as sounds: the file has the samples of the array."""

import io
import wave

import pytest

from ollama_magic.client.images import Image, format_of, seconds_of
from ollama_magic.errors import PromptError
from ollama_magic.generation.images import counted_kinds, image_of
from ollama_magic.generation.prompt import fill
from ollama_magic.generation.values import value_text

numpy = pytest.importorskip("numpy")


class Tensor:
    """Stands in for a tensor of torch that is on a GPU and has a gradient."""

    def __init__(self, array, is_plain=False):
        self.array, self.is_plain = array, is_plain

    def detach(self):
        return self

    def cpu(self):
        return type(self)(self.array, is_plain=True)

    def numpy(self):
        assert self.is_plain, "torch refuses this"
        if self.array.dtype.kind == "c":
            raise TypeError("stands for bfloat16")
        return self.array

    def __str__(self):
        return "a tensor"


Tensor.__module__ = "torch"


def heard(value):
    """Return the channels, the bytes of a sample, the rate and the samples of a WAV."""
    image = image_of(value, arrays=True)
    assert (image.media_type, image.kind) == ("audio/wav", "sound")
    with wave.open(io.BytesIO(image.data)) as file:
        width, data = file.getsampwidth(), file.readframes(file.getnframes())
        samples = numpy.frombuffer(data, {1: "u1", 2: "<i2"}[width]).tolist()
        return file.getnchannels(), width, file.getframerate(), samples


def test_a_tensor_is_an_image_also_with_its_channels_first():
    pixels = numpy.arange(60, dtype="uint8").reshape(4, 5, 3)
    wanted = image_of(pixels, arrays=True)
    assert image_of(Tensor(pixels), arrays=True) == wanted
    assert image_of(Tensor(pixels.transpose(2, 0, 1)), arrays=True) == wanted
    assert image_of(Tensor(pixels)) is None


def test_a_tensor_in_a_prompt_is_described_like_an_array():
    zeros = numpy.zeros(5000)
    assert value_text(Tensor(zeros)) == value_text(zeros)
    assert value_text(Tensor(zeros.astype("complex64"))).text == "a tensor"


SAMPLES = {
    "int16": ([1, -2, 300], 2, [1, -2, 300]),
    "int32": ([1 << 16, -(1 << 16), 0], 2, [1, -1, 0]),
    "uint8": ([0, 128, 255], 1, [0, 128, 255]),
    "float16": ([0.0, 1.0, -1.0], 2, [0, 32767, -32767]),
    "float64": ([0.0, 0.5, -1.0], 2, [0, 16384, -32767]),
    ">i2": ([1, 2, 3], 2, [1, 2, 3]),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_with_their_rate_become_a_wav(kind):
    given, width, wanted = SAMPLES[kind]
    array = numpy.array(given, dtype=kind)
    rate = numpy.int64(16000)
    for pair in ((array, rate), (16000, array), (Tensor(array), 16000.0)):
        assert heard(pair) == (1, width, 16000, wanted)
    assert heard({"array": array, "sampling_rate": 16000, "path": None})[3] == wanted


@pytest.mark.parametrize("channels_first", [False, True])
def test_channels_come_first_or_last(channels_first):
    stereo = numpy.arange(10, dtype="int16").reshape(5, 2)
    array = stereo.T if channels_first else stereo
    assert heard((array, 8000)) == (2, 2, 8000, list(range(10)))


NO_SOUNDS = {
    "empty": (numpy.zeros(0), 8000, "its shape is (0,)"),
    "three dimensions": (numpy.zeros((2, 2, 2)), 8000, "its shape is (2, 2, 2)"),
    "many channels": (numpy.zeros((20, 20)), 8000, "its shape is (20, 20)"),
    "loud": (numpy.array([2.0, 0]), 8000, "its values range from 0 to 2"),
    "NaN": (numpy.array([numpy.nan]), 8000, "its values range from nan to nan"),
    "no rate": (numpy.zeros(3), 0, "its rate is 0"),
    "int64": (numpy.zeros(3, "int64"), 8000, "its type is int64"),
}


@pytest.mark.parametrize(("array", "rate", "why"), NO_SOUNDS.values(), ids=NO_SOUNDS)
def test_an_array_that_is_not_a_sound_says_what_is_expected(array, rate, why):
    with pytest.raises(PromptError) as caught:
        image_of((array, rate), arrays=True)
    assert caught.value.what == "The array is not a sound."
    assert caught.value.why.startswith(why)


@pytest.mark.parametrize(
    ("case", "example"),
    [
        ("three dimensions", "x.ravel()"),
        ("loud", "x / abs(x).max()"),
        ("NaN", "numpy.nan_to_num(x)"),
    ],
)
def test_the_example_converts_the_array_into_a_sound(case, example):
    array, rate, _ = NO_SOUNDS[case]
    with pytest.raises(PromptError) as caught:
        image_of((array, rate), arrays=True)
    assert caught.value.next_step.endswith(f"sound = ({example}, rate)")
    converted = eval(example, {"x": array, "numpy": numpy})
    assert image_of((converted, rate), arrays=True)


def test_a_pair_in_a_prompt_is_not_a_sound():
    pair = (numpy.zeros(3), 8000)
    assert image_of(pair) is None
    assert image_of((1, 2), arrays=True) is image_of(("a", "b"), arrays=True) is None


def test_the_audio_of_a_notebook_is_sent():
    display = pytest.importorskip("IPython.display")
    audio = display.Audio(numpy.array([0.0, 0.5, -0.5]), rate=8000, normalize=False)
    assert heard(audio)[:3] == (1, 2, 8000)
    with pytest.raises(PromptError, match="does not contain its data") as caught:
        image_of(display.Audio(url="https://a.example/x.wav"))
    assert "Audio(url=..., embed=True)" in caught.value.next_step


# -- files ---------------------------------------------------------------------


def mp3(seconds, *, tag=b""):
    """Return silence of MPEG-1 layer III: 128 kbit/s and 44,100 Hz."""
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    return tag + frame * round(seconds * 44_100 / 1152)


TAG = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)


@pytest.mark.parametrize(
    "data", [mp3(3), mp3(3, tag=TAG), mp3(3) + b"TAG" + bytes(125)]
)
def test_an_mp3_is_known_and_measured_by_its_frames(data):
    assert format_of(data[:4096]) == "MP3"
    assert seconds_of(data) == pytest.approx(3, abs=0.03)
    assert Image(data).describe().startswith("MP3, 3.0 s, ")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe" + "text".encode("utf-16-le"),
        b"\xff\xfb\x90\x00" + bytes(900),
        b"\xff",
    ],
    ids=["text in UTF-16", "no second frame", "short"],
)
def test_other_data_that_begins_like_an_mp3_is_not_a_sound(data):
    assert format_of(data) == ""


def test_a_wav_that_is_cut_short_or_without_a_length_is_described():
    whole = image_of((numpy.zeros(8000, "int16"), 8000), arrays=True).data
    streamed = (
        whole[:40] + b"\xff\xff\xff\xff" + whole[44:]
    )  # as ffmpeg writes to a pipe
    assert Image(whole).describe() == "WAV, 1.0 s, 16 kB"
    assert seconds_of(streamed) == pytest.approx(1, abs=0.01)
    for size in range(12, 44):
        assert Image(whole[:size]).describe().startswith("WAV, ")


def test_a_sound_that_is_longer_than_models_hear_is_described_as_such():
    image = image_of((numpy.zeros(8000 * 31, "uint8"), 8000), arrays=True)
    assert "31.0 s (models hear about 30 s)" in image.describe()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"fLaC", "FLAC"),
        (b"OggS", "Ogg"),
        (b"FORM\0\0\0\0AIFF", "AIFF"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "M4A"),
    ],
)
def test_another_format_of_sound_says_how_to_convert_it(data, kind):
    with pytest.raises(PromptError, match=f"The sound is in {kind} format") as caught:
        image_of(data)
    assert caught.value.why == "Ollama accepts WAV and MP3"
    assert "ffmpeg" in caught.value.next_step


def test_images_and_sounds_have_numbers_in_one_order_and_are_counted_apart():
    image, sound = Image(b"\xff\xd8\xff"), Image(mp3(1))
    text, labels, sent = fill("{{ a }}, {{ b }}", {"a": image, "b": sound})
    assert text == "[image 1], [sound 2]"
    assert labels[1].startswith("b (MP3, 1.0 s")
    assert counted_kinds([*sent, sound]) == ["1 image", "2 sounds"]
