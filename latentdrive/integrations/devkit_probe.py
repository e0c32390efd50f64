"""Whether numpy computes right inverses in another Python environment, such as that of NAVSIM's devkit.

    python devkit_probe.py        # prints one line of JSON

The devkit's tracker inverts 40 x 40 matrices with `pinv`. numpy 1.23, which the devkit asks for,
brings OpenBLAS 0.3.20, whose kernels for Intel's Cooper Lake and Sapphire Rapids compute wrong matrix
products (numpy's issues 22502 and 24903): scores of 0 follow, without any error. This file stands
alone: it needs Python 3.8 and numpy, and imports neither the devkit nor latentdrive.
"""

import json
import os
import platform
import sys

STEPS = 40  # displacements of the devkit's speed profile
STEP_S = 0.1
SMOOTHING = 1e-4
TOLERANCE = 1e-6  # a sound solver stays below 1e-10


def probe():
    """Everything that decides whether this environment can be trusted, as plain values."""
    found = {"python": platform.python_version(), "executable": sys.executable, "processor": processor()}
    found["coretype"] = os.environ.get("OPENBLAS_CORETYPE", "")
    try:
        import numpy
    except Exception as error:  # an environment may be broken in any way, and this file reports it
        return dict(found, error=f"numpy can't be imported: {type(error).__name__}: {error}")
    found.update(numpy=numpy.__version__, scipy=version_of("scipy"), blas=libraries(numpy))
    try:
        found["residuals"] = residuals(numpy)
    except Exception as error:  # LinAlgError, and whatever a broken library raises
        return dict(found, error=f"{type(error).__name__}: {error}")
    found["sound"] = all(value <= TOLERANCE for value in found["residuals"].values())  # false for NaN
    return found


def residuals(numpy):
    """How far inverse, least squares and products are from what they must be; 0 if exact."""
    model = profile(numpy)
    normal = model.T.dot(model) + SMOOTHING * numpy.eye(STEPS)
    right = model.T.dot(numpy.sin(numpy.arange(STEPS, dtype=float)))
    solved = numpy.linalg.pinv(normal).dot(right)
    least = numpy.linalg.lstsq(normal, right, rcond=None)[0]
    tall = numpy.sin(numpy.arange(625 * 5, dtype=float)).reshape(625, 5)
    wide = numpy.cos(numpy.arange(5 * 625, dtype=float)).reshape(5, 625)
    by_hand = sum(tall[:, k, None] * wide[None, k] for k in range(5))
    scale = float(numpy.abs(by_column(normal, solved)).max())
    return {
        "pinv": farthest(numpy, (by_column(normal, solved) - right) / scale),
        "pinv against lstsq": farthest(numpy, (solved - least) / numpy.abs(least).max()),
        "matrix product": farthest(numpy, tall.dot(wide) - by_hand),
        "transposed product": farthest(numpy, tall.dot(wide) - wide.T.dot(tall.T).T),
    }


def profile(numpy):
    """The devkit's matrix from a first speed and accelerations to displacements, [40, 40]."""
    model = numpy.zeros((STEPS, STEPS))
    model[:, 0] = STEP_S
    for row in range(STEPS):
        model[row, 1 : row + 1] = STEP_S**2
    return model


def by_column(matrix, vector):
    """The product, added column by column: no BLAS is involved."""
    return sum(matrix[:, k] * vector[k] for k in range(matrix.shape[1]))


def farthest(numpy, values):
    """The largest absolute value; NaN and infinity count as infinity."""
    return float(numpy.where(numpy.isfinite(values), numpy.abs(values), numpy.inf).max())


def libraries(numpy):
    """Name, version and kernel of the BLAS libraries: by threadpoolctl if it is there, else as numpy was built."""
    try:
        import threadpoolctl

        infos = [info for info in threadpoolctl.threadpool_info() if info.get("user_api") == "blas"]
        names = ["internal_api", "version", "architecture"]
        return [" ".join(str(info[name]) for name in names if info.get(name)) for info in infos]
    except Exception:
        return built_with(numpy)


def built_with(numpy):
    """What numpy says that it was built with; empty where it says nothing."""
    try:  # numpy 1.26 and newer
        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return ["{} {}".format(blas.get("name", ""), blas.get("version", "")).strip()]
    except Exception:
        pass
    try:  # older ones
        names = numpy.__config__.get_info("blas_opt").get("libraries", [])
        return sorted(set(map(str, names)))
    except Exception:
        return []


def version_of(name):
    """The version of a package; empty where it is not there."""
    try:
        return str(__import__(name).__version__)
    except Exception:
        return ""


def processor():
    """The name of the processor, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    print(json.dumps(probe()))
