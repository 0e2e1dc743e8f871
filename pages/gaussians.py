"""A web page that shows Gaussians and lets them be turned with the mouse: one file, no server and no network needed.

The viewer is the Gaussian splatting part of the PlayCanvas engine, built into one file (`assets/`, with its license).
"""

import base64
import html
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np

from atoken.gaussian_files_atoken import save_splat
from atoken.gaussians_atoken import SH_C0, Gaussians

from .document import ASSETS, document, write_document

# The field of view of the training renders.
_FOV_DEGREES = 40.0


def write_gaussian_page(path: str | os.PathLike, gaussians: Gaussians, title: str = "Gaussians") -> None:
    """
    Writes one HTML file with the viewer and the Gaussians in it. Dragging turns them, the wheel or two fingers zoom,
    dragging with the shift key or with two fingers moves. Colors and rotations have the precision of a `.splat` file.

    Args:
        path: of the page, an existing page is replaced; it appears complete or not at all.
        gaussians: G >= 1, z up. The first view is from the front (from -y, x to the right) and slightly above, from
            far enough to see all of them.
        title: plain text, shown above the picture together with G.

    Raises:
        ValueError: if gaussians is something else, or empty.
        FileNotFoundError: if the folder does not exist.
        IsADirectoryError: if path is a folder.
    """
    if not isinstance(gaussians, Gaussians):
        raise ValueError(f"gaussians must be a Gaussians, got {type(gaussians).__name__}")
    if len(gaussians) == 0:
        raise ValueError("gaussians must hold at least one Gaussian, got none")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: no folder {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"path: {path} is a folder, expected a file")
    with tempfile.TemporaryDirectory() as folder:
        save_splat(gaussians, Path(folder) / "page.splat")
        splats = (Path(folder) / "page.splat").read_bytes()
    body = _BODY.format(
        title=html.escape(title),
        count=f"{len(gaussians):,} Gaussian{'s' if len(gaussians) > 1 else ''}",
        license=html.escape((ASSETS / "playcanvas.LICENSE.txt").read_text(encoding="utf-8")),
        viewer=(ASSETS / "playcanvas-gsplat.min.js").read_text(encoding="utf-8"),
        settings=json.dumps({"fov": _FOV_DEGREES, "shC0": SH_C0, **_first_view(gaussians)}),
        splats=base64.b64encode(splats).decode("ascii"),
        script=_SCRIPT,
    )
    page = document(title, body, "atoken gaussians", head=_POLICY, body_class="viewer")
    write_document(path, page)


def _first_view(gaussians: Gaussians) -> dict[str, float | list[float]]:
    """The point to look at, and the distance in world units at which all but stray Gaussians are seen."""
    means = gaussians.means.detach().double().cpu().numpy()
    widths = gaussians.scales.detach().double().cpu().numpy().max(axis=1)
    low, high = np.quantile(means, [0.005, 0.995], axis=0)
    target = (low + high) / 2
    # Two standard deviations beyond its center a Gaussian is hardly visible.
    reach = np.quantile(np.linalg.norm(means - target, axis=1) + 2 * widths, 0.99)
    # A tenth of the picture stays free for the title.
    distance = 1.1 * max(float(reach), 1e-3) / math.sin(math.radians(_FOV_DEGREES / 2))
    return {"target": target.tolist(), "distance": distance}


# The policy keeps the page from loading anything; the viewer sorts in a worker that it makes from a blob.
_POLICY = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' blob:; \
worker-src blob:; style-src 'unsafe-inline'; img-src data: blob:">
"""

_BODY = """<canvas id="view" aria-label="{title}"></canvas>
<header><h1>{title}</h1><small id="count">{count}</small></header>
<footer>drag to turn · wheel to zoom · shift and drag to move</footer>
<p id="problem" role="alert" hidden></p>
<!-- The viewer below is part of the PlayCanvas engine, under this license:
{license}-->
<script>{viewer}</script>
<script id="settings" type="application/json">{settings}</script>
<script id="splats" type="text/plain">{splats}</script>
<script>{script}</script>"""

# A row of .splat: position and scales (float32), red, green, blue and opacity, rotation w x y z (uint8).
_SCRIPT = """
const part = name => document.getElementById(name).textContent;
const canvas = document.getElementById("view");

function readSplats(bytes, shC0) {
  const count = bytes.length / 32, floats = new Float32Array(bytes.buffer), columns = {};
  const add = (name, value) => columns[name] = Float32Array.from({ length: count }, (_, row) => value(row));
  ["x", "y", "z", "scale_0", "scale_1", "scale_2"].forEach((name, i) => add(name, row => floats[8 * row + i]));
  ["f_dc_0", "f_dc_1", "f_dc_2"].forEach((name, i) => add(name, row => (bytes[32 * row + 24 + i] / 255 - 0.5) / shC0));
  add("opacity", row => bytes[32 * row + 27] / 255);
  ["rot_0", "rot_1", "rot_2", "rot_3"].forEach((name, i) => add(name, row => (bytes[32 * row + 28 + i] - 128) / 128));
  const properties = Object.entries(columns).map(([name, storage]) => ({ name, type: "float", byteSize: 4, storage }));
  const data = new pc.GSplatData([{ name: "vertex", count, properties }]);
  data.activated = true;  // scales and opacities as they are, neither logarithms nor logits
  return data;
}

function show({ fov, shC0, target, distance }) {
  const device = new pc.WebglGraphicsDevice(canvas, { antialias: false });
  device.maxPixelRatio = Math.min(window.devicePixelRatio, 2);
  const options = new pc.AppOptions();
  options.graphicsDevice = device;
  options.componentSystems = [pc.CameraComponentSystem, pc.GSplatComponentSystem, pc.ScriptComponentSystem];
  const app = new pc.AppBase(canvas);
  app.init(options);
  app.setCanvasFillMode(pc.FILLMODE_FILL_WINDOW);
  app.setCanvasResolution(pc.RESOLUTION_AUTO);

  const bytes = Uint8Array.from(atob(part("splats")), letter => letter.charCodeAt(0));
  const object = new pc.Entity("object");
  object.addComponent("gsplat", { resource: new pc.GSplatResource(device, readSplats(bytes, shC0)) });
  object.setLocalEulerAngles(-90, 0, 0);  // z up becomes the engine's y up
  app.root.addChild(object);

  const camera = new pc.Entity("camera");
  camera.addComponent("camera", { fov, nearClip: distance / 100, farClip: distance * 20,
    clearColor: new pc.Color().fromString("#16181c") });
  const focus = object.getWorldTransform().transformPoint(new pc.Vec3(...target));
  const height = 15 * Math.PI / 180;
  camera.setPosition(focus.x, focus.y + distance * Math.sin(height), focus.z + distance * Math.cos(height));
  app.root.addChild(camera);
  camera.addComponent("script");
  const controls = camera.script.create(pc.CameraControls);
  controls.enableFly = false;
  controls.rotateSpeed = 0.4;  // degrees per pixel
  controls.focusPoint = focus;
  controls.pitchRange = new pc.Vec2(-90, 90);
  controls.zoomRange = new pc.Vec2(distance / 20, distance * 5);

  const resize = () => {
    app.resizeCanvas();
    camera.camera.horizontalFov = canvas.clientWidth < canvas.clientHeight;  // the narrow side has the field of view
  };
  window.addEventListener("resize", resize);
  resize();
  app.systems.gsplat.on("frame:ready", (_camera, _layer, ready) => {
    if (ready) document.body.dataset.state = "ready";
  });
  app.start();
}

try {
  show(JSON.parse(part("settings")));
} catch (error) {
  const problem = document.getElementById("problem");
  const needed = canvas.getContext("webgl2") ? "" : " It needs WebGL 2, which is missing or switched off here.";
  problem.textContent = `This browser cannot show the Gaussians.${needed} (${error.message})`;
  problem.hidden = false;
  document.body.dataset.state = "failed";
}
"""
