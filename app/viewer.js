// Draws the figures that arrive in the hidden channel into the page's one plot. Runs once, when the channel loads.
// Plotly fixes the field of view at 45 degrees, so the photo's own is set on the scene itself, wide enough that the
// whole photo fits the canvas.
const plot = () => document.querySelector('#viewer .js-plotly-plot');
const scene = (gd) => gd._fullLayout?.scene?._scene;
const fovy = (gd, meta) => {
  const long = Math.tan(meta.fov_deg * Math.PI / 360);
  const high = meta.aspect >= 1 ? long / meta.aspect : long;
  const wide = meta.aspect >= 1 ? long : long * meta.aspect;
  const canvas = gd.clientWidth / Math.max(gd.clientHeight, 1);
  return 2 * Math.atan(Math.max(high, wide / canvas));
};
const fit = (gd) => {
  const s = scene(gd), meta = gd.layout.meta;
  if (!s?.glplot || !meta || Math.abs(s.glplot.fovy - fovy(gd, meta)) < 1e-6) return;
  s.glplot.fovy = fovy(gd, meta);
  s.glplot.update?.({});
  s.glplot.redraw?.();
};
// Plotly draws everything twice, once to know what is under the mouse: that is left until the view has come to rest.
const REST_MS = 250;
let moved = 0, resting = null;
const moves = (s) => {
  moved = performance.now();
  clearTimeout(resting);
  resting = setTimeout(() => s.glplot.update({}), REST_MS + 10);
};
const spare = (s) => s.glplot.objects.filter((one) => one.drawPick && !one.spared).forEach((one) => {
  const pick = one.drawPick.bind(one);
  one.spared = true;
  one.drawPick = (camera) => { if (performance.now() - moved > REST_MS) pick(camera); };
});
// Plotly lets a turned camera run on until the next frame, so slow frames overshoot wildly: each turn ends where it is.
const steady = (s) => {
  const view = s.camera.view, rotate = view.rotate.bind(view), pan = view.pan.bind(view);
  view.rotate = (t, dx, dy, dz) => { moves(s); rotate(t, dx, dy, dz); view.idle(t + 0.1); };
  view.pan = (t, dx, dy, dz) => { moves(s); pan(t, dx, dy, dz); };
};
// The arrow keys turn the view, too.
const TURNS = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
const keyed = (gd) => {
  Object.assign(gd, { tabIndex: 0, role: 'group', ariaLabel: '3D view, which the arrow keys turn' });
  gd.addEventListener('keydown', (event) => {
    const turn = TURNS[event.key], view = scene(gd)?.camera.view;
    if (!turn || !view) return;
    event.preventDefault();
    view.rotate(view.lastT() + 1, ...turn, 0);
  });
};
let home = null;
const draw = async () => {
  const value = props.value;
  if (!value) return;
  while (!(window.Plotly && plot()?._fullLayout)) await new Promise((done) => setTimeout(done, 50));
  if (value !== props.value) return;
  const gd = plot(), figure = JSON.parse(value);
  home = structuredClone(figure.layout.scene.camera);
  if (gd.layout.meta?.key === figure.layout.meta.key) figure.layout.scene.camera = scene(gd).getCamera();
  figure.layout.autosize = true;
  const marker = figure.data?.[0].marker;
  if (marker) marker.size = Math.min(8, Math.max(0.8, 0.9 * gd.clientWidth / figure.layout.meta.side));
  if (figure.grid) figure.data = [surface(figure.grid)];
  if (!gd.dataset.adopted) pack(Object.values(scene(gd).traces)[0]);
  moves(scene(gd));
  scene(gd).glplot.fovy = fovy(gd, figure.layout.meta); // now, so that it is drawn once
  await window.Plotly.react(gd, figure.data, figure.layout);
  if (!gd.dataset.adopted) {
    gd.dataset.adopted = '1';
    gd.on('plotly_afterplot', () => fit(gd));
    steady(scene(gd));
    keyed(gd);
  }
  fit(gd);
  spare(scene(gd));
  gd.dataset.drawn = String(Number(gd.dataset.drawn || 0) + 1);
};
window.studioReset = () => { if (home) window.Plotly.relayout(plot(), { 'scene.camera': structuredClone(home) }); };
watch('value', draw);
draw();
