"use strict";

// A mesh viewer without WebGL: triangles into a depth buffer, so that it draws the same everywhere, also on paper.
(() => {
  const holder = document.getElementById("scene");
  if (!holder) return;
  const scene = JSON.parse(holder.textContent);
  const canvas = document.getElementById("viewer");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const inputs = Object.fromEntries(["case", "method", "structure", "mode", "distance"].map(
    (name) => [name, document.getElementById(`viewer-${name}`)]));
  const MOST_PIXELS = 900000;
  const GLASS = 0.4;
  const REFERENCE = [206, 216, 226];
  const RAMP = [[0, 252, 243, 208], [0.35, 251, 171, 92], [0.68, 196, 60, 78], [1, 75, 12, 107]];
  const LIGHT = [-0.42, 0.5, 0.757];
  const HOME = { yaw: -0.5, pitch: 0.25, zoom: 1 };
  const view = { ...HOME };
  const built = new Map();

  function decode(text, Kind) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    return new Kind(bytes.buffer);
  }

  function build(key, item) {
    if (built.has(key)) return built.get(key);
    const packed = scene.meshes[key];
    if (!packed) return null;
    const whole = decode(packed.vertices, Uint16Array);
    const faces = decode(packed.faces, Uint16Array);
    const points = new Float32Array(whole.length);
    const [extent, center] = [scene.extents[item], scene.centers[item]];
    for (let i = 0; i < whole.length; i += 1) {
      points[i] = (whole[i] - 1) / 65533 * extent[i % 3] - center[i % 3];
    }
    const mesh = { points, faces, normals: normalsOf(points, faces),
      distances: packed.distances ? decode(packed.distances, Uint8Array) : null };
    built.set(key, mesh);
    return mesh;
  }

  function normalsOf(points, faces) {
    const normals = new Float32Array(points.length);
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
      const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
      const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
      for (const vertex of [a, b, c]) {
        normals[vertex] += nx;
        normals[vertex + 1] += ny;
        normals[vertex + 2] += nz;
      }
    }
    for (let i = 0; i < normals.length; i += 3) {
      const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
      normals[i] /= length;
      normals[i + 1] /= length;
      normals[i + 2] /= length;
    }
    return normals;
  }

  function rampColor(share) {
    const at = Math.min(Math.max(share, 0), 1);
    let upper = 1;
    while (RAMP[upper][0] < at) upper += 1;
    const [from, to] = [RAMP[upper - 1], RAMP[upper]];
    const part = (at - from[0]) / (to[0] - from[0]);
    return [1, 2, 3].map((channel) => from[channel] + part * (to[channel] - from[channel]));
  }

  // Screen: x to the patient's left, up is superior, the viewer stands in front of the patient (arrays are LPS).
  function project(mesh, pane, scale, color, byDistance) {
    const count = mesh.points.length / 3;
    const out = new Float32Array(6 * count); // x, y, depth, red, green, blue
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    const turn = (x, y, z) => {
      const across = cy * x + sy * y;
      const away = cy * y - sy * x;
      return [across, sp * away + cp * z, sp * z - cp * away]; // right, up, toward the viewer
    };
    for (let i = 0; i < count; i += 1) {
      const [right, up, near] = turn(mesh.points[3 * i], mesh.points[3 * i + 1], mesh.points[3 * i + 2]);
      const [nr, nu, nn] = turn(mesh.normals[3 * i], mesh.normals[3 * i + 1], mesh.normals[3 * i + 2]);
      const lit = 0.34 + 0.66 * Math.max(0, nr * LIGHT[0] + nu * LIGHT[1] + nn * LIGHT[2]);
      const shine = 60 * Math.max(0, nn) ** 24;
      const base = byDistance && mesh.distances ? rampColor(mesh.distances[i] * 0.1 / scene.scale_mm) : color;
      out.set([pane.x + pane.width / 2 + right * scale, pane.height / 2 - up * scale, near], 6 * i);
      for (let channel = 0; channel < 3; channel += 1) {
        out[6 * i + 3 + channel] = Math.min(255, base[channel] * lit + shine);
      }
    }
    return out;
  }

  function rasterize(corners, faces, target) {
    const { width, height, depth, color } = target;
    let drawn = 0;
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [6 * faces[f], 6 * faces[f + 1], 6 * faces[f + 2]];
      const [ax, ay, bx, by, cx, cy] = [corners[a], corners[a + 1], corners[b], corners[b + 1], corners[c], corners[c + 1]];
      const area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay);
      if (area >= 0) continue; // seen from behind: the vertical axis of the screen runs down
      drawn += 1;
      const left = Math.max(0, Math.ceil(Math.min(ax, bx, cx)));
      const right = Math.min(width - 1, Math.floor(Math.max(ax, bx, cx)));
      const top = Math.max(0, Math.ceil(Math.min(ay, by, cy)));
      const bottom = Math.min(height - 1, Math.floor(Math.max(ay, by, cy)));
      for (let y = top; y <= bottom; y += 1) {
        for (let x = left; x <= right; x += 1) {
          const u = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area;
          const v = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area;
          const w = 1 - u - v;
          if (u < 0 || v < 0 || w < 0) continue;
          const near = u * corners[a + 2] + v * corners[b + 2] + w * corners[c + 2];
          const pixel = y * width + x;
          if (near <= depth[pixel]) continue;
          depth[pixel] = near;
          for (let k = 0; k < 3; k += 1) {
            color[3 * pixel + k] = u * corners[a + 3 + k] + v * corners[b + 3 + k] + w * corners[c + 3 + k];
          }
        }
      }
    }
    return drawn;
  }

  function layer(width, height) {
    return { width, height, depth: new Float32Array(width * height).fill(-Infinity), color: new Uint8ClampedArray(3 * width * height) };
  }

  // Solid surfaces first; a glass surface dims what lies behind it.
  function compose(picture, solid, glass) {
    const data = picture.data;
    for (let pixel = 0; pixel < solid.depth.length; pixel += 1) {
      const hasSolid = solid.depth[pixel] > -Infinity;
      const share = glass && glass.depth[pixel] > solid.depth[pixel] ? GLASS : 0;
      if (!hasSolid && !share) continue;
      for (let k = 0; k < 3; k += 1) {
        const over = share ? glass.color[3 * pixel + k] : 0;
        data[4 * pixel + k] = hasSolid ? share * over + (1 - share) * solid.color[3 * pixel + k] : over;
      }
      data[4 * pixel + 3] = hasSolid ? 255 : 255 * share;
    }
  }

  function meshesOf(who, item, structure) {
    const wanted = structure === "all" ? scene.structures.map((_, index) => String(index)) : [structure];
    return wanted.map((index) => build(`${item}|${who}|${index}`, item)).filter(Boolean);
  }

  function draw() {
    const box = canvas.getBoundingClientRect();
    if (!box.width) return;
    const ratio = Math.min(window.devicePixelRatio > 1 ? window.devicePixelRatio : 1.6, Math.sqrt(MOST_PIXELS / (box.width * box.height)));
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const [item, method, mode] = [inputs.case.value, inputs.method.value, inputs.mode.value];
    const structure = inputs.structure ? inputs.structure.value : "all";
    const [solid, glass] = [layer(width, height), mode === "overlay" ? layer(width, height) : null];
    const half = Math.floor(width / 2);
    const panes = { reference: { x: 0, width: mode === "side" ? half : width, height },
      prediction: { x: mode === "side" ? half : 0, width: mode === "side" ? half : width, height } };
    const size = scene.sizes[item] * (mode === "side" ? 0.95 : 0.8);
    const scale = view.zoom * Math.min(panes.prediction.width, height) / size;
    let drawn = 0;
    for (const who of ["reference", "prediction"]) {
      if (mode !== "overlay" && mode !== "side" && mode !== who) continue;
      const key = who === "reference" ? "reference" : method;
      const color = who === "reference" ? REFERENCE : scene.colors[method];
      const target = who === "reference" && glass ? glass : solid;
      for (const mesh of meshesOf(key, item, structure)) {
        const corners = project(mesh, panes[who], scale, color, who === "prediction" && inputs.distance.checked);
        drawn += rasterize(corners, mesh.faces, target);
      }
    }
    const picture = context.createImageData(width, height);
    compose(picture, solid, glass);
    context.putImageData(picture, 0, 0);
    canvas.dataset.triangles = String(drawn);
    canvas.dataset.yaw = view.yaw.toFixed(3);
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  function turnBy(across, along) {
    view.yaw += across;
    view.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, view.pitch + along));
    redraw();
  }

  const keys = { ArrowLeft: [0.12, 0], ArrowRight: [-0.12, 0], ArrowUp: [0, 0.12], ArrowDown: [0, -0.12] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in keys) turnBy(...keys[event.key]);
    else if (event.key === "+" || event.key === "-") view.zoom *= event.key === "+" ? 1.15 : 1 / 1.15;
    else if (event.key === "Home") Object.assign(view, HOME);
    else return;
    event.preventDefault();
    redraw();
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) turnBy(-event.movementX * 0.011, event.movementY * 0.011);
  });
  for (const input of Object.values(inputs)) if (input) input.addEventListener("change", redraw);
  new ResizeObserver(redraw).observe(canvas);
  draw();
})();
