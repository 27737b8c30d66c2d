// A surface: the server sends it as a grid, see `viewer.surface`, and plotly draws it from arrays.
const bytes = (text) => {
  const raw = atob(text), read = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) read[n] = raw.charCodeAt(n);
  return read;
};
const TRIANGLES = [[0, 2, 1], [1, 0, 3], [2, 3, 0], [3, 1, 2]]; // of each bit of a cell, whose corners are 0 1 over 2 3
const surface = ({ columns, rows, cells, depth, colors, camera, hover }) => {
  const width = columns.length, corner = [0, 1, width, width + 1], has = bytes(cells);
  const number = new Int32Array(width * rows.length); // of the vertex at each place of the grid
  const sides = TRIANGLES[0].map(() => new Uint32Array(2 * has.length));
  let faces = 0, vertex = 0;
  for (let cell = 0; cell < has.length; cell++) {
    const first = cell + Math.floor(cell / (width - 1));
    for (let bit = 0; has[cell] >> bit; bit++) {
      if (!(has[cell] >> bit & 1)) continue;
      for (let c = 0; c < 3; c++) number[sides[c][faces] = first + corner[TRIANGLES[bit][c]]] = 1;
      faces++;
    }
  }
  const y = new Float32Array(bytes(depth).buffer), x = y.slice(), z = y.slice(), customdata = [];
  for (let place = 0; place < number.length; place++) {
    if (!number[place]) continue; // no triangle's
    const pixel = [columns[place % width], rows[Math.floor(place / width)]];
    x[vertex] *= (pixel[0] + 0.5 - camera.cx) / camera.f_px;
    z[vertex] *= -(pixel[1] + 0.5 - camera.cy) / camera.f_px;
    customdata.push(pixel);
    number[place] = vertex++;
  }
  for (const side of sides) for (let face = 0; face < faces; face++) side[face] = number[side[face]];
  const [i, j, k] = sides.map((side) => side.subarray(0, faces));
  const lighting = { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 };
  return { type: 'mesh3d', x, y, z, i, j, k, vertexcolor: bytes(colors), lighting, customdata, hovertemplate: hover };
};
// Plotly packs a surface number by number, which takes longer than all else together: here whole arrays are filled.
const pack = (trace) => {
  Object.getPrototypeOf(trace).update = function (data) {
    const { x, y, z, i, j, k, vertexcolor: colors } = data, { mesh } = this, scale = this.scene.dataScale;
    const sides = [i, j, k], count = 3 * i.length, flat = 3 * count;
    const at = new Float32Array(flat), color = new Float32Array(4 * count).fill(1), face = new Uint32Array(count);
    for (let n = 0; n < count; n++) {
      const vertex = sides[n % 3][face[n] = Math.floor(n / 3)];
      at[3 * n] = x[vertex] * scale[0];
      at[3 * n + 1] = y[vertex] * scale[1];
      at[3 * n + 2] = z[vertex] * scale[2];
      for (let c = 0; c < 3; c++) color[4 * n + c] = colors[3 * vertex + c] / 255;
    }
    mesh.update({ ...data.lighting, opacity: 1 });
    mesh.trianglePositions.update(at);
    mesh.triangleColors.update(color);
    mesh.triangleIds.update(face);
    mesh.triangleNormals.update(new Float32Array(flat).fill(1)); // unlit: any will do
    mesh.triangleUVs.update(new Float32Array(2 * count));
    // What is asked for when a point is hovered over.
    mesh.positions = new Proxy(y, { get: (_, n) => [x[n] * scale[0], y[n] * scale[1], z[n] * scale[2]] });
    mesh.cells = new Proxy(i, { get: (_, n) => [i[n], j[n], k[n]] });
    Object.assign(mesh, { triangleCount: i.length, intensity: y });
    Object.assign(this, { data, color: '#fff' });
  };
};
