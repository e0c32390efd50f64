"""Renders pictures of a drive with panda3d's software renderer, which needs neither a display nor a graphics card.

Each process has one Renderer. Scenery and vehicles are put on its stage and photographed from poses
of the ego. Pictures are rendered at a multiple of their size and averaged down, so that lines do
not flicker.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, UInt8
from panda3d import core

from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN
from latentdrive.world.rendering.meshes import VERTEX, Layer, Mesh
from latentdrive.world.rendering.textures import all_textures

NEAR_M, FAR_M = 0.3, 600.0
SKY_RADIUS_M, SKY_FOOT, SKY_TOP = 300.0, -0.03, 0.62  # elevations of the panorama's edges, as tangents


@dataclass(**FROZEN)
class CameraSpec:
    """A pinhole camera on the car.

    width, height: pixels of the stored picture. fov_deg: horizontal field of view. forward_m,
    left_m, up_m: position relative to the rear axle. yaw_deg: positive to the left. pitch_deg:
    positive downwards. oversampling: rendered pixels for each stored one, along each axis.
    """

    width: int
    height: int
    fov_deg: float
    forward_m: float
    up_m: float
    pitch_deg: float
    oversampling: int
    left_m: float = 0.0
    yaw_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.width % 2 or self.height % 2:
            raise ConfigError(f"world.camera: h264 needs even width and height, got {self.width} x {self.height}")

    @property
    def intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """Matrix from camera axes to pixels of the stored picture; the centre of the first pixel is (0, 0)."""
        focal = self.width / 2 / np.tan(np.radians(self.fov_deg) / 2)
        return np.array([[focal, 0, (self.width - 1) / 2], [0, focal, (self.height - 1) / 2], [0, 0, 1]])

    @property
    def camera_to_ego(self) -> Float64[np.ndarray, "4 4"]:
        """Transform from camera axes to ego axes.

        Camera: x right, y down, z forward. Ego: x forward, y left, z up, with the origin on the
        ground below the rear axle.
        """
        pitch, yaw = np.radians(self.pitch_deg), np.radians(self.yaw_deg)
        forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)])
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
        matrix[:3, 3] = self.forward_m, self.left_m, self.up_m
        return matrix


class Renderer:
    """A stage with a camera. `set_up` puts the meshes of a drive on the stage, `picture` photographs a moment."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self._window, self._engine, self._picture = _offscreen(spec)
        self._root = core.NodePath("stage")
        self._root.setTwoSided(True)
        self._lens = core.PerspectiveLens()
        self._lens.setNearFar(NEAR_M, FAR_M)
        self._look_through(spec)
        self._camera = self._root.attachNewNode(core.Camera("camera", self._lens))
        region = self._window.makeDisplayRegion()
        region.setCamera(self._camera)
        self._textures = {name: _texture(name, pixels) for name, pixels in all_textures().items()}
        self._sky, self._scene, self._vehicles = _panorama(self._root), core.NodePath("scene"), []

    def set_up(self, surroundings: list[Mesh], vehicles: list[list[Mesh]], sky: str, daylight: float) -> None:
        """Clear the stage, then put up what stands still and the vehicles. sky: name of a texture. daylight: 0 to 1."""
        self._scene.removeNode()
        self._scene = self._root.attachNewNode("scene")
        self._sky.setTexture(self._textures[sky], 1)
        self._sky.setColorScale(daylight, daylight, daylight, 1.0)
        for mesh in surroundings:
            self._node(mesh).reparentTo(self._scene)
        self._vehicles = []
        for meshes in vehicles:
            node = self._scene.attachNewNode("vehicle")
            for mesh in meshes:
                self._node(mesh).reparentTo(node)
            self._vehicles.append(node)

    def picture(
        self, ego: Float[np.ndarray, "3"], vehicles: Float[np.ndarray, "N 3"], camera: CameraSpec | None = None
    ) -> UInt8[np.ndarray, "H W 3"]:
        """Return what the camera sees.

        ego: pose of the rear axle. vehicles: poses of the centres, in the order of set_up; NaN for
        an absent one. camera: another camera on the car, with pictures of the same size.
        """
        spec = camera or self.spec
        if (spec.width, spec.height, spec.oversampling) != (self.spec.width, self.spec.height, self.spec.oversampling):
            raise ConfigError(
                "world.sensors.cameras: all cameras must have the same width, height and oversampling; got "
                f"{(spec.width, spec.height, spec.oversampling)} beside "
                f"{(self.spec.width, self.spec.height, self.spec.oversampling)}"
            )
        x, y, heading = (float(value) for value in ego)
        cos, sin = np.cos(heading), np.sin(heading)
        here = (x + spec.forward_m * cos - spec.left_m * sin, y + spec.forward_m * sin + spec.left_m * cos, spec.up_m)
        # panda3d looks along +y at heading 0.
        self._camera.setPosHpr(*here, np.degrees(heading) + spec.yaw_deg - 90.0, -spec.pitch_deg, 0.0)
        self._look_through(spec)
        self._sky.setPos(*here)
        for node, pose in zip(self._vehicles, vehicles, strict=True):
            if np.isnan(pose[0]):
                node.hide()
            else:
                node.show()
                node.setPosHpr(float(pose[0]), float(pose[1]), 0.0, float(np.degrees(pose[2])), 0.0, 0.0)
        self._engine.renderFrame()
        times = spec.oversampling
        raw = np.frombuffer(self._picture.getRamImageAs("RGB"), np.uint8)
        raw = raw.reshape(spec.height, times, spec.width, times, 3)[::-1]
        # Summing slices is fast; numpy's sum over two short axes takes half as long as the rendering itself.
        total = sum(raw[:, row, :, column].astype(np.uint16) for row in range(times) for column in range(times))
        return ((total + times**2 // 2) // times**2).astype(np.uint8)

    def close(self) -> None:
        """Close the window."""
        self._engine.removeWindow(self._window)

    def _look_through(self, spec: CameraSpec) -> None:
        tangent = np.tan(np.radians(spec.fov_deg) / 2)
        self._lens.setFov(spec.fov_deg, 2 * np.degrees(np.arctan(tangent * spec.height / spec.width)))

    def _node(self, mesh: Mesh) -> core.NodePath:
        node = core.NodePath(_geometry(mesh))
        node.setTexture(self._textures[mesh.texture])
        if mesh.layer == Layer.SOLID:
            # Drawn in the order of the scene: the usual bin sorts by address, so coinciding faces
            # would vary from run to run.
            node.setBin("unsorted", 0)
        else:
            node.setBin("background", int(mesh.layer))
            node.setDepthTest(False)
            node.setDepthWrite(False)
        return node


class ProcessRenderer:
    """Gives each process to which it is sent a Renderer of its own, opened at first use.

    A Renderer cannot be sent between processes, and opening one takes longer than rendering a
    drive.
    """

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self._renderer: Renderer | None = None

    def __getstate__(self) -> dict[str, object]:
        """Pickles without its Renderer; each process opens its own."""
        return self.__dict__ | {"_renderer": None}

    def opened(self) -> Renderer:
        """Return the Renderer of this process."""
        if self._renderer is None:
            self._renderer = Renderer(self.spec)
        return self._renderer

    def close(self) -> None:
        """Close the Renderer of this process if it is open."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _offscreen(spec: CameraSpec) -> tuple[core.GraphicsOutput, core.GraphicsEngine, core.Texture]:
    """Open an offscreen window of the software renderer; return it, its engine and the texture that
    gets its pictures.
    """
    settings = (
        "load-display p3tinydisplay\nwindow-type offscreen\naudio-library-name null\nnotify-level-display error\n"
    )
    settings += "notify-level-x11display fatal\n"
    # Otherwise a transform that agrees with an earlier one to six digits is replaced by it, and a
    # picture depends on what was rendered before.
    settings += "uniquify-transforms false\ntransform-cache false\n"
    core.loadPrcFileData("latentdrive", settings)
    engine = core.GraphicsEngine.getGlobalPtr()
    pipe = core.GraphicsPipeSelection.getGlobalPtr().makeModulePipe("p3tinydisplay")
    if pipe is None:
        raise ConfigError(
            "this panda3d lacks the software renderer p3tinydisplay: install the wheel of the package index "
            "(pip install --force-reinstall panda3d)"
        )
    buffer = core.FrameBufferProperties()
    buffer.setRgbColor(True)
    buffer.setDepthBits(24)
    window = core.WindowProperties.size(spec.width * spec.oversampling, spec.height * spec.oversampling)
    output = engine.makeOutput(pipe, "picture", 0, buffer, window, core.GraphicsPipe.BFRefuseWindow)
    picture = core.Texture("picture")
    output.addRenderTexture(picture, core.GraphicsOutput.RTMCopyRam)
    return output, engine, picture


def _texture(name: str, pixels: UInt8[np.ndarray, "H W 3"]) -> core.Texture:
    texture = core.Texture(name)
    texture.setup2dTexture(pixels.shape[1], pixels.shape[0], core.Texture.TUnsignedByte, core.Texture.FRgb)
    # panda3d expects the channels as blue, green, red, and the bottom row first.
    texture.setRamImage(np.ascontiguousarray(pixels[::-1, :, ::-1]).tobytes())
    texture.setMinfilter(core.SamplerState.FTLinearMipmapLinear)
    texture.setMagfilter(core.SamplerState.FTLinear)
    texture.setWrapU(core.SamplerState.WMRepeat)
    texture.setWrapV(core.SamplerState.WMClamp if name.startswith("sky") else core.SamplerState.WMRepeat)
    return texture


def _geometry(mesh: Mesh) -> core.GeomNode:
    data = core.GeomVertexData("mesh", core.GeomVertexFormat.getV3c4t2(), core.Geom.UHStatic)
    vertices = mesh.vertices
    stride = data.getFormat().getArray(0).getStride()
    if stride != VERTEX.itemsize:
        raise ConfigError(
            f"this panda3d lays out a vertex in {stride} bytes, but {VERTEX.itemsize} are expected: "
            "install the version that pyproject.toml asks for"
        )
    data.uncleanSetNumRows(len(vertices))
    data.modifyArrayHandle(0).copyDataFrom(vertices.tobytes())
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.setIndexType(core.Geom.NTUint32)
    indices = triangles.modifyVertices()
    corners = mesh.triangles
    indices.uncleanSetNumRows(corners.size)
    indices.modifyHandle().copyDataFrom(corners.tobytes())
    geometry = core.Geom(data)
    geometry.addPrimitive(triangles)
    node = core.GeomNode("mesh")
    node.addGeom(geometry)
    return node


def _panorama(root: core.NodePath) -> core.NodePath:
    """Put up a ring of sky, which follows the camera's position but not its heading."""
    count = 24
    turn = np.linspace(0, 2 * np.pi, count + 1)
    rim = SKY_RADIUS_M * np.stack([np.cos(turn), np.sin(turn)], -1)
    rows = [np.concatenate([rim, np.full((count + 1, 1), SKY_RADIUS_M * height)], -1) for height in (SKY_FOOT, SKY_TOP)]
    vertices = np.zeros((count, 4), VERTEX)
    vertices["position"] = np.stack([rows[0][:-1], rows[0][1:], rows[1][1:], rows[1][:-1]], 1)
    share = np.arange(count + 1) / count * 2  # the texture goes round twice
    u, low, high = share, np.zeros(count), np.ones(count)
    pairs = ((u[:-1], low), (u[1:], low), (u[1:], high), (u[:-1], high))
    vertices["texcoord"] = np.stack([np.stack(pair, -1) for pair in pairs], 1)
    vertices["colour"] = 255
    node = root.attachNewNode(_geometry(Mesh(layer=Layer.GROUND, texture="", vertices=vertices.reshape(-1))))
    node.setBin("background", 0)
    node.setDepthTest(False)
    node.setDepthWrite(False)
    return node
