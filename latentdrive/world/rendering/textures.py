"""The textures of the world: asphalt, grass, walls with windows, foliage and sky.

They are made from noise with a fixed seed. All drives have the same textures, and differ in which
they use and how they tint them. Every texture is uint8[H, W, 3], repeats without a seam, and is
bright, because tints only darken.
"""

import numpy as np
from jaxtyping import Float64, UInt8

SIZE = 128  # texels; the software renderer needs a power of two
SKIES, WALLS, GROUNDS = 6, 5, 4
# Colours of the skies, at the top and at the horizon.
ZENITHS = (
    (0.35, 0.55, 0.92),
    (0.5, 0.6, 0.75),
    (0.28, 0.42, 0.75),
    (0.62, 0.65, 0.7),
    (0.45, 0.6, 0.85),
    (0.55, 0.5, 0.65),
)
HORIZONS = (
    (0.82, 0.9, 0.98),
    (0.85, 0.86, 0.88),
    (0.95, 0.82, 0.7),
    (0.8, 0.8, 0.8),
    (0.9, 0.92, 0.9),
    (0.98, 0.85, 0.75),
)


def noise(
    rng: np.random.Generator, *, octaves: tuple[int, ...], size: tuple[int, int] = (SIZE, SIZE)
) -> Float64[np.ndarray, "H W"]:
    """Return seamless noise in [0, 1]. octaves: cells along a side of each octave, which is white
    noise after a low-pass.
    """
    total = np.zeros(size)
    for cells in octaves:
        spectrum = np.fft.fft2(rng.standard_normal(size))
        frequency = np.hypot(np.fft.fftfreq(size[0])[:, None] * size[0], np.fft.fftfreq(size[1])[None] * size[1])
        layer = np.fft.ifft2(spectrum * np.exp(-((frequency / cells) ** 2))).real
        total += layer / layer.std()
    return np.clip(0.5 + total / (4 * np.sqrt(len(octaves))), 0.0, 1.0)


def all_textures() -> dict[str, UInt8[np.ndarray, "H W 3"]]:
    """Return every texture by name."""
    rng = np.random.default_rng(20260611)
    pictures = {
        "plain": np.full((8, 8, 3), 255, np.uint8),
        "asphalt": _asphalt(rng),
        "kerb": _kerb(rng),
        "foliage": _foliage(rng),
    }
    pictures |= {f"ground{index}": _ground(rng, index) for index in range(GROUNDS)}
    pictures |= {f"wall{index}": _wall(rng, index) for index in range(WALLS)}
    pictures |= {f"sky{index}": _sky(rng, index) for index in range(SKIES)}
    return pictures


def _grey(
    values: Float64[np.ndarray, "H W"], colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> UInt8[np.ndarray, "H W 3"]:
    return (np.clip(values, 0, 1)[..., None] * np.array(colour) * 255).astype(np.uint8)


def _asphalt(rng) -> UInt8[np.ndarray, "H W 3"]:
    base = 0.78 + 0.22 * (noise(rng, octaves=(40,)) - 0.5) + 0.45 * (noise(rng, octaves=(6, 3)) - 0.5)
    cracks = noise(rng, octaves=(5,))
    base -= 0.35 * (np.abs(cracks - 0.5) < 0.012)
    x = np.arange(SIZE) / SIZE
    base -= 0.10 * np.exp(-(((x - 0.28) / 0.09) ** 2)) + 0.10 * np.exp(-(((x - 0.72) / 0.09) ** 2))  # wheel tracks
    return _grey(base)


def _kerb(rng) -> UInt8[np.ndarray, "H W 3"]:
    base = 0.8 + 0.3 * (noise(rng, octaves=(30, 8)) - 0.5)
    base[: SIZE // 16] *= 0.45  # joints between stones
    base[SIZE // 2 : SIZE // 2 + SIZE // 16] *= 0.45
    return _grey(base)


def _foliage(rng) -> UInt8[np.ndarray, "H W 3"]:
    return _grey(0.35 + 0.9 * (noise(rng, octaves=(24, 9)) - 0.25))


def _ground(rng, index: int) -> UInt8[np.ndarray, "H W 3"]:
    coarse, fine = noise(rng, octaves=(4, 2)), noise(rng, octaves=(36, 14))
    base = 0.62 + (0.5 + 0.15 * index) * (coarse - 0.5) + 0.6 * (fine - 0.5)
    patches = noise(rng, octaves=(5,)) > 0.62
    picture = _grey(base)
    picture[patches] = (
        picture[patches] * np.array([[0.75, 0.8, 0.7], [1.0, 0.85, 0.6], [0.6, 0.75, 0.6], [1.0, 0.95, 0.8]][index])
    ).astype(np.uint8)
    return picture


def _wall(rng, index: int) -> UInt8[np.ndarray, "H W 3"]:
    """A tile of a facade with 2 x 2 windows, about 7 m x 6 m."""
    picture = np.repeat((0.86 + 0.2 * (noise(rng, octaves=(20, 5)) - 0.5))[..., None], 3, -1)
    if index in (1, 3):  # rows of bricks
        picture[::8] *= 0.8
    width, height = ((26, 34), (34, 30), (48, 26), (20, 44), (54, 40))[index]
    for row in range(2):
        for column in range(2):
            top, left = row * 64 + (64 - height) // 2, column * 64 + (64 - width) // 2
            picture[top - 3 : top + height + 3, left - 3 : left + width + 3] = 0.97
            glass = np.array([0.22, 0.28, 0.36]) * rng.uniform(0.6, 1.9)
            shine = np.linspace(1.3, 0.7, height)[:, None, None]
            picture[top : top + height, left : left + width] = np.clip(glass * shine, 0, 1)
            picture[top : top + height, left + width // 2 - 1 : left + width // 2 + 1] = 0.9
    if index in (2, 4):  # a band between the floors
        picture[:6] *= 0.6
        picture[64:70] *= 0.6
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _sky(rng, index: int) -> UInt8[np.ndarray, "H W 3"]:
    """A panorama: a gradient, clouds, and hills or a skyline at the foot. Row 0 is the zenith."""
    height, width = SIZE, 4 * SIZE
    above = np.linspace(0.0, 1.0, height)[:, None, None]
    zenith, foot = np.array(ZENITHS[index]), np.array(HORIZONS[index])
    picture = np.broadcast_to(zenith + (foot - zenith) * above, (height, width, 3)).copy()
    clouds = np.clip(
        (noise(rng, octaves=(14, 6, 30), size=(height, width)) - (0.52, 0.42, 0.6, 0.38, 0.5, 0.55)[index]) * 4, 0, 0.85
    )
    picture += (np.array([0.97, 0.97, 0.98]) - picture) * clouds[..., None]
    ridge = noise(rng, octaves=(8, 24), size=(8, width))[0]
    rows = np.arange(height)[:, None]
    for depth, shade in ((0.20, (0.55, 0.62, 0.68)), (0.11, (0.34, 0.42, 0.36))):
        line = height * (1 - depth * (0.35 + np.roll(ridge, round(depth * 1000))))
        if index % 2:  # a skyline of blocks instead of hills
            line = np.repeat(line[::8], 8)
        picture = np.where(
            (rows > line[None])[..., None], np.array(shade) * (0.85 + 0.3 * ridge[None, :, None]), picture
        )
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)
